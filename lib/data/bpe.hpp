// Byte-pair encoding of one piece of text (what the splitting regex calls a word): start from a
// token per byte, then merge the neighbouring pair of the lowest rank, leftmost first, until none
// is left.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace titan {

class BytePairEncoder {
 public:
  // Two neighbours and the token that takes their place. Lower ranks go first.
  struct Merge {
    int32_t left, right, result, rank;
  };

  struct Config {
    std::array<int32_t, 256> byte_ids;  // -1: this byte has no token and is dropped
    std::vector<Merge> merges;          // of a pair listed twice the last one counts
    // Pieces that are one token as they stand, whatever the merges would make of them.
    std::unordered_map<std::string, int32_t> whole_pieces;
  };

  // What one thread keeps between pieces: the ids of the words it has seen (2 MiB) and work space.
  class Scratch {
   public:
    Scratch();

   private:
    friend class BytePairEncoder;

    // A word and its ids in one cache line; longer words are encoded each time.
    struct alignas(64) CachedWord {
      static constexpr size_t kMaxBytes = 30, kMaxIds = 8;
      uint8_t bytes = 0;  // 0: empty
      uint8_t count = 0;
      char text[kMaxBytes];
      int32_t ids[kMaxIds];
    };
    // Doubly linked, so that a merge is O(1); `rank` and `merged` belong to the pair with the next
    // one.
    struct Symbol {
      int32_t id, previous, next;
      int32_t rank, merged;
    };
    struct Candidate {
      int32_t rank, position;
      bool operator>(const Candidate& other) const {
        return rank != other.rank ? rank > other.rank : position > other.position;
      }
    };

    std::vector<CachedWord> words_;  // direct-mapped: a new word takes the place of the old
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  explicit BytePairEncoder(Config config);

  // Appends the ids of a piece. O(n log n) in its bytes. Any number of threads, a Scratch each.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  // Open-addressing table from a pair of ids to its merge.
  struct PairSlot {
    uint64_t pair = kNoPair;
    int32_t rank = 0, merged = 0;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const;
  };

  size_t slot_of(uint64_t pair) const;
  void rank_pair(std::vector<Scratch::Symbol>& symbols, int32_t position) const;
  void merge_bytes(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<PairSlot> pairs_;
  int pair_shift_ = 0;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> whole_pieces_;
};

}  // namespace titan
