#include "lib/checkpoint/tensor_source.hpp"

#include <algorithm>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan {
namespace {

constexpr int64_t kPieceBytes = 16 << 20;

std::string describe(const TensorInfo& info) {
  return concat(safetensors_name(info.dtype), " ", to_string(info.shape));
}

}  // namespace

const TensorInfo& TensorSource::checked(const std::string& name, const Box& block,
                                        std::span<std::byte> out) const {
  auto found = tensors().find(name);
  TITAN_CHECK(found != tensors().end(), "there is no tensor ", name, " to read");
  const TensorInfo& info = found->second;
  TITAN_CHECK(inside(block, info.shape), name, " ", to_string(info.shape), " has no block ",
              to_string(block.shape), " at ", to_string(block.offset));
  TITAN_CHECK(out.size() == static_cast<size_t>(volume(block.shape)) * byte_size(info.dtype),
              "reading ", to_string(block.shape), " of ", name, " into ", out.size(), " bytes");
  return info;
}

void read_as_float32(const TensorSource& source, const std::string& name, const Box& block,
                     std::span<float> out) {
  auto found = source.tensors().find(name);
  TITAN_CHECK(found != source.tensors().end(), "there is no tensor ", name, " to read");
  Dtype dtype = found->second.dtype;
  if (dtype == Dtype::kFloat32) {
    source.read(name, block, std::as_writable_bytes(out));
    return;
  }
  if (dtype != Dtype::kBfloat16 && dtype != Dtype::kFloat16) {
    throw InputError(concat(name, " is stored as ", safetensors_name(dtype),
                            "; weights in F32, BF16 or F16 can be loaded"));
  }
  TITAN_CHECK(out.size() == static_cast<size_t>(volume(block.shape)), "reading ",
              to_string(block.shape), " of ", name, " into ", out.size(), " floats");
  std::vector<std::byte> stored(out.size() * byte_size(dtype));
  source.read(name, block, stored);
  convert(dtype, stored, Dtype::kFloat32, std::as_writable_bytes(out));
}

void for_each_piece(const TensorSource& source, const std::string& name, int64_t row_unit,
                    const std::function<void(std::span<const std::byte>)>& consume) {
  const TensorInfo& info = source.tensors().at(name);
  if (info.shape.empty()) {
    std::vector<std::byte> scalar(byte_size(info.dtype));
    source.read(name, Box{}, scalar);
    consume(scalar);
    return;
  }
  if (volume(info.shape) == 0) return;
  int64_t rows = info.shape[0];
  int64_t row_bytes = volume(info.shape) / rows * static_cast<int64_t>(byte_size(info.dtype));
  int64_t units = std::max<int64_t>(1, kPieceBytes / (row_bytes * row_unit));
  Box piece = whole(info.shape);
  std::vector<std::byte> buffer;
  for (int64_t row = 0; row < rows; row += piece.shape[0]) {
    piece.offset[0] = row;
    piece.shape[0] = std::min(units * row_unit, rows - row);
    buffer.resize(static_cast<size_t>(piece.shape[0] * row_bytes));
    source.read(name, piece, buffer);
    consume(buffer);
  }
}

void require_tensors(const TensorTable& expected, const TensorTable& found, bool compare_dtypes,
                     std::string_view what) {
  constexpr size_t kMaxLines = 20;
  std::vector<std::string> differences;
  for (const auto& [name, info] : expected) {
    auto other = found.find(name);
    if (other == found.end()) {
      differences.push_back(concat(name, ": missing, expected ", describe(info)));
    } else if (other->second.shape != info.shape ||
               (compare_dtypes && other->second.dtype != info.dtype)) {
      differences.push_back(
          concat(name, ": ", describe(other->second), ", expected ", describe(info)));
    }
  }
  for (const auto& [name, info] : found) {
    if (!expected.contains(name)) {
      differences.push_back(concat(name, ": unexpected, ", describe(info)));
    }
  }
  if (differences.empty()) return;
  std::string message = concat(what, " does not fit the model (", differences.size(),
                               " of its tensors differ); use the model that it was made with:");
  for (size_t i = 0; i < std::min(differences.size(), kMaxLines); ++i) {
    message += concat("\n  ", differences[i]);
  }
  if (differences.size() > kMaxLines) {
    message += concat("\n  ... and ", differences.size() - kMaxLines, " more");
  }
  throw InputError(message);
}

MemorySource::MemorySource(std::span<const TensorSlice> slices) {
  for (const TensorSlice& slice : slices) {
    tensors_.emplace(slice.name, TensorInfo{slice.dtype, slice.global_shape});
    slices_.emplace(slice.name, &slice);
  }
}

void MemorySource::read(const std::string& name, const Box& block, std::span<std::byte> out) const {
  const TensorInfo& info = checked(name, block, out);
  uint64_t copied = 0;
  auto [first, last] = slices_.equal_range(name);
  for (auto slice = first; slice != last; ++slice) {
    for (const ByteRun& run : copy_runs(slice->second->box(), block, byte_size(info.dtype))) {
      std::memcpy(out.data() + run.target, slice->second->bytes.data() + run.source, run.size);
      copied += run.size;
    }
  }
  TITAN_CHECK(copied == out.size(), "the slices in memory do not cover ", to_string(block.shape),
              " at ", to_string(block.offset), " of ", name);
}

}  // namespace titan
