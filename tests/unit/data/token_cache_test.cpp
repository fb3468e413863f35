// The token cache: reuse, what makes a new one, damage, several processes, folders that do not
// work.
#include "lib/data/token_cache.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "lib/data/source.hpp"
#include "lib/data/tokenise.hpp"
#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<fs::path> caches_in(const fs::path& folder) {
  std::vector<fs::path> caches;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".lock") caches.push_back(entry.path());
  }
  return caches;
}

Ids read_all(const CachedTokens& cached) {
  TokenStream stream({cached.run}, 1 << 30);
  Ids ids(static_cast<size_t>(stream.size()));
  stream.read(0, ids);
  return ids;
}

class TokenCache : public testing::Test {
 protected:
  Source source() { return find_source("training", "c4", path_, ""); }
  CachedTokens open(const Tokenizer& tokenizer) {
    return open_token_cache(source(), tokenizer, folder_ / "cache");
  }

  ScratchFolder folder_;
  std::vector<std::string> documents_{"first", "", "third"};
  std::string path_ = folder_.write("a.jsonl", json_lines(documents_));
};

TEST_F(TokenCache, IsMadeOnceAndUsedAgain) {
  ByteTokenizer tokenizer;
  CachedTokens made = open(tokenizer);
  EXPECT_EQ(tokenizer.documents_encoded, 3);
  EXPECT_EQ(read_all(made), tokens_of(documents_));
  EXPECT_EQ(made.documents, 3);
  EXPECT_EQ(made.run.dtype, TokenDtype::uint16);
  EXPECT_EQ(read_all(open(tokenizer)), tokens_of(documents_));
  EXPECT_EQ(tokenizer.documents_encoded, 3);
  EXPECT_EQ(caches_in(folder_ / "cache").size(), 1u);
}

