#include "lib/parallel/shard_exchange.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan {
namespace {

constexpr int64_t kAlignment = 512;  // bytes

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

ShardExchange::ShardExchange(Group group, Group watched_alone, const ops::Device& device,
                             int64_t shard_bytes, int64_t inbox_bytes)
    : group_(std::move(group)),
      watched_alone_(std::move(watched_alone)),
      device_(device.torch()),
      shard_bytes_(shard_bytes),
      inbox_bytes_(aligned(inbox_bytes)) {
  if (group_.size() == 1) return;
  if (group_.size() > ops::kMaxRanks) {
    why_not_ = concat("more than ", ops::kMaxRanks, " ranks");
    return;
  }
  memory_ =
      PeerMemory::open(group_, device, shard_bytes_ + inboxes_bytes(group_.size(), inbox_bytes),
                       kCounters, why_not_);
  if (memory_) watched_ = at::zeros({1}, device.options(at::kFloat));
}

int64_t ShardExchange::padded_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  auto bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t size : shape) bytes *= size;
  return aligned(bytes);
}

int64_t ShardExchange::inboxes_bytes(int64_t ranks, int64_t inbox_bytes) {
  return (ranks - 1) * aligned(inbox_bytes);
}

at::Tensor ShardExchange::zeros(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  const auto options = at::TensorOptions().device(device_).dtype(dtype);
  if (!memory_) return at::zeros(shape, options);
  std::byte* place = memory_->of(memory_->rank()) + given_;
  given_ += padded_bytes(shape, dtype);
  TITAN_CHECK(given_ <= shard_bytes_, "more shards than were announced");
  return at::from_blob(
      place, shape, [memory = memory_](void*) {}, options);
}

void ShardExchange::written() {
  if (!memory_) return;
  ++times_written_;
  for (int64_t rank = 0; rank < memory_->size(); ++rank) {
    memory_->set(rank, kWritten, times_written_);
  }
}

void ShardExchange::all_gather(const std::vector<Transfer>& transfers) const {
  if (!memory_) return group_.all_gather(transfers);
  // Each begins with its own rows and goes on with the next rank's: no two read the same ones.
  for (int64_t i = 0; i < memory_->size(); ++i) {
    const int64_t rank = (memory_->rank() + i) % memory_->size();
    memory_->wait(rank, kWritten, times_written_);
    for (const Transfer& transfer : transfers) {
      const auto* in = static_cast<const std::byte*>(transfer.in.const_data_ptr());
      const int64_t place = in - memory_->of(memory_->rank());
      const auto bytes = static_cast<int64_t>(transfer.in.nbytes());
      auto* out = static_cast<std::byte*>(transfer.out.mutable_data_ptr());
      memory_->copy(out + rank * bytes, memory_->of(rank) + place, transfer.in.nbytes());
    }
  }
  watch();
}

void ShardExchange::watch() const { watched_alone_.all_reduce_(watched_); }

void ShardExchange::reduce_scatter(const std::vector<Transfer>& transfers, bool accumulate) {
  if (!memory_) return group_.reduce_scatter(transfers);
  // Turns of as much as fits an inbox, cut where the sums' kernel reads whole vectors.
  std::vector<Piece> turn;
  int64_t filled = 0;
  for (const Transfer& transfer : transfers) {
    const auto size = static_cast<int64_t>(transfer.in.element_size());
    const int64_t elements = transfer.in.numel() / memory_->size();
    for (int64_t first = 0, count = 0; first < elements; first += count) {
      if (filled == inbox_bytes_) {
        take_turn(turn, accumulate);
        turn.clear();
        filled = 0;
      }
      count = std::min(elements - first, (inbox_bytes_ - filled) / size);
      turn.push_back({&transfer, first, count, filled});
      filled += aligned(count * size);
    }
  }
  if (!turn.empty()) take_turn(turn, accumulate);
  watch();
}

void ShardExchange::take_turn(const std::vector<Piece>& turn, bool accumulate) {
  const int64_t own = memory_->rank(), ranks = memory_->size();
  const auto rows_for = [&](const Piece& piece, int64_t rank) {
    const at::Tensor& in = piece.transfer->in;
    return in.view(-1).narrow(0, rank * (in.numel() / ranks) + piece.first, piece.count);
  };
  for (int64_t i = 1; i < ranks; ++i) {
    const int64_t rank = (own + i) % ranks;
    memory_->wait(rank, kTaken, turns_);
    for (const Piece& piece : turn) {
      const at::Tensor rows = rows_for(piece, rank);
      memory_->copy(inbox(rank, own) + piece.place, rows.const_data_ptr(), rows.nbytes());
    }
    memory_->set(rank, kSent, turns_ + 1);
  }
  ++turns_;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    if (rank != own) memory_->wait(rank, kSent, turns_);
  }
  std::vector<ops::SumOfRanks> sums;
  for (const Piece& piece : turn) {
    ops::SumOfRanks& sum = sums.emplace_back();
    sum.sum = piece.transfer->out.view(-1).narrow(0, piece.first, piece.count);
    sum.accumulate = accumulate;
    const at::Tensor own_rows = rows_for(piece, own);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      sum.parts.push_back(rank == own ? own_rows
                                      : at::from_blob(inbox(own, rank) + piece.place, {piece.count},
                                                      own_rows.options()));
    }
  }
  ops::sum_of_ranks(sums);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    if (rank != own) memory_->set(rank, kTaken, turns_);
  }
}

std::byte* ShardExchange::inbox(int64_t owner, int64_t from) const {
  const int64_t index = from < owner ? from : from - 1;
  return memory_->of(owner) + shard_bytes_ + index * inbox_bytes_;
}

}  // namespace titan
