#include "lib/data/per_rank_stream.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/data/global_order.hpp"

namespace titan::data {
namespace {

constexpr size_t kBlockBytes = 1 << 18;

int64_t count_lines(const Source& source) {
  int64_t total = 0;
  for (const SourceFile& file : source.files) {
    TextBlockReader reader(file.path, source.format, kBlockBytes);
    int64_t lines = 0;
    for (TextBlock block; reader.next(block);) {
      BlockLines in_block(block, source.format);
      for (Line line; in_block.next(line);) lines = line.number + 1;
    }
    total += lines;
  }
  return total;
}

std::string describe_share(const RankShare& share, const Source& source) {
  if (share.step > 1) return concat("every ", share.step, "th document from ", share.begin);
  if (share.end != INT64_MAX) return concat("documents ", share.begin, " to ", share.end - 1);
  return concat(share.files.size(), " of ", source.files.size(), " files");
}

}  // namespace

RankShare share_of_rank(const Source& source, int64_t rank, int64_t world_size) {
  RankShare share;
  auto files = static_cast<int64_t>(source.files.size());
  if (source.dataset == "c4_test" && world_size > 1) {
    int64_t documents = count_lines(source), each = documents / world_size;
    int64_t remainder = documents % world_size;  // the first ranks take one more
    share.files = source.files;
    share.begin = rank * each + std::min(rank, remainder);
    share.end = share.begin + each + (rank < remainder ? 1 : 0);
  } else if (files % world_size == 0) {
    for (int64_t i = rank; i < files; i += world_size) {
      share.files.push_back(source.files[static_cast<size_t>(i)]);
    }
  } else {
    share.files = source.files;
    share.begin = rank;
    share.step = world_size;
  }
  return share;
}

ShareReader::ShareReader(RankShare share, Format format)
    : share_(std::move(share)), format_(format), parser_(format) {}

void ShareReader::seek(const DataPosition& position) {
  cursor_ = position;
  cursor_.token = 0;
  reader_.reset();
  lines_.reset();
  whole_epoch_ = position.document == 0;
  whole_file_ = position.line == 0;
  documents_in_epoch_ = 0;
}

std::string_view ShareReader::next(DataPosition& where) {
  for (;;) {
    Line line;
    if (!next_line(line)) {
      end_epoch();
      continue;
    }
    where = cursor_;
    ++cursor_.line;
    ++cursor_.document;
    if (where.document < share_.begin || (where.document - share_.begin) % share_.step != 0)
      continue;

    LineCounts counts;
    auto text = parser_.parse(line.text);
    if (text) {
      ++counts.documents;
      ++documents_in_epoch_;
    } else {
      counts.add_malformed(line.number, parser_.reason());
    }
    if (cursor_.epoch == 0) report_.add(share_.files[static_cast<size_t>(where.file)].path, counts);
    if (text) return *text;
  }
}

// Moves the cursor to the next line that is not blank.
bool ShareReader::next_line(Line& line) {
  while (cursor_.file < static_cast<int64_t>(share_.files.size()) &&
         cursor_.document < share_.end) {
    if (!reader_) {
      const SourceFile& file = share_.files[static_cast<size_t>(cursor_.file)];
      reader_ = std::make_unique<TextBlockReader>(file.path, format_, kBlockBytes);
    }
    while (lines_ && lines_->next(line)) {
      if (line.number < cursor_.line) continue;  // before the place of a resume
      cursor_.document += line.number - cursor_.line;
      cursor_.line = line.number;
      if (cursor_.document >= share_.end) return false;
      return true;
    }
    if (reader_->next(block_)) {
      lines_ = std::make_unique<BlockLines>(block_, format_);
    } else {
      end_file();
    }
  }
  return false;
}

void ShareReader::end_file() {
  const SourceFile& file = share_.files[static_cast<size_t>(cursor_.file)];
  bool every_document = share_.step == 1 && share_.end == INT64_MAX;
  if (cursor_.epoch == 0) report_.end_file(file.path, whole_file_ && every_document);
  reader_.reset();
  lines_.reset();
  whole_file_ = true;
  ++cursor_.file;
  cursor_.line = 0;
}

void ShareReader::end_epoch() {
  if (whole_epoch_ && documents_in_epoch_ == 0) {
    throw InputError(concat("this rank's share of the data (", share_.files.front().path.string(),
                            ", ...) holds no document; use fewer ranks or training.data_order = "
                            "\"global\""));
  }
  seek({.epoch = cursor_.epoch + 1});
}

PerRankStream::PerRankStream(const Source& source, std::shared_ptr<const Tokenizer> tokenizer,
                             const DataConfig& config)
    : reader_(share_of_rank(source, config.rank, config.world_size), source.format),
      tokenizer_(std::move(tokenizer)),
      seq_len_(config.seq_len),
      local_batch_(config.local_batch_size),
      rank_(config.rank),
      world_size_(config.world_size),
      description_(concat(source.describe(), "; streamed, rank ", config.rank, " reads ",
                          describe_share(reader_.share(), source))) {}

bool PerRankStream::next(Batch& batch) {
  clear(batch, local_batch_, seq_len_);
  auto length = static_cast<size_t>(seq_len_ + 1);
  for (int64_t row = 0; row < local_batch_; ++row) {
    while (buffer_.size() - used_ < length) append_next_document();
    set_row(batch, row, std::span(buffer_).subspan(used_, length));
    used_ += length;
    drop_from_front(seq_len_ + 1);
  }
  return true;
}

void PerRankStream::append_next_document() {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<int64_t>(used_));
  used_ = 0;
  size_t before = buffer_.size();
  DataPosition start;
  append_document(*tokenizer_, reader_.next(start), buffer_);
  packed_.push_back({start, static_cast<int64_t>(buffer_.size() - before)});

