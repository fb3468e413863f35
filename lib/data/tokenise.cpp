#include "lib/data/tokenise.hpp"

#include <chrono>
#include <deque>
#include <future>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/data/text_blocks.hpp"
#include "lib/data/worker_pool.hpp"

namespace titan::data {
namespace {

constexpr size_t kBlockBytes = 1 << 18;
constexpr size_t kBlocksPerThread = 4;  // in flight: keeps threads busy while this one reads
constexpr size_t kBytesInFlight = size_t{1} << 30;  // of text: matters for huge documents only
constexpr auto kProgressInterval = std::chrono::seconds(5);

struct TokenisedBlock {
  std::vector<int32_t> tokens;
  LineCounts counts;
};

TokenisedBlock tokenise_block(const TextBlock& block, Format format, const Tokenizer& tokenizer) {
  TokenisedBlock result;
  DocumentParser parser(format);
  BlockLines lines(block, format);
  for (Line line; lines.next(line);) {
    if (auto text = parser.parse(line.text)) {
      append_document(tokenizer, *text, result.tokens);
      ++result.counts.documents;
    } else {
      result.counts.add_malformed(line.number, parser.reason());
    }
  }
  return result;
}

// A log line every few seconds; none for sources that are done sooner.
class Progress {
 public:
  explicit Progress(const Source& source) : source_(source) {}

  void add_tokens(size_t count) { tokens_ += count; }
  void show(int64_t bytes_read) {
    auto now = Clock::now();
    if (now < next_) return;
    next_ = now + kProgressInterval;
    double seconds = std::chrono::duration<double>(now - start_).count();
    log::info(concat("Tokenising ", source_.dataset, ": ", readable_bytes(bytes_read), " of ",
                     readable_bytes(source_.bytes()), ", ", tokens_, " tokens, ",
                     static_cast<int64_t>(static_cast<double>(tokens_) / seconds), " tokens/s"));
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Source& source_;
  Clock::time_point start_ = Clock::now(), next_ = start_ + kProgressInterval;
  size_t tokens_ = 0;
};

// Blocks on their way through the workers, finished in the order of the source.
class Pipeline {
 public:
  Pipeline(const Source& source, const Tokenizer& tokenizer, size_t threads,
           const std::function<void(std::span<const int32_t>)>& write)
      : source_(source), tokenizer_(tokenizer), write_(write), progress_(source), pool_(threads) {
    most_blocks_ = kBlocksPerThread * threads;
  }

  void push(size_t file, TextBlock block) {
    size_t bytes = block.size;
    while (!in_flight_.empty() &&
           (in_flight_.size() >= most_blocks_ || bytes_ + bytes > kBytesInFlight)) {
      finish_oldest();
    }
    bytes_ += bytes;
    in_flight_.push_back({file, bytes, pool_.submit([this, block = std::move(block)] {
                            return tokenise_block(block, source_.format, tokenizer_);
                          })});
  }

  LineReport finish() {
    while (!in_flight_.empty()) finish_oldest();
    end_files_before(source_.files.size());
    return report_;
  }

  Progress& progress() { return progress_; }

 private:
  struct InFlight {
    size_t file;
    size_t bytes;
    std::future<TokenisedBlock> result;
  };

  void finish_oldest() {
    InFlight oldest = std::move(in_flight_.front());
    in_flight_.pop_front();
    bytes_ -= oldest.bytes;
    TokenisedBlock done = oldest.result.get();
    end_files_before(oldest.file);
    report_.add(source_.files[oldest.file].path, done.counts);
    write_(done.tokens);
    progress_.add_tokens(done.tokens.size());
  }

  void end_files_before(size_t file) {
    while (ended_ < file) report_.end_file(source_.files[ended_++].path, /*whole=*/true);
  }

  const Source& source_;
  const Tokenizer& tokenizer_;
  const std::function<void(std::span<const int32_t>)>& write_;
  Progress progress_;
  LineReport report_;
  size_t most_blocks_;
  size_t ended_ = 0;  // files reported to their end
  size_t bytes_ = 0;
  std::deque<InFlight> in_flight_;
  WorkerPool<TokenisedBlock> pool_;  // destroyed first: its threads use what is above
};

}  // namespace

LineReport tokenise(const Source& source, const Tokenizer& tokenizer, size_t threads,
                    const std::function<void(std::span<const int32_t>)>& write) {
  Pipeline pipeline(source, tokenizer, threads, write);
  int64_t bytes_before = 0;  // of the files before the current one
  for (size_t file = 0; file < source.files.size(); ++file) {
    TextBlockReader reader(source.files[file].path, source.format, kBlockBytes);
    for (TextBlock block; reader.next(block); block = {}) {
      pipeline.push(file, std::move(block));
      pipeline.progress().show(bytes_before + reader.file_bytes_read());
    }
    bytes_before += source.files[file].size;
  }
  return pipeline.finish();
}

}  // namespace titan::data
