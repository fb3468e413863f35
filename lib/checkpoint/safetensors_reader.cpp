#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.hpp"
#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/safetensors.hpp"

namespace titan {
namespace {

using Header = nlohmann::json;  // sorted maps: looking up a key stays cheap in a hostile header

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 4;  // header > tensor > shape > number

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& problem) {
  throw InputError(concat(path.string(), " is not a valid safetensors file: ", problem));
}

// The size of the JSON, from the first 8 bytes.
uint64_t json_size(std::span<const std::byte> start, uint64_t file_size,
                   const std::filesystem::path& path) {
  if (start.size() < 8 || file_size < 8) fail(path, concat("it has only ", file_size, " bytes"));
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | std::to_integer<uint64_t>(start[i]);
  if (size > kMaxHeaderBytes) fail(path, concat("a header of ", size, " bytes is above 100 MB"));
  if (size > file_size - 8) {
    fail(path, concat("the header's ", size, " bytes go beyond the file's ", file_size));
  }
  return size;
}

// Parses the JSON, refusing duplicate keys, which a plain parse would silently merge.
Header parse_unique(std::string_view text, const std::filesystem::path& path) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  auto check = [&](int depth, Header::parse_event_t event, Header& parsed) {
    using Event = Header::parse_event_t;
    if (depth > kMaxDepth) fail(path, "the header is nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(path, concat("the key \"", parsed.get<std::string>(), "\" appears twice"));
    }
    return true;
  };
  try {
    return Header::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    fail(path, concat("the header is not JSON: ", error.what()));
  }
}

// Field `key` as an array of unsigned integers that fit int64.
std::vector<uint64_t> extents(const Header& tensor, const char* key, const std::string& name,
                              const std::filesystem::path& path) {
  std::vector<uint64_t> values;
  auto found = tensor.find(key);
  bool good = found != tensor.end() && found->is_array();
  for (size_t i = 0; good && i < found->size(); ++i) {
    const Header& value = (*found)[i];
    good = value.is_number_unsigned() && value.get<uint64_t>() <= INT64_MAX;
    if (good) values.push_back(value.get<uint64_t>());
  }
  if (!good) fail(path, concat("\"", key, "\" of ", name, " is not an array of sizes"));
  return values;
}

SafetensorsEntry parse_entry(const std::string& name, const Header& tensor, uint64_t data_begin,
                             uint64_t file_size, const std::filesystem::path& path) {
  if (!tensor.is_object() || tensor.size() != 3 || !tensor.contains("dtype") ||
      !tensor["dtype"].is_string()) {
    fail(path, concat(name, " needs exactly dtype, shape and data_offsets"));
  }
  auto dtype_name = tensor["dtype"].get<std::string>();
  std::optional<Dtype> dtype = dtype_from_safetensors(dtype_name);
  if (!dtype) fail(path, concat(name, " has the unknown dtype \"", dtype_name, "\""));

  SafetensorsEntry entry{.name = name, .dtype = *dtype, .shape = {}};
  uint64_t bytes = byte_size(*dtype);
  bool overflow = false;
  std::vector<uint64_t> shape = extents(tensor, "shape", name, path);
  for (uint64_t extent : shape) {
    overflow = overflow || __builtin_mul_overflow(bytes, extent, &bytes) || bytes > INT64_MAX;
    entry.shape.push_back(static_cast<int64_t>(extent));
  }
  std::vector<uint64_t> offsets = extents(tensor, "data_offsets", name, path);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > file_size - data_begin) {
    fail(path, concat("data_offsets of ", name, " do not lie in the file (", file_size, " bytes)"));
  }
  if (overflow || offsets[1] - offsets[0] != bytes) {
    fail(path, concat("data_offsets of ", name, " span ", offsets[1] - offsets[0], " bytes, but ",
                      dtype_name, " ", to_string(entry.shape), " takes another number"));
  }
  entry.begin = data_begin + offsets[0];
  entry.end = data_begin + offsets[1];
  return entry;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           const std::filesystem::path& path) {
  uint64_t size = json_size(start, file_size, path);
  if (start.size() < 8 + size) fail(path, "the header is cut off");
  std::string_view text(reinterpret_cast<const char*>(start.data()) + 8, size);
  if (!text.starts_with('{')) fail(path, "the header does not start with {");

  SafetensorsHeader header;
  uint64_t data_begin = 8 + size;
  Header json = parse_unique(text, path);
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(parse_entry(name, value, data_begin, file_size, path));
      continue;
    }
    if (!value.is_object()) fail(path, "__metadata__ is not an object");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) fail(path, concat("__metadata__ \"", key, "\" is not a string"));
      header.metadata.emplace(key, text_value.get<std::string>());
    }
  }

  std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& entry) {
    return std::pair(entry.begin, entry.end);
  });
  uint64_t position = data_begin;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != position) {
      fail(path, concat("the data of ", entry.name,
                        entry.begin < position ? " overlaps" : " leaves a hole after",
                        " what comes before it"));
    }
    position = entry.end;
  }
  if (position != file_size) {
    fail(path, concat(file_size - position, " bytes at the end belong to no tensor"));
  }
  return header;
}

SafetensorsReader::SafetensorsReader(std::filesystem::path path)
    : path_(std::move(path)), file_(open_for_reading(path_)) {
  struct stat status;
  if (::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    throw InputError(concat(path_.string(), " is not a regular file"));
  }
  auto file_size = static_cast<uint64_t>(status.st_size);
  std::vector<std::byte> start(std::min<uint64_t>(8, file_size));
  read(0, start);
  start.resize(8 + json_size(start, file_size, path_));
  read(0, start);
  header_hash_ = hash_bytes(start);
  header_ = parse_safetensors_header(start, file_size, path_);
  for (size_t i = 0; i < header_.entries.size(); ++i) index_.emplace(header_.entries[i].name, i);
}

const SafetensorsEntry* SafetensorsReader::find(const std::string& name) const {
  auto found = index_.find(name);
  return found == index_.end() ? nullptr : &header_.entries[found->second];
}

void SafetensorsReader::read(uint64_t position, std::span<std::byte> out) const {
  while (!out.empty()) {
    ssize_t count = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw InputError(concat("cannot read ", path_.string(), ": ", std::strerror(errno)));
    if (count == 0)
      throw InputError(concat(path_.string(), " ends at byte ", position, ": it was truncated"));
    position += static_cast<uint64_t>(count);
    out = out.subspan(static_cast<size_t>(count));
  }
}

}  // namespace titan
