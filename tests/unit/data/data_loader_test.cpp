// The loader around the orders: options, prefetching, waiting, checkpointed state.
#include <gmock/gmock.h>

#include <thread>

#include "lib/data/prefetch.hpp"
#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

using testing::HasSubstr;
using testing::Not;

class DataLoaderTest : public testing::Test {
 protected:
  ScratchFolder folder_;
  std::string path_ = folder_.write("a.jsonl", json_lines({"some text", "more text", "the end"}));
  DataConfig config_ = config_for(folder_, path_);
};

TEST_F(DataLoaderTest, BatchesHaveTheirShape) {
  config_.local_batch_size = 3;
  auto loader = DataLoader::open(config_, byte_tokenizer());
  Batch batch;
  ASSERT_TRUE(loader->next(batch));
  EXPECT_EQ(batch.inputs.size(), 24u);
  EXPECT_EQ(batch.labels.size(), 24u);
  EXPECT_EQ(batch.valid_tokens, 24);
  EXPECT_EQ(batch.inputs[0], kBos);
  EXPECT_EQ(batch.labels[0], 's');
}

TEST_F(DataLoaderTest, RefusesOptionsByName) {
  auto message = [&](std::optional<int64_t> global_batch = {}) {
    return input_error([&] { DataLoader::open(config_, byte_tokenizer(), global_batch); });
  };
  EXPECT_THAT(message(3), HasSubstr("training.global_batch_size = 3"));
  EXPECT_THAT(message(0), HasSubstr("training.global_batch_size = 0"));
  config_.seq_len = 0;
  EXPECT_THAT(message(), HasSubstr("training.seq_len = 0"));
  config_.seq_len = 8;
  config_.local_batch_size = -1;
  config_.section = "validation";
  EXPECT_THAT(message(), HasSubstr("validation.local_batch_size = -1"));
}

TEST_F(DataLoaderTest, DescribesTheSource) {
  auto loader = DataLoader::open(config_, byte_tokenizer());
  std::string text = loader->describe();
  EXPECT_THAT(text, HasSubstr("c4 from " + path_ + ": 1 JSON Lines file"));
  EXPECT_THAT(text, HasSubstr("3 documents"));
  EXPECT_THAT(text, HasSubstr("31 tokens, 3 sequences of 8"));
  EXPECT_THAT(text, HasSubstr((folder_ / "cache").string()));
}

TEST_F(DataLoaderTest, StateSurvivesJsonAndNamesWhatChanged) {
  auto loader = DataLoader::open(config_, byte_tokenizer());
  take(*loader, 8, 2);
  nlohmann::json state = nlohmann::json::parse(loader->state().dump());
  auto restored_log = [&](std::shared_ptr<ByteTokenizer> tokenizer) {
    auto other = DataLoader::open(config_, std::move(tokenizer));
    testing::internal::CaptureStdout();
    other->restore(state);
    return testing::internal::GetCapturedStdout();
  };
  EXPECT_EQ(restored_log(byte_tokenizer()), "");

  std::string log = restored_log(std::make_shared<ByteTokenizer>("another"));
  EXPECT_THAT(log, HasSubstr("tokenizer (\"bytes\" then, \"another\" now)"));
  EXPECT_THAT(log, Not(HasSubstr("files")));
  folder_.write("a.jsonl", json_lines({"some text", "more text", "the end", "and more"}));
  log = restored_log(byte_tokenizer());
  EXPECT_THAT(log, HasSubstr("bytes ("));
  EXPECT_THAT(log, Not(HasSubstr("tokenizer")));
}

TEST_F(DataLoaderTest, RefusesStatesThatDoNotFit) {
  auto loader = DataLoader::open(config_, byte_tokenizer());
  nlohmann::json good = loader->state();
  auto message = [&](const nlohmann::json& state) {
    return input_error([&] { loader->restore(state); });
  };
  nlohmann::json state = good;
  state["order"] = "per_rank";
  EXPECT_THAT(message(state),
              HasSubstr("training.data_order = \"per_rank\", this run has \"global\""));
  state = good;
  state["version"] = 2;
  EXPECT_THAT(message(state), HasSubstr("version 2"));
  for (const char* key : {"version", "order", "source", "epoch", "token"}) {
    state = good;
    state.erase(key);
    EXPECT_THAT(message(state), HasSubstr(key));
  }
  state = good;
  state["token"] = -1;
  EXPECT_THAT(message(state), HasSubstr("-1"));
  state["token"] = "one";
  EXPECT_THAT(message(state), HasSubstr("cannot be read"));
  EXPECT_THAT(message("text"), HasSubstr("cannot be read"));
  EXPECT_EQ(loader->state(), good);
}

TEST_F(DataLoaderTest, PrefetchingChangesNothing) {
  config_.prefetch_batches = 0;
  auto expected = take(*DataLoader::open(config_, byte_tokenizer()), 8, 20);
  for (int64_t bound : {1, 2, 5}) {
    config_.prefetch_batches = bound;
    EXPECT_EQ(take(*DataLoader::open(config_, byte_tokenizer()), 8, 20), expected);
  }
}

// Ten batches that each take a while, then the end or an error.
class SlowSource : public BatchSource {
 public:
  explicit SlowSource(bool fails) : fails_(fails) {}
  bool next(Batch& batch) override {
    if (made == 10 && fails_) throw InputError("broken at 10");
    if (made == 10) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    batch.inputs = {++made};
    return true;
  }
  DataPosition position() const override { return {.token = made}; }
  void seek(const DataPosition&) override {}
  nlohmann::json state_at(const DataPosition&) const override { return {}; }
  DataPosition position_of(const nlohmann::json&) const override { return {}; }
  std::string describe() const override { return {}; }
  std::atomic<int> made = 0;

 private:
  bool fails_;
};

TEST(Prefetcher, IsBoundedAndKeepsOrderAndPositions) {
  SlowSource source(false);
  Prefetcher prefetcher(source, 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_LE(source.made, 4);  // three in the queue, one in hand
  Batch batch;
  DataPosition position;
  for (int i = 1; i <= 10; ++i) {
    ASSERT_TRUE(prefetcher.next(batch, position));
    EXPECT_EQ(batch.inputs, Ids{i});
    EXPECT_EQ(position.token, i);
  }
  EXPECT_FALSE(prefetcher.next(batch, position));
  EXPECT_FALSE(prefetcher.next(batch, position));
}

TEST(Prefetcher, HandsOutWhatCameBeforeAnErrorThenTheError) {
  SlowSource source(true);
  Prefetcher prefetcher(source, 2);
  Batch batch;
  DataPosition position;
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(prefetcher.next(batch, position));
  EXPECT_EQ(input_error([&] { prefetcher.next(batch, position); }), "broken at 10");
  EXPECT_EQ(input_error([&] { prefetcher.next(batch, position); }), "broken at 10");
}

TEST(Prefetcher, StopsAtOnceWhileItsQueueIsFull) {
  SlowSource source(false);
  Prefetcher prefetcher(source, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

TEST_F(DataLoaderTest, MeasuresTheWait) {
  struct Slow : ByteTokenizer {
    void encode(std::string_view text, Ids& out) const override {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ByteTokenizer::encode(text, out);
    }
  };
  config_.data_order = DataOrder::per_rank;
  auto loader = DataLoader::open(config_, std::make_shared<Slow>());
  EXPECT_EQ(loader->seconds_waited(), 0);
  take(*loader, 8, 10);
  EXPECT_GT(loader->seconds_waited(), 0.05);
}

}  // namespace
}  // namespace titan::data
