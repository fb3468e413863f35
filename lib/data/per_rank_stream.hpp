// Upstream's split: each rank packs its own documents, tokenised as they stream by. Needs no cache.
//
// c4_test (map-style upstream): a contiguous block of the documents per rank, which takes a pass
// over the files to count them. Others (streamed): whole files, every R-th from the rank's own, if
// the number of files is a multiple of R, else every R-th document.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json.hpp>

#include "lib/data/batch_source.hpp"
#include "lib/data/documents.hpp"
#include "lib/data/text_blocks.hpp"

namespace titan::data {

// The documents of one rank: those of `files` whose place n among all their lines has begin <= n <
// end and (n - begin) % step == 0.
struct RankShare {
  std::vector<SourceFile> files;
  int64_t begin = 0;
  int64_t end = INT64_MAX;
  int64_t step = 1;
};

RankShare share_of_rank(const Source& source, int64_t rank, int64_t world_size);

// Goes through the documents of a share again and again.
class ShareReader {
 public:
  ShareReader(RankShare share, Format format);

  // The text is valid until the next call, `where` its place. Throws InputError when a whole epoch
  // has no document.
  std::string_view next(DataPosition& where);

  void seek(const DataPosition& position);           // the token is ignored
  DataPosition position() const { return cursor_; }  // before the next line
  const RankShare& share() const { return share_; }

 private:
  bool next_line(Line& line);  // false at the end of the epoch
  void end_file();
  void end_epoch();

  RankShare share_;
  Format format_;
  DataPosition cursor_;
  std::unique_ptr<TextBlockReader> reader_;
  std::unique_ptr<BlockLines> lines_;
  TextBlock block_;
  DocumentParser parser_;
  LineReport report_;
  bool whole_epoch_ = true;  // read from its start
  bool whole_file_ = true;
  int64_t documents_in_epoch_ = 0;
};

class PerRankStream : public BatchSource {
 public:
  PerRankStream(const Source& source, std::shared_ptr<const Tokenizer> tokenizer,
                const DataConfig& config);

  bool next(Batch& batch) override;
  DataPosition position() const override;
  void seek(const DataPosition& position) override;
  nlohmann::json state_at(const DataPosition& position) const override;
  DataPosition position_of(const nlohmann::json& state) const override;
  std::string describe() const override { return description_; }

 private:
  void append_next_document();
  void drop_from_front(int64_t tokens);

  struct Packed {  // a document in the buffer
    DataPosition start;
    int64_t tokens;
  };

  ShareReader reader_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  int64_t seq_len_, local_batch_, rank_, world_size_;
  std::string description_;
  std::vector<int32_t> buffer_;  // tokens of the documents in packed_, but for those used up
  size_t used_ = 0;              // tokens at the start of buffer_ that belong to earlier sequences
  std::deque<Packed> packed_;
  int64_t used_of_first_ = 0;  // tokens of packed_.front() that are used up
  int64_t skip_ = 0;           // tokens of the next document that were used before a resume
};

}  // namespace titan::data
