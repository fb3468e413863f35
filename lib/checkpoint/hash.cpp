#include "lib/checkpoint/hash.hpp"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {

uint64_t hash_bytes(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t hash_bytes(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string to_hex(uint64_t value) {
  std::string digits(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) digits[i] = "0123456789abcdef"[value & 15];
  return digits;
}

std::optional<uint64_t> from_hex(std::string_view digits) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(digits.begin(), digits.end(), value, 16);
  if (digits.size() != 16 || end != digits.end() || error != std::errc{}) return std::nullopt;
  return value;
}

BlockHasher::BlockHasher(uint64_t block_bytes)
    : block_bytes_(block_bytes), state_(XXH3_createState()) {
  TITAN_CHECK(state_ != nullptr && XXH3_64bits_reset(state_) == XXH_OK, "XXH3 does not start");
}

BlockHasher::~BlockHasher() { XXH3_freeState(state_); }

void BlockHasher::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    size_t count = std::min<size_t>(bytes.size(), block_bytes_ - in_block_);
    XXH3_64bits_update(state_, bytes.data(), count);
    in_block_ += count;
    bytes = bytes.subspan(count);
    if (in_block_ == block_bytes_) end_block();
  }
}

std::vector<uint64_t> BlockHasher::finish() {
  if (in_block_ > 0) end_block();
  return std::exchange(hashes_, {});
}

void BlockHasher::end_block() {
  hashes_.push_back(XXH3_64bits_digest(state_));
  XXH3_64bits_reset(state_);
  in_block_ = 0;
}

}  // namespace titan