TEST_F(TokenCache, TakesFourBytesForLargeVocabularies) {
  CachedTokens cached = open(ByteTokenizer("large", 65'537));
  EXPECT_EQ(cached.run.dtype, TokenDtype::uint32);
  EXPECT_EQ(read_all(cached), tokens_of(documents_));
  EXPECT_EQ(open(ByteTokenizer("limit", 65'536)).run.dtype, TokenDtype::uint16);
}

TEST_F(TokenCache, AnotherTokenizerOrSourceGetsItsOwn) {
  ByteTokenizer tokenizer, other("other");
  open(tokenizer);
  open(other);
  EXPECT_EQ(other.documents_encoded, 3);
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(2));
  open(tokenizer);
  EXPECT_EQ(tokenizer.documents_encoded, 6);  // same size, another time
  fs::rename(path_, folder_ / "b.jsonl");
  path_ = folder_ / "b.jsonl";
  open(tokenizer);
  EXPECT_EQ(tokenizer.documents_encoded, 9);
  EXPECT_EQ(caches_in(folder_ / "cache").size(), 4u);
}

TEST_F(TokenCache, ADamagedOneIsMadeAgain) {
  ByteTokenizer tokenizer;
  fs::path cache = open(tokenizer).run.path;
  auto size = fs::file_size(cache);
  int made = 1;
  auto expect_new = [&](const std::string& how) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(read_all(open(tokenizer)), tokens_of(documents_)) << how;
    EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("is damaged")) << how;
    EXPECT_EQ(tokenizer.documents_encoded, 3 * ++made) << how;
  };
  for (uintmax_t length : {uintmax_t{0}, uintmax_t{50}, uintmax_t{128}, size - 1}) {
    fs::resize_file(cache, length);
    expect_new(concat("cut to ", length));
  }
  for (int64_t byte : {0, 8, 12, 17, 40, 127}) {
    std::fstream file(cache, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(byte);
    file.put('\x5a');
    file.close();
    expect_new(concat("byte ", byte));
  }
}

TEST_F(TokenCache, WhatAKilledBuilderLeftIsNoObstacle) {
  ByteTokenizer tokenizer;
  fs::path cache = open(tokenizer).run.path;
  fs::rename(cache, cache.string() + ".partial");
  fs::resize_file(cache.string() + ".partial", 10'000);
  EXPECT_EQ(read_all(open(tokenizer)), tokens_of(documents_));
  EXPECT_EQ(caches_in(folder_ / "cache"), std::vector{cache});
}

TEST_F(TokenCache, AFailedBuildLeavesNothing) {
  path_ = folder_.write("bad.jsonl", json_lines({"good"}) + "bad\n");
  folder_.write("in/1.jsonl", json_lines({"good"}));
  folder_.write("in/2.jsonl", "bad\n");
  path_ = (folder_ / "in").string();
  input_error([&] { open(ByteTokenizer()); });
  EXPECT_TRUE(caches_in(folder_ / "cache").empty());
}

// The slow tokenizer makes sure that all processes meet while one builds.
class SlowTokenizer : public ByteTokenizer {
 public:
  explicit SlowTokenizer(fs::path log) : log_(std::move(log)) {}
  void encode(std::string_view text, Ids& out) const override {
    std::ofstream(log_, std::ios::app) << "x";
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ByteTokenizer::encode(text, out);
  }

 private:
  fs::path log_;
};

TEST_F(TokenCache, OneProcessBuildsAndOthersWait) {
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    pid_t child = ::fork();
    if (child == 0) {
      bool good = false;
      try {
        good = read_all(open(SlowTokenizer(folder_ / "encoded"))) == tokens_of(documents_);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(fs::file_size(folder_ / "encoded"), 3u);  // each document once, not four times
}

TEST_F(TokenCache, ThreadsOfOneProcessExcludeEachOtherToo) {
  SlowTokenizer tokenizer(folder_ / "encoded");
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(read_all(open(tokenizer)), tokens_of(documents_)); });
  }
  threads.clear();
  EXPECT_EQ(tokenizer.documents_encoded, 3);
}

TEST_F(TokenCache, NamesTheOptionWhenTheFolderCannotBeUsed) {
  auto message = [&](const fs::path& folder) {
    return input_error([&] { open_token_cache(source(), ByteTokenizer(), folder); });
  };
  folder_.write("file", "not a folder");
  EXPECT_THAT(message(folder_ / "file/cache"), HasSubstr("set training.token_cache"));
  EXPECT_THAT(message("/proc/cannot_be_made"), HasSubstr("set training.token_cache"));
  EXPECT_THAT(message("/sys"), HasSubstr("set training.token_cache"));
}

TEST_F(TokenCache, AFullDiskIsNamedAndLeavesNothing) {
  path_ = folder_.write("large.jsonl", json_lines({std::string(100'000, 'x')}));
  pid_t child = ::fork();
  if (child == 0) {  // a process whose files may not grow stands in for a full disk
    rlimit limit{50'000, 50'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    std::string message = input_error([&] { open(ByteTokenizer()); });
    ::_exit(message.find("cannot write") != std::string::npos &&
                    message.find("training.token_cache") != std::string::npos
                ? 0
                : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(caches_in(folder_ / "cache").empty());
}

TEST_F(TokenCache, ReadsAReadyCacheFromAFolderItCannotWrite) {
  ByteTokenizer tokenizer;
  fs::path cache = open(tokenizer).run.path;
  fs::remove(cache.string() + ".lock");
  fs::permissions(folder_ / "cache", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_EQ(read_all(open(tokenizer)), tokens_of(documents_));
  EXPECT_FALSE(fs::exists(cache.string() + ".lock"));  // it did not try, whoever runs the test
  fs::permissions(folder_ / "cache", fs::perms::owner_all);
}

TEST(TokenCacheFolder, FollowsTheEnvironment) {
  EXPECT_EQ(token_cache_folder("/given"), "/given");
  const char* home = std::getenv("HOME");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  std::string saved_home = home ? home : "", saved_cache = cache ? cache : "";
  ::setenv("HOME", "/home/someone", 1);
  ::setenv("XDG_CACHE_HOME", "/caches", 1);
  EXPECT_EQ(token_cache_folder(""), "/caches/titan-train");
  ::setenv("XDG_CACHE_HOME", "relative", 1);  // to be ignored, by its specification
  EXPECT_EQ(token_cache_folder(""), "/home/someone/.cache/titan-train");
  ::unsetenv("XDG_CACHE_HOME");
  ::unsetenv("HOME");
  EXPECT_THAT(input_error([] { token_cache_folder(""); }), HasSubstr("training.token_cache"));
  if (home) ::setenv("HOME", saved_home.c_str(), 1);
  if (cache) ::setenv("XDG_CACHE_HOME", saved_cache.c_str(), 1);
}

TEST(Tokenise, GivesTheSameTokensOnAnyNumberOfThreads) {
  std::mt19937 random(8);
  ScratchFolder folder;
  std::vector<std::string> all;
  for (int file = 0; file < 6; ++file) {  // several blocks each
    auto documents = random_documents(random, 600, 2'000);
    folder.write(concat("in/", file, ".jsonl"), json_lines(documents));
    all.insert(all.end(), documents.begin(), documents.end());
  }
  Source source = find_source("training", "c4", folder / "in", "");
  Ids expected = tokens_of(all);
  for (size_t threads : {1, 2, 7}) {
    Ids tokens;
    LineReport report = tokenise(
        source, ByteTokenizer(), threads,
        [&](std::span<const int32_t> ids) { tokens.insert(tokens.end(), ids.begin(), ids.end()); });
    EXPECT_EQ(tokens, expected) << threads << " threads";
    EXPECT_EQ(report.documents(), 3'600);
  }
}

TEST(Tokenise, PassesErrorsOfTokenizerAndWriterOn) {
  struct Failing : ByteTokenizer {
    void encode(std::string_view text, Ids& out) const override {
      if (text == "bad") throw Error("the pattern gives up");
      ByteTokenizer::encode(text, out);
    }
  };
  ScratchFolder folder;
  Source source =
      find_source("training", "c4", folder.write("a.jsonl", json_lines({"good", "bad"})), "");
  auto ignore = [](std::span<const int32_t>) {};
  EXPECT_THROW(tokenise(source, Failing(), 3, ignore), Error);
  auto full = [](std::span<const int32_t>) { throw Error("no space left"); };
  EXPECT_THROW(tokenise(source, ByteTokenizer(), 3, full), Error);
}

}  // namespace
}  // namespace titan::data
