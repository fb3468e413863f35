#include "lib/data/global_order.hpp"

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan::data {
namespace {

constexpr int64_t kTokensProbed = 1 << 16;

}  // namespace

GlobalOrder::GlobalOrder(TokenStream stream, const DataConfig& config, int64_t global_batch,
                         std::string origin)
    : stream_(std::move(stream)),
      origin_(std::move(origin)),
      seq_len_(config.seq_len),
      local_batch_(config.local_batch_size),
      global_batch_(global_batch),
      rank_(config.rank),
      world_size_(config.world_size),
      endless_(config.endless),
      tokens_(static_cast<size_t>(config.seq_len + 1)) {
  if (stream_.size() <= seq_len_) {
    throw InputError(concat(origin_, ": holds ", stream_.size(), " tokens; one sequence takes ",
                            config.section, ".seq_len + 1 = ", seq_len_ + 1));
  }
  // A wrong vocabulary or element type should be found before the first step.
  std::vector<int32_t> probe(static_cast<size_t>(std::min(stream_.size(), kTokensProbed)));
  stream_.read(0, probe);
}

bool GlobalOrder::next(Batch& batch) {
  int64_t first_of_step = step_ * global_batch_;
  if (!exists(first_of_step)) return false;
  int64_t share = global_batch_ / world_size_;
  int64_t first = first_of_step + rank_ * share + micro_batch_ * local_batch_;

  clear(batch, local_batch_, seq_len_);
  for (int64_t row = 0; row < local_batch_ && exists(first + row); ++row) {
    read_sequence(first + row, tokens_);
    set_row(batch, row, tokens_);
  }
  if (++micro_batch_ * local_batch_ == share) {
    micro_batch_ = 0;
    ++step_;
  }
  return true;
}

bool GlobalOrder::exists(int64_t sequence) const {
  return endless_ || base_ + (sequence + 1) * (seq_len_ + 1) <= stream_.size();
}

void GlobalOrder::read_sequence(int64_t sequence, std::span<int32_t> out) {
  int64_t begin = (base_ + sequence * (seq_len_ + 1)) % stream_.size();
  auto before_end = std::min(out.size(), static_cast<size_t>(stream_.size() - begin));
  stream_.read(begin, out.first(before_end));
  stream_.read(0, out.subspan(before_end));  // at most one epoch long, since seq_len < size
}

// The end of finite data is where its last whole sequence ends, however far the last step reached.
DataPosition GlobalOrder::position() const {
  int64_t token = base_ + step_ * global_batch_ * (seq_len_ + 1);
  if (!endless_) {
    int64_t sequences = std::max<int64_t>(0, stream_.size() - base_) / (seq_len_ + 1);
    token = std::min(token, base_ + sequences * (seq_len_ + 1));
    return {.token = token};
  }
  return {.epoch = token / stream_.size(), .token = token % stream_.size()};
}

void GlobalOrder::seek(const DataPosition& position) {
  base_ = position.epoch * stream_.size() + position.token;
  step_ = micro_batch_ = 0;
}

nlohmann::json GlobalOrder::state_at(const DataPosition& position) const {
  return {{"epoch", position.epoch}, {"token", position.token}};
}

DataPosition GlobalOrder::position_of(const nlohmann::json& state) const {
  return {.epoch = state.at("epoch").get<int64_t>(), .token = state.at("token").get<int64_t>()};
}

std::string GlobalOrder::describe() const {
  return concat(origin_, "; ", stream_.size(), " tokens, ", stream_.size() / (seq_len_ + 1),
                " sequences of ", seq_len_, " an epoch");
}

void set_row(Batch& batch, int64_t row, std::span<const int32_t> sequence) {
  auto seq_len = static_cast<int64_t>(sequence.size()) - 1;
  std::copy(sequence.begin(), sequence.end() - 1, batch.inputs.begin() + row * seq_len);
  std::copy(sequence.begin() + 1, sequence.end(), batch.labels.begin() + row * seq_len);
  batch.valid_tokens += seq_len;
}

void clear(Batch& batch, int64_t rows, int64_t seq_len) {
  batch.inputs.assign(static_cast<size_t>(rows * seq_len), 0);
  batch.labels.assign(static_cast<size_t>(rows * seq_len), -100);
  batch.valid_tokens = 0;
}

}  // namespace titan::data
