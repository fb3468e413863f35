// safetensors files: a strict reader, which checks every field before it is used, and a streaming
// writer in the official order (element size falling, then name), which keeps the data aligned.
// Format: u64 little-endian header size, JSON header, data without holes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/base/file.hpp"
#include "lib/checkpoint/box.hpp"
#include "lib/checkpoint/dtype.hpp"
#include "lib/checkpoint/file_system.hpp"

namespace titan {

struct SafetensorsEntry {
  std::string name;
  Dtype dtype;
  Shape shape;
  uint64_t begin = 0;  // in the file
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries;  // in file order
};

// Reads a header from the first bytes of a file: the size and the JSON, at least. Throws InputError
// that names the path and the first thing that is wrong.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           const std::filesystem::path& path_for_message);

// An open file. Throws InputError. Safe to read from several threads.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  uint64_t header_hash() const { return header_hash_; }         // of all bytes before the data
  const SafetensorsEntry* find(const std::string& name) const;  // null when there is none

  // Fills `out` from this place in the file.
  void read(uint64_t position, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  SafetensorsHeader header_;
  uint64_t header_hash_ = 0;
  std::map<std::string, size_t> index_;
};

// Writes one file: construct, append the data of entries() in their order, finish.
class SafetensorsWriter {
 public:
  // `begin` and `end` of the entries are ignored. Names are unique and not "__metadata__".
  SafetensorsWriter(FileSystem& files, std::filesystem::path path,
                    std::vector<SafetensorsEntry> entries,
                    const std::map<std::string, std::string>& metadata);

  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  uint64_t header_hash() const { return header_hash_; }

  // In pieces of any size, across borders of tensors too.
  void append(std::span<const std::byte> bytes);

  // Fsyncs and closes; returns the file's size. The directory is the caller's to sync.
  uint64_t finish();

 private:
  FileSystem& files_;
  std::filesystem::path path_;
  std::vector<SafetensorsEntry> entries_;
  FileDescriptor file_;
  uint64_t header_hash_ = 0;
  uint64_t position_ = 0;
  uint64_t size_ = 0;
};

}  // namespace titan
