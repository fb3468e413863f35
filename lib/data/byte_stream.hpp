// The bytes of a file from first to last, decompressed by its suffix: .gz (any number of members),
// .zst (any number of frames, windows up to 128 MiB), anything else as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace titan::data {

class ByteStream {
 public:
  // Throws InputError that names the path.
  static std::unique_ptr<ByteStream> open(const std::filesystem::path& path);
  virtual ~ByteStream() = default;

  // Up to `capacity` bytes; 0 at the end only. Throws InputError that names the file when the
  // compressed data is corrupt or cut short, or the file cannot be read.
  virtual size_t read(char* out, size_t capacity) = 0;

  // How far into the file itself: for progress.
  virtual int64_t file_bytes_read() const = 0;
};

}  // namespace titan::data