  // After a resume: the part of this document that the run before had used.
  int64_t skipped = std::min(skip_, packed_.back().tokens);
  used_ += static_cast<size_t>(skipped);
  drop_from_front(skipped);
  skip_ = 0;
}

void PerRankStream::drop_from_front(int64_t tokens) {
  used_of_first_ += tokens;
  while (!packed_.empty() && used_of_first_ >= packed_.front().tokens) {
    used_of_first_ -= packed_.front().tokens;
    packed_.pop_front();
  }
}

DataPosition PerRankStream::position() const {
  if (packed_.empty()) {
    DataPosition position = reader_.position();
    position.token = skip_;
    return position;
  }
  DataPosition position = packed_.front().start;
  position.token = used_of_first_;
  return position;
}

void PerRankStream::seek(const DataPosition& position) {
  reader_.seek(position);
  buffer_.clear();
  packed_.clear();
  used_ = 0;
  used_of_first_ = 0;
  skip_ = position.token;
}

nlohmann::json PerRankStream::state_at(const DataPosition& position) const {
  return {{"world_size", world_size_},
          {concat("dp_rank_", rank_),
           {{"epoch", position.epoch},
            {"file", position.file},
            {"line", position.line},
            {"document", position.document},
            {"token", position.token}}}};
}

DataPosition PerRankStream::position_of(const nlohmann::json& state) const {
  auto saved_ranks = state.at("world_size").get<int64_t>();
  if (saved_ranks != world_size_) {
    throw InputError(concat(
        "training.data_order = \"per_rank\" cannot go on with another data-parallel degree: the "
        "checkpoint was written with ",
        saved_ranks, " ranks, this run has ", world_size_,
        "; use as many ranks, or leave the loader out (checkpoint.exclude_from_loading = "
        "[\"dataloader\"])"));
  }
  const nlohmann::json& own = state.at(concat("dp_rank_", rank_));
  auto number = [&](const char* key) { return own.at(key).get<int64_t>(); };
  return {.epoch = number("epoch"),
          .file = number("file"),
          .line = number("line"),
          .document = number("document"),
          .token = number("token")};
}

}  // namespace titan::data
