// The column copy of a matrix whose column amax is known, transposed through shared memory. The
// matrix need not exist: a Source makes vectors of it from what is in memory.
//
// A block takes a tile of 128 rows and 8 vectors of columns (64 bf16); a thread 4 rows of a vector.
// Casting pairs of rows puts 4 values of a column into a word: the transposition of 4 x 4 costs
// nothing. The words meet in shared memory, 128 bytes to a column:
//
//          8 vectors                        rows 0-15    16-31      112-127
//        ┌──┬──┬─ ─┐                      ┌───────────┬────────┬ ─ ┬───────┐
//   4 rows│  │  │                column 0 │ 4 words   │        │   │       │ -> 16 bytes each, a
//        ├──┼──┼─ ─┤  -> words ->       1 │           │        │   │       │    whole line of 128
//        │  │  │                          ├───────────┼────────┼ ─ ┼───────┤    to every column
//        └──┴──┴─ ─┘
//
// The 16-byte group of rows g lies at g XOR (vector of the column): the 32 words that a warp writes
// at once (8 vectors, 4 groups of 4 rows) and the 8 groups that a quarter of it reads then lie in
// different banks.
#pragma once

#include "kernels/common/cuda_check.hpp"
#include "kernels/quantize/float8.cuh"
#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

struct ColumnTile {
  static constexpr int kThreads = 256;
  static constexpr int kRows = 128;
  static constexpr int kVectors = 8;
  static constexpr int kRowsPerThread = kRows * kVectors / kThreads;
  static constexpr int kGroups = kRows / 16;  // of 16 bytes, in a column of the tile
};

// A Source is called with (row, column) and returns the 16 bytes of the matrix that start there.
// Tiles are taken from the last row up: what the kernel before this one has read last may still be
// in the L2 cache.
template <class T, class Source>
__global__ void __launch_bounds__(ColumnTile::kThreads)
    column_copy_kernel(const Source source, const ColumnCopyOutput out, int64_t rows, int64_t cols,
                       unsigned column_tiles) {
  using Tile = ColumnTile;
  constexpr int kWidth = kVectorWidth<T>;
  static_assert(Tile::kRowsPerThread == 4, "a word holds the values of a thread's rows");
  constexpr int kCols = Tile::kVectors * kWidth;
  __shared__ uint4 tile[kCols][Tile::kGroups];
  __shared__ __align__(16) float scales[kCols];

  const int64_t row_tiles = gridDim.x / column_tiles;
  const int64_t tile_row = (row_tiles - 1 - blockIdx.x / column_tiles) * Tile::kRows;
  const int64_t tile_column = int64_t{blockIdx.x % column_tiles} * kCols;

  const int vector = threadIdx.x % Tile::kVectors;
  const int quad = threadIdx.x / Tile::kVectors;  // of rows
  const int64_t row = tile_row + quad * 4;
  const int64_t column = tile_column + vector * kWidth;
  const bool inside = row < rows && column < cols;  // rows are a multiple of 16: all four or none
  Vector<T> values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (inside) values[i] = source(row + i, column);
  }

  if (threadIdx.x < kCols && tile_column + threadIdx.x < cols) {
    const int64_t i = tile_column + threadIdx.x;
    const Float8Scale scale =
        float8_scale(__float_as_uint(out.column_amax[i * out.column_amax_stride]));
    scales[threadIdx.x] = scale.scale;
    if (tile_row == 0) out.inverse_scales[i] = scale.inverse;
  }
  __syncthreads();

  if (inside) {
    float v[4][kWidth], s[kWidth];
#pragma unroll
    for (int i = 0; i < 4; ++i) unpack(values[i], v[i]);
#pragma unroll
    for (int j = 0; j < kWidth; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(&scales[vector * kWidth + j]);
      s[j] = four.x, s[j + 1] = four.y, s[j + 2] = four.z, s[j + 3] = four.w;
    }
    uint32_t* words = reinterpret_cast<uint32_t*>(&tile[vector * kWidth][(quad / 4) ^ vector]);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      words[j * Tile::kGroups * 4 + quad % 4] =
          e4m3_quad(v[0][j] * s[j], v[1][j] * s[j], v[2][j] * s[j], v[3][j] * s[j]);
    }
  }
  __syncthreads();

  constexpr int kGroupsOfTile = kCols * Tile::kGroups;
#pragma unroll
  for (int first = 0; first < kGroupsOfTile; first += Tile::kThreads) {
    const int index = first + static_cast<int>(threadIdx.x);
    const int in_tile = index / Tile::kGroups, group = index % Tile::kGroups;
    const int64_t out_row = tile_column + in_tile, out_column = tile_row + group * 16;
    if (out_row < cols && out_column < rows) {
      const Vector<uint8_t> bytes{tile[in_tile][group ^ (in_tile / kWidth)]};
      store_vector(out.values + out_row * rows + out_column, bytes);
    }
  }
}

// rows is a multiple of 16, cols of the vector's width. Not launched early (launch.cuh): after a
// row kernel that fills shared memory it would be up to 13 % slower (M 16384, K 14336).
template <class T, class Source>
void launch_column_copy(const char* name, const Source& source, const ColumnCopyOutput& out,
                        int64_t rows, int64_t cols, cudaStream_t stream) {
  constexpr int64_t kCols = ColumnTile::kVectors * kVectorWidth<T>;
  const int64_t row_tiles = (rows + ColumnTile::kRows - 1) / ColumnTile::kRows;
  const int64_t column_tiles = (cols + kCols - 1) / kCols;
  column_copy_kernel<T>
      <<<static_cast<unsigned>(row_tiles * column_tiles), ColumnTile::kThreads, 0, stream>>>(
          source, out, rows, cols, static_cast<unsigned>(column_tiles));
  check_launch(name);
}

}  // namespace titan::kernels
