// Writes and reads checkpoints for the Python tests, which make and compare the tensors:
//   checkpoint_tool write IN.safetensors LAYOUT FOLDER STEP [DTYPE]   IN's tensors as
//   FOLDER/step-STEP checkpoint_tool read STEP_DIRECTORY OUT.safetensors               a
//   checkpoint's model as one file
// Tensors of IN whose name starts with "optimizer." belong to the optimizer (without that prefix).
// LAYOUT: "whole", "rows:N" (N ranks with blocks of rows) or "grid:RxC" (matrices also cut by
// columns, as tensor parallel does). DTYPE: float32 tensors are stored in it.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <list>
#include <string>

#include "lib/base/error.hpp"
#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/pending_directory.hpp"
#include "lib/checkpoint/shard_writer.hpp"
#include "lib/checkpoint/step_folder.hpp"

namespace {

using namespace titan;

constexpr std::string_view kOptimizerPrefix = "optimizer.";

struct Grid {
  int64_t rows = 1;
  int64_t columns = 1;
};

Grid parse_layout(const std::string& text) {
  Grid grid;
  if (text == "whole" || std::sscanf(text.c_str(), "rows:%ld", &grid.rows) == 1 ||
      std::sscanf(text.c_str(), "grid:%ldx%ld", &grid.rows, &grid.columns) == 2) {
    return grid;
  }
  throw InputError(concat("unknown layout ", text));
}

// Cuts one dimension into `parts` by torch.chunk's rule.
void cut(Box& box, size_t dimension, int64_t part, int64_t parts) {
  int64_t extent = box.shape[dimension];
  int64_t chunk = (extent + parts - 1) / parts;
  box.offset[dimension] = std::min(extent, part * chunk);
  box.shape[dimension] = std::min(chunk, extent - box.offset[dimension]);
}

// What a rank holds; nothing of a tensor without dimensions, but on rank 0.
Box block_of(const Shape& shape, int64_t rank, const Grid& grid) {
  Box box = whole(shape);
  int64_t column = rank % grid.columns;
  if (!shape.empty()) cut(box, 0, rank / grid.columns, grid.rows);
  if (shape.size() >= 2) cut(box, 1, column, grid.columns);
  return box;
}

bool writes(const Shape& shape, int64_t rank, const Grid& grid) {
  if (shape.empty()) return rank == 0;
  return shape.size() >= 2 || rank % grid.columns == 0;  // vectors are the same on all columns
}

void write(const std::string& in, const std::string& layout, const std::string& folder,
           int64_t step, Dtype float32_as) {
  FileSystem& files = FileSystem::posix();
  SafetensorsReader source(in);
  Grid grid = parse_layout(layout);
  PendingDirectory directory(files, step_path(folder, step), {"model", "optim"});
  Manifest manifest;
  manifest.step = step;
  for (int64_t rank = 0; rank < grid.rows * grid.columns; ++rank) {
    std::list<std::vector<std::byte>> storage;
    std::vector<TensorSlice> model, optimizer;
    for (const SafetensorsEntry& entry : source.header().entries) {
      bool of_optimizer = entry.name.starts_with(kOptimizerPrefix);
      std::string name = of_optimizer ? entry.name.substr(kOptimizerPrefix.size()) : entry.name;
      Dtype stored = entry.dtype == Dtype::kFloat32 ? float32_as : entry.dtype;
      (of_optimizer ? manifest.optimizer_tensors : manifest.model_tensors)[name] = {stored,
                                                                                    entry.shape};
      if (!writes(entry.shape, rank, grid)) continue;
      Box box = block_of(entry.shape, rank, grid);
      auto& bytes = storage.emplace_back(volume(box.shape) * byte_size(entry.dtype));
      for (const ByteRun& run : copy_runs(whole(entry.shape), box, byte_size(entry.dtype))) {
        source.read(entry.begin + run.source, std::span(bytes).subspan(run.target, run.size));
      }
      (of_optimizer ? optimizer : model)
          .push_back({name, entry.dtype, entry.shape, box.offset, box.shape, bytes});
    }
    auto add = [&](Part part, const std::vector<TensorSlice>& slices) {
      auto file =
          write_shard(files, directory.path(), part, static_cast<int>(rank), slices, float32_as);
      if (file) manifest.files.push_back(*file);
    };
    add(Part::kModel, model);
    add(Part::kOptimizer, optimizer);
  }
  replace_file(files, directory.path() / kManifestName, to_text(manifest));
  CheckpointReader proof(directory.path());
  directory.publish();
}

void read(const std::string& step_directory, const std::string& out) {
  CheckpointReader reader(step_directory);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, info] : reader.model().tensors()) {
    entries.push_back({.name = name, .dtype = info.dtype, .shape = info.shape});
  }
  SafetensorsWriter writer(FileSystem::posix(), out, entries, {});
  for (const SafetensorsEntry& entry : writer.entries()) {
    for_each_piece(reader.model(), entry.name, 1, [&](auto piece) { writer.append(piece); });
  }
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() >= 5 && arguments[0] == "write") {
      Dtype float32_as = dtype_from_option(arguments.size() > 5 ? arguments[5] : "float32");
      write(arguments[1], arguments[2], arguments[3], std::stol(arguments[4]), float32_as);
    } else if (arguments.size() == 3 && arguments[0] == "read") {
      read(arguments[1], arguments[2]);
    } else {
      throw InputError("usage: see the head of checkpoint_tool.cpp");
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
