// TensorBoard event files, written without protobuf: TFRecord frames
//   u64 length | u32 masked crc32c(length) | payload | u32 masked crc32c(payload)    little-endian
// around hand-encoded tensorflow.Event messages (tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto); the first one names the version "brain.Event:2".
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "lib/metrics/record_file.hpp"

namespace titan {

// CRC-32C (Castagnoli) of the bytes, rotated and offset as TFRecord wants it.
uint32_t masked_crc32c(std::string_view bytes);

struct Scalar {
  std::string_view tag;
  double value = 0;  // stored as fp32
};

// One file in `folder` (created when missing), named so that TensorBoard finds it and no other
// process or writer has it. Never throws: see RecordFile. One thread.
class EventFile {
 public:
  explicit EventFile(const std::filesystem::path& folder);

  void add_scalars(int64_t step, double unix_seconds, std::span<const Scalar> scalars);

 private:
  RecordFile file_;
};

}  // namespace titan
