// Reading back, whatever mesh wrote it: round trips, resharding, coverage, blocks of hashes.
#include "lib/checkpoint/checkpoint_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <list>
#include <random>
#include <thread>

#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::HasSubstr;

// Blocks of a model for ranks; the slices point into `storage`.
class Shards {
 public:
  TensorSlice slice(const TestModel& model, const std::string& name, const Box& box) {
    storage_.push_back(model.block(name, box));
    const TensorInfo& info = model.infos.at(name);
    return {name, info.dtype, info.shape, box.offset, box.shape, storage_.back()};
  }

  // As FSDP would over this many ranks: rows, replicas and scalars once.
  std::vector<RankSlices> by_rows(const TestModel& model, const TestModel& optimizer, int ranks) {
    std::vector<RankSlices> shards(static_cast<size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      auto add = [&](const TestModel& part, std::vector<TensorSlice>& out) {
        for (const auto& [name, info] : part.infos) {
          if (info.shape.empty() && rank > 0) continue;
          out.push_back(slice(part, name, row_shard(info.shape, rank, ranks)));
        }
      };
      add(model, shards[static_cast<size_t>(rank)].model);
      add(optimizer, shards[static_cast<size_t>(rank)].optimizer);
    }
    return shards;
  }

 private:
  std::list<Bytes> storage_;
};

TEST(CheckpointReader, AnyNumberOfRanksReadsTheSame) {
  TestModel model = make_model(3);
  TestModel optimizer = make_optimizer(3);
  for (int ranks : {1, 2, 3, 7, 40}) {  // 40: more ranks than rows of most tensors
    TemporaryDirectory folder;
    Shards shards;
    CheckpointReader reader(
        save_sharded(folder.path(), 5, shards.by_rows(model, optimizer, ranks)));
    EXPECT_EQ(reader.manifest().step, 5);
    expect_equal(reader.model(), model);
    expect_equal(reader.optimizer(), optimizer);
  }
}

// Saved as a 2 x 2 mesh holds it (rows by data parallel, columns by tensor parallel), read as any
// block.
TEST(CheckpointReader, ReadsAnyBlockOfTwoDimensionalShards) {
  TestModel model = make_model(4);
  const std::string name = "layers.10.feed_forward.w2.weight";  // [8, 24]
  Shards shards;
  std::vector<RankSlices> ranks(4);
  for (int rank = 0; rank < 4; ++rank) {
    Box box = {{rank / 2 * 5, rank % 2 * 11}, {rank / 2 == 0 ? 5 : 3, rank % 2 == 0 ? 11 : 13}};
    ranks[static_cast<size_t>(rank)].model = {shards.slice(model, name, box)};
  }
  TemporaryDirectory folder;
  CheckpointReader reader(save_sharded(folder.path(), 1, ranks));
  std::mt19937 random(2);
  auto draw = [&](int64_t limit) {
    return std::uniform_int_distribution<int64_t>(0, limit)(random);
  };
  for (int repeat = 0; repeat < 300; ++repeat) {
    Box box = {{draw(7), draw(23)}, {}};
    box.shape = {draw(8 - box.offset[0]), draw(24 - box.offset[1])};
    Bytes expected = model.block(name, box);
    Bytes bytes(expected.size(), std::byte{0xee});
    reader.model().read(name, box, bytes);
    ASSERT_TRUE(bytes == expected) << to_string(box.offset) << to_string(box.shape);
  }
}

TEST(CheckpointReader, TensorsOfSeveralHashBlocksReadWholeAndInParts) {
  TestModel model;
  const Shape shape = {
      5, 3 << 20};  // 60 MiB: four blocks, the last not full, rows across their borders
  model.infos["big"] = {Dtype::kFloat32, shape};
  model.values["big"] = float_values(1, "big", volume(shape));
  TemporaryDirectory folder;
  CheckpointReader reader(save_sharded(folder.path(), 1, {{model.slices(), {}}}));
  ASSERT_EQ(reader.manifest().files[0].chunks[0].hashes.size(), 4u);
  expect_equal(reader.model(), model);
  for (const Box& box :
       {Box{{1, 0}, {2, 3 << 20}}, Box{{0, 1000}, {5, 7}}, Box{{4, 5}, {1, (3 << 20) - 5}}}) {
    Bytes bytes(static_cast<size_t>(volume(box.shape)) * 4);
    reader.model().read("big", box, bytes);
    EXPECT_TRUE(bytes == model.block("big", box));
  }

  // A block that is not touched is not judged; one that is, is.
  std::filesystem::path file = folder.path() / "step-1/model" / reader.manifest().files[0].name;
  std::fstream damaged(file, std::ios::in | std::ios::out | std::ios::binary);
  damaged.seekp(-1, std::ios::end);
  damaged.put('\x55');
  damaged.close();
  Bytes row(12 << 20);
  reader.model().read("big", {{0, 0}, {1, 3 << 20}}, row);
  EXPECT_THROW(reader.model().read("big", {{4, 0}, {1, 3 << 20}}, row), CorruptCheckpoint);
}

