// XXH3-64, the hash by which checkpoints tell altered data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct XXH3_state_s;

namespace titan {

uint64_t hash_bytes(std::span<const std::byte> bytes);
uint64_t hash_bytes(std::string_view bytes);

// 16 lower-case hexadecimal digits, and back; nothing for other text.
std::string to_hex(uint64_t value);
std::optional<uint64_t> from_hex(std::string_view digits);

// Hashes a stream that comes in pieces: one hash for each `block_bytes`, the last block may be
// shorter.
class BlockHasher {
 public:
  explicit BlockHasher(uint64_t block_bytes);
  ~BlockHasher();

  void append(std::span<const std::byte> bytes);
  // The hashes since the start or the last call; begins a new stream.
  std::vector<uint64_t> finish();

 private:
  void end_block();

  uint64_t block_bytes_;
  uint64_t in_block_ = 0;
  XXH3_state_s* state_;
  std::vector<uint64_t> hashes_;
};

}  // namespace titan
