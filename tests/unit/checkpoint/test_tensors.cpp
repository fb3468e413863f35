#include "tests/unit/checkpoint/test_tensors.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/pending_directory.hpp"
#include "lib/checkpoint/shard_writer.hpp"

namespace titan::test {
namespace fs = std::filesystem;

// In memory where there is room: these tests are about files, not about the disk.
TemporaryDirectory::TemporaryDirectory() {
  std::error_code error;
  fs::space_info memory = fs::space("/dev/shm", error);
  bool room = !error && memory.available > (uint64_t{1} << 29);
  std::string name =
      ((room ? fs::path("/dev/shm") : fs::temp_directory_path()) / "titan_checkpoint_XXXXXX")
          .string();
  TITAN_CHECK(::mkdtemp(name.data()) != nullptr, "no temporary directory");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

FileSystem& quick_files() {
  static QuickFileSystem files;
  return files;
}

std::vector<TensorSlice> TestModel::slices() const {
  std::vector<TensorSlice> slices;
  for (const auto& [name, info] : infos) {
    slices.push_back(
        {name, info.dtype, info.shape, Shape(info.shape.size(), 0), info.shape, values.at(name)});
  }
  return slices;
}

Bytes TestModel::block(const std::string& name, const Box& box) const {
  const TensorInfo& info = infos.at(name);
  Bytes bytes(static_cast<size_t>(volume(box.shape)) * byte_size(info.dtype));
  for (const ByteRun& run : copy_runs(whole(info.shape), box, byte_size(info.dtype))) {
    std::memcpy(bytes.data() + run.target, values.at(name).data() + run.source, run.size);
  }
  return bytes;
}

Bytes float_values(uint64_t seed, const std::string& name, int64_t count) {
  uint64_t state = hash_bytes(name) + seed * 0x9e3779b97f4a7c15u;
  Bytes bytes(static_cast<size_t>(count) * sizeof(float));
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    float value = static_cast<float>(static_cast<int64_t>(state) >> 32) * 0x1p-31f;
    std::memcpy(bytes.data() + i * sizeof(float), &value, sizeof value);
  }
  return bytes;
}

namespace {

void add(TestModel& model, uint64_t seed, const std::string& name, Dtype dtype, Shape shape) {
  Bytes values = float_values(seed, name, volume(shape));
  values.resize(static_cast<size_t>(volume(shape)) * byte_size(dtype));
  model.infos[name] = {dtype, std::move(shape)};
  model.values[name] = std::move(values);
}

const std::map<std::string, Shape> kFloatTensors = {{"tok_embeddings.weight", {33, 8}},
                                                    {"layers.0.attention.wq.weight", {16, 8}},
                                                    {"layers.0.attention_norm.weight", {8}},
                                                    {"layers.10.feed_forward.w2.weight", {8, 24}},
                                                    {"layers.2.moe.experts.w1", {4, 6, 10}}};

}  // namespace

TestModel make_model(uint64_t seed) {
  TestModel model;
  for (const auto& [name, shape] : kFloatTensors) add(model, seed, name, Dtype::kFloat32, shape);
  add(model, seed, "half.weight", Dtype::kBfloat16, {5, 7});
  add(model, seed, "counter", Dtype::kInt64, {});
  model.values["counter"] = Bytes(8, std::byte(seed));
  return model;
}

TestModel make_optimizer(uint64_t seed) {
  TestModel model;
  for (const auto& [name, shape] : kFloatTensors) {
    add(model, seed, name + ".exp_avg", Dtype::kFloat32, shape);
    add(model, seed, name + ".exp_avg_sq", Dtype::kFloat32, shape);
  }
  return model;
}

Snapshot make_snapshot(int64_t step, uint64_t seed) {
  auto values =
      std::make_shared<std::pair<TestModel, TestModel>>(make_model(seed), make_optimizer(seed));
  Snapshot snapshot;
  snapshot.step = step;
  snapshot.model = values->first.slices();
  snapshot.optimizer = values->second.slices();
  snapshot.state = {{"seed", seed}};
  snapshot.keep_alive = values;
  return snapshot;
}

fs::path save_sharded(const fs::path& folder, int64_t step, const std::vector<RankSlices>& ranks) {
  FileSystem& files = quick_files();
  fs::path target = step_path(folder, step);
  PendingDirectory directory(files, target, {"model", "optim"});
  Manifest manifest;
  manifest.step = step;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    auto write = [&](Part part, const std::vector<TensorSlice>& slices, TensorTable& table) {
      for (const TensorSlice& slice : slices) table[slice.name] = {slice.dtype, slice.global_shape};
      auto file = write_shard(files, directory.path(), part, static_cast<int>(rank), slices);
      if (file) manifest.files.push_back(*file);
    };
    write(Part::kModel, ranks[rank].model, manifest.model_tensors);
    write(Part::kOptimizer, ranks[rank].optimizer, manifest.optimizer_tensors);
  }
  replace_file(files, directory.path() / kManifestName, to_text(manifest));
  directory.publish();
  return target;
}

Box row_shard(const Shape& shape, int rank, int ranks) {
  Box box = whole(shape);
  if (shape.empty()) return box;
  int64_t chunk = (shape[0] + ranks - 1) / ranks;
  box.offset[0] = std::min(shape[0], rank * chunk);
  box.shape[0] = std::min(chunk, shape[0] - box.offset[0]);
  return box;
}

void expect_equal(const TensorSource& source, const TestModel& model) {
  ASSERT_EQ(source.tensors().size(), model.infos.size());
  for (const auto& [name, info] : model.infos) {
    ASSERT_TRUE(source.tensors().contains(name)) << name;
    EXPECT_EQ(source.tensors().at(name).dtype, info.dtype) << name;
    EXPECT_EQ(source.tensors().at(name).shape, info.shape) << name;
    Bytes bytes(model.values.at(name).size());
    source.read(name, whole(info.shape), bytes);
    EXPECT_TRUE(bytes == model.values.at(name)) << name;
  }
}

std::optional<uint64_t> load_newest(const fs::path& folder) {
  Checkpointer checkpointer({.folder = folder, .load_only = true});
  std::optional<uint64_t> seed;
  checkpointer.load_latest([&](const CheckpointReader& reader) {
    seed = reader.manifest().state.at("seed").get<uint64_t>();
    expect_equal(reader.model(), make_model(*seed));
    expect_equal(reader.optimizer(), make_optimizer(*seed));
  });
  return seed;
}

std::string file_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> interim_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::string name = entry.path().filename();
    if (name.starts_with('.') && name != ".lock") names.push_back(name);
  }
  return names;
}

}  // namespace titan::test
