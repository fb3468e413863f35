#include "lib/data/bpe.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <utility>

namespace titan {
namespace {

constexpr size_t kCachedWords = size_t{1} << 15;
constexpr int32_t kNone = -1;

uint64_t pack(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BytePairEncoder::Scratch::Scratch() : words_(kCachedWords) {}

size_t BytePairEncoder::Hash::operator()(std::string_view text) const {
  return XXH3_64bits(text.data(), text.size());
}

BytePairEncoder::BytePairEncoder(Config config) : byte_ids_(config.byte_ids) {
  size_t slots = std::bit_ceil(std::max<size_t>(16, config.merges.size() * 3 / 2));
  pairs_.resize(slots);
  pair_shift_ = 64 - std::countr_zero(slots);
  for (const Merge& merge : config.merges) {
    uint64_t pair = pack(merge.left, merge.right);
    pairs_[slot_of(pair)] = {pair, merge.rank, merge.result};
  }
  whole_pieces_.insert(std::make_move_iterator(config.whole_pieces.begin()),
                       std::make_move_iterator(config.whole_pieces.end()));
}

// The pair's slot, or the empty one where it would go.
size_t BytePairEncoder::slot_of(uint64_t pair) const {
  size_t slot = pair * 0x9E3779B97F4A7C15u >> pair_shift_;
  while (pairs_[slot].pair != pair && pairs_[slot].pair != kNoPair) {
    slot = (slot + 1) & (pairs_.size() - 1);
  }
  return slot;
}

void BytePairEncoder::encode(std::string_view piece, Scratch& scratch,
                             std::vector<int32_t>& out) const {
  using CachedWord = Scratch::CachedWord;
  if (piece.empty()) return;
  if (piece.size() > CachedWord::kMaxBytes) return merge_bytes(piece, scratch, out);

  CachedWord& word = scratch.words_[Hash()(piece) & (kCachedWords - 1)];
  if (word.bytes == piece.size() && std::memcmp(word.text, piece.data(), piece.size()) == 0) {
    out.insert(out.end(), word.ids, word.ids + word.count);
    return;
  }
  size_t before = out.size();
  merge_bytes(piece, scratch, out);
  size_t count = out.size() - before;
  if (count > CachedWord::kMaxIds) return;
  word.bytes = static_cast<uint8_t>(piece.size());
  word.count = static_cast<uint8_t>(count);
  std::copy(piece.begin(), piece.end(), word.text);
  std::copy(out.end() - static_cast<ptrdiff_t>(count), out.end(), word.ids);
}

// Looks up the merge of the symbol at `position` with its successor.
void BytePairEncoder::rank_pair(std::vector<Scratch::Symbol>& symbols, int32_t position) const {
  Scratch::Symbol& symbol = symbols[position];
  symbol.rank = kNone;
  if (symbol.next == kNone) return;
  const PairSlot& slot = pairs_[slot_of(pack(symbol.id, symbols[symbol.next].id))];
  if (slot.pair == kNoPair) return;
  symbol.rank = slot.rank;
  symbol.merged = slot.merged;
}

void BytePairEncoder::merge_bytes(std::string_view piece, Scratch& scratch,
                                  std::vector<int32_t>& out) const {
  if (auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    out.push_back(whole->second);
    return;
  }
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  symbols.clear();
  heap.clear();
  for (char byte : piece) {
    int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id == kNone) continue;
    int32_t position = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, position - 1, position + 1, kNone, kNone});
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  for (int32_t position = 0; position < static_cast<int32_t>(symbols.size()); ++position) {
    rank_pair(symbols, position);
    if (symbols[position].rank != kNone) heap.push_back({symbols[position].rank, position});
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  auto push = [&](int32_t position) {
    rank_pair(symbols, position);
    if (symbols[position].rank == kNone) return;
    heap.push_back({symbols[position].rank, position});
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    auto [rank, position] = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    auto& symbol = symbols[position];
    if (symbol.rank != rank) continue;  // one of the two has been merged since

    auto& absorbed = symbols[symbol.next];
    absorbed.rank = kNone;
    symbol.id = symbol.merged;
    symbol.next = absorbed.next;
    if (symbol.next != kNone) symbols[symbol.next].previous = position;
    push(position);
    if (symbol.previous != kNone) push(symbol.previous);
  }
  for (int32_t position = 0; position != kNone; position = symbols[position].next) {
    out.push_back(symbols[position].id);
  }
}

}  // namespace titan
