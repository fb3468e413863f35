// Batches of token ids for the trainer: a source of text or token files, packed into sequences.
//
// The packed order is upstream's: prefix (BOS) + ids + suffix (EOS) of every document in order, cut
// into pieces of seq_len + 1 tokens; inputs are the first seq_len of a piece, labels the last. With
// DataOrder::global that is one stream for all ranks: step s takes the sequences [s G, (s + 1) G)
// of it (G = global batch), rank r of R the r-th R-th part of those, in micro-batches of
// local_batch_size. So the position is two numbers, and a resume on another number of ranks goes on
// exactly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/data/tokenizer.hpp"

namespace titan {

// The element type of headerless .bin files (training.token_dtype).
enum class TokenDtype { uint16, uint32 };

// global: see above; text is tokenised into a cache first. per_rank: upstream's split of the
// documents among the ranks, tokenised as they stream by; resumes only with the same number of
// ranks.
enum class DataOrder { global, per_rank };

struct DataConfig {
  std::string dataset = "c4_test";          // c4, c4_test, c4_validation
  std::optional<std::string> dataset_path;  // file, folder or glob; overrides the dataset's own
  int64_t seq_len = 2048;
  int64_t local_batch_size = 8;  // sequences of this rank in a micro-batch
  int64_t rank = 0;              // data-parallel rank and degree
  int64_t world_size = 1;
  bool endless = true;  // start again after the last sequence; false: next() ends
  TokenDtype token_dtype = TokenDtype::uint16;
  DataOrder data_order = DataOrder::global;
  std::filesystem::path token_cache;     // folder; empty: titan-train in the user's cache folder
  int64_t prefetch_batches = 2;          // bound of the queue; 0: no thread, next() does the work
  std::filesystem::path shipped_corpus;  // folder of c4_test without a path
  int64_t vocab_size = 0;                // of the model: ids must lie below
  std::filesystem::path tokenizer_path;  // of the tokenizer given to open(); messages name it
  std::string section = "training";      // or "validation": the options that messages name
};

struct Batch {
  std::vector<int32_t> inputs,
      labels;                // [local_batch_size, seq_len] row-major; label -100: ignored
  int64_t valid_tokens = 0;  // labels that are not -100
};

class DataLoader {
 public:
  // Opens the source, and for text in global order builds or reuses the token cache (other
  // processes wait for the one that builds). global_batch: sequences of an optimizer step over all
  // ranks, by default local_batch_size * world_size; a multiple of that. The tokenizer may be null
  // for pre-tokenised sources. Throws InputError that names the file and line, or the option.
  static std::unique_ptr<DataLoader> open(const DataConfig& config,
                                          std::shared_ptr<const Tokenizer> tokenizer,
                                          std::optional<int64_t> global_batch = {});
  ~DataLoader();

  // The next micro-batch of this rank; false when finite data has ended. All ranks end after the
  // same number of batches: missing rows of the last one have inputs 0 and labels -100. Rethrows
  // what the prefetch thread met. One consumer thread.
  bool next(Batch& batch);

  // Seconds that next() has kept its caller waiting, in all.
  double seconds_waited() const;

  // Where the batches handed out so far end; inside an accumulated step, where that step began. In
  // global order equal on all ranks. In per_rank order a rank's part stands under "dp_rank_<r>":
  // the state of the job is the union of the ranks' objects, and restore() takes that union.
  nlohmann::json state() const;

  // Goes on where state() was taken. Another source or tokenizer gives a warning that names the
  // difference; another order, or another number of ranks in per_rank order, throws InputError.
  void restore(const nlohmann::json& state);

  // By what the source and the tokenizer are known, of a bounded number of reads: ranks that see the
  // same data have equal ones. Values by name.
  const nlohmann::json& fingerprint() const;

  // The source in a line or two for the log: files, format, documents, tokens, sequences, cache.
  std::string describe() const;

 private:
  struct Parts;
  explicit DataLoader(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace titan
