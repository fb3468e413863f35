#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "lib/base/error.hpp"
#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/safetensors.hpp"

namespace titan {
namespace {

// Size, JSON and padding to 8 bytes. Fills in where each entry's data lies in the file.
std::string make_header(std::vector<SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json;
  if (!metadata.empty()) json["__metadata__"] = metadata;
  std::string text = json.empty() ? "{" : json.dump();
  if (!json.empty()) text.back() = ',';  // entries are appended: many lookups by key would be slow
  uint64_t data_size = 0;
  for (SafetensorsEntry& entry : entries) {
    entry.begin = data_size;
    data_size += static_cast<uint64_t>(volume(entry.shape)) * byte_size(entry.dtype);
    entry.end = data_size;
    nlohmann::ordered_json tensor = {{"dtype", safetensors_name(entry.dtype)},
                                     {"shape", entry.shape},
                                     {"data_offsets", {entry.begin, entry.end}}};
    text += concat(nlohmann::json(entry.name).dump(), ":", tensor.dump(), ",");
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');

  for (SafetensorsEntry& entry : entries) {
    entry.begin += 8 + text.size();
    entry.end += 8 + text.size();
  }
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return header + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(FileSystem& files, std::filesystem::path path,
                                     std::vector<SafetensorsEntry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : files_(files), path_(std::move(path)), entries_(std::move(entries)) {
  std::ranges::sort(entries_, {}, [](const SafetensorsEntry& entry) {
    return std::tuple(-static_cast<int>(byte_size(entry.dtype)), entry.name);
  });
  for (size_t i = 0; i < entries_.size(); ++i) {
    TITAN_CHECK(entries_[i].name != "__metadata__", "a tensor cannot be named __metadata__");
    TITAN_CHECK(i == 0 || entries_[i].name != entries_[i - 1].name, "tensor ", entries_[i].name,
                " is given twice for ", path_.string());
  }
  std::string header = make_header(entries_, metadata);
  header_hash_ = hash_bytes(header);
  position_ = header.size();
  size_ = entries_.empty() ? header.size() : entries_.back().end;
  file_ = files_.create_file(path_);
  files_.write(file_.get(), header, path_);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  TITAN_CHECK(bytes.size() <= size_ - position_, "more data than announced for ", path_.string());
  files_.write(file_.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path_);
  position_ += bytes.size();
}

uint64_t SafetensorsWriter::finish() {
  TITAN_CHECK(position_ == size_, path_.string(), " got ", position_, " of ", size_, " bytes");
  files_.sync_file(file_.get(), path_);
  files_.close_file(std::move(file_), path_);
  return size_;
}

}  // namespace titan
