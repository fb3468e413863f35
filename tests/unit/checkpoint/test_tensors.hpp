// Small models for checkpoint tests: tensors whose every value tells seed, tensor and element
// apart.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/checkpoint/checkpointer.hpp"
#include "lib/checkpoint/tensor_source.hpp"

namespace titan::test {

// A fresh directory, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Without the wait for the disk: these tests write many small checkpoints.
class QuickFileSystem : public FileSystem {
 public:
  void sync_file(int, const std::filesystem::path&) override {}
  void sync_directory(const std::filesystem::path&) override {}
};
FileSystem& quick_files();

using Bytes = std::vector<std::byte>;

// Whole tensors in memory.
struct TestModel {
  std::map<std::string, TensorInfo> infos;
  std::map<std::string, Bytes> values;

  std::vector<TensorSlice> slices() const;
  Bytes block(const std::string& name, const Box& box) const;
};

// float32 matrices and vectors, one 16-bit and one integer scalar among them.
TestModel make_model(uint64_t seed);
// exp_avg and exp_avg_sq of each float32 tensor of make_model.
TestModel make_optimizer(uint64_t seed);

// Values of a float32 tensor: finite, of both signs, different for every (seed, name, element).
Bytes float_values(uint64_t seed, const std::string& name, int64_t count);

// A full snapshot of make_model(seed) and make_optimizer(seed), which owns its bytes; state
// {"seed": seed}.
Snapshot make_snapshot(int64_t step, uint64_t seed);

// Writes a checkpoint as `ranks` processes would; slices[r] are those of rank r, the model's first.
// Returns the directory.
struct RankSlices {
  std::vector<TensorSlice> model;
  std::vector<TensorSlice> optimizer;
};
std::filesystem::path save_sharded(const std::filesystem::path& folder, int64_t step,
                                   const std::vector<RankSlices>& ranks);

// Rank r's block of rows, by torch.chunk's rule: ceil(rows / ranks), later ranks with fewer or
// none.
Box row_shard(const Shape& shape, int rank, int ranks);

// Expects every tensor of the source to hold the model's values, bit by bit.
void expect_equal(const TensorSource& source, const TestModel& model);

// The seed with which the newest valid checkpoint was made, after checking that all of it is of
// that seed; nothing when there is none.
std::optional<uint64_t> load_newest(const std::filesystem::path& folder);

std::string file_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);
// Names in a directory that start with a dot, but for .lock.
std::vector<std::string> interim_names(const std::filesystem::path& folder);

}  // namespace titan::test