TEST(CheckpointReader, ThreadsMayReadAtOnce) {
  TestModel model = make_model(9);
  Shards shards;
  TemporaryDirectory folder;
  CheckpointReader reader(save_sharded(folder.path(), 1, shards.by_rows(model, {}, 3)));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { expect_equal(reader.model(), model); });
  for (std::thread& thread : threads) thread.join();
}

TEST(CheckpointReader, MissingAndOverlappingChunksAreRefused) {
  TestModel model = make_model(1);
  const std::string name = "tok_embeddings.weight";  // [33, 8]
  auto open = [&](const std::vector<Box>& boxes) {
    Shards shards;
    std::vector<RankSlices> ranks(boxes.size());
    for (size_t i = 0; i < boxes.size(); ++i)
      ranks[i].model = {shards.slice(model, name, boxes[i])};
    TemporaryDirectory folder;
    CheckpointReader reader(save_sharded(folder.path(), 1, ranks));
  };
  EXPECT_NO_THROW(open({{{0, 0}, {20, 8}}, {{20, 0}, {13, 8}}}));
  EXPECT_THROW(open({{{0, 0}, {20, 8}}, {{21, 0}, {12, 8}}}), CorruptCheckpoint);
  EXPECT_THROW(open({{{0, 0}, {20, 8}}, {{19, 0}, {14, 8}}}), CorruptCheckpoint);
  EXPECT_THROW(open({{{0, 0}, {20, 8}}}), CorruptCheckpoint);
}

TEST(CheckpointReader, WrongRequestsAreErrorsOfTheCaller) {
  TestModel model = make_model(1);
  TemporaryDirectory folder;
  CheckpointReader reader(save_sharded(folder.path(), 1, {{model.slices(), {}}}));
  Bytes bytes(32);
  EXPECT_THROW(reader.model().read("none", {{0}, {8}}, bytes), Error);
  EXPECT_THROW(reader.model().read("layers.0.attention_norm.weight", {{1}, {8}}, bytes), Error);
  EXPECT_THROW(reader.model().read("layers.0.attention_norm.weight", {{0}, {7}}, bytes), Error);
  EXPECT_NO_THROW(reader.model().read("layers.0.attention_norm.weight", {{0}, {8}}, bytes));
}

TEST(TensorSource, ReadsNarrowWeightsAsFloat32) {
  TestModel model = make_model(6);
  TemporaryDirectory folder;
  CheckpointReader reader(save_sharded(folder.path(), 1, {{model.slices(), {}}}));
  std::vector<float> floats(14);
  read_as_float32(reader.model(), "half.weight", {{1, 0}, {2, 7}}, floats);
  for (size_t i = 0; i < floats.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, model.values.at("half.weight").data() + 2 * (7 + i), 2);
    EXPECT_EQ(std::bit_cast<uint32_t>(floats[i]), static_cast<uint32_t>(bits) << 16);
  }
  std::vector<float> one(1);
  EXPECT_THROW(read_as_float32(reader.model(), "counter", {}, one), InputError);
}

TEST(TensorSource, DifferencesAreListedAtOnce) {
  TensorTable expected = {
      {"a", {Dtype::kFloat32, {2}}}, {"b", {Dtype::kFloat32, {2}}}, {"c", {Dtype::kFloat32, {2}}}};
  TensorTable found = {
      {"a", {Dtype::kBfloat16, {2}}}, {"b", {Dtype::kFloat32, {3}}}, {"d", {Dtype::kFloat32, {2}}}};
  EXPECT_NO_THROW(require_tensors(expected, expected, true, "x"));
  try {
    require_tensors(expected, found, false, "checkpoint step-5");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("checkpoint step-5 does not fit the model (3 of its tensors differ)"));
    EXPECT_THAT(error.what(), HasSubstr("b: F32 [3], expected F32 [2]"));
    EXPECT_THAT(error.what(), HasSubstr("c: missing"));
    EXPECT_THAT(error.what(), HasSubstr("d: unexpected"));
  }
  EXPECT_THROW(
      require_tensors({{"a", {Dtype::kFloat32, {2}}}}, {{"a", {Dtype::kBfloat16, {2}}}}, true, "x"),
      InputError);
}

TEST(TensorSource, MemoryServesBlocksAcrossSlices) {
  TestModel model = make_model(2);
  Shards shards;
  const std::string name = "tok_embeddings.weight";
  std::vector<TensorSlice> slices = {shards.slice(model, name, {{0, 0}, {10, 8}}),
                                     shards.slice(model, name, {{10, 0}, {23, 8}})};
  MemorySource source(slices);
  Box box = {{8, 2}, {5, 3}};
  Bytes bytes(60);
  source.read(name, box, bytes);
  EXPECT_TRUE(bytes == model.block(name, box));
  MemorySource half({slices.data(), 1});
  EXPECT_THROW(half.read(name, box, bytes), Error);
}

}  // namespace
}  // namespace titan
