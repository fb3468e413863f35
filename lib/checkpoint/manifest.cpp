#include "lib/checkpoint/manifest.hpp"

#include <algorithm>

#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/json_fields.hpp"

namespace titan {
namespace {

// The text starts with these lines, so that the checksum can cover every byte that follows it:
//   {
//   "format_version": 1,
//   "checksum": "0123456789abcdef",
std::string preamble(uint64_t checksum) {
  return concat("{\n\"format_version\": ", kFormatVersion, ",\n\"checksum\": \"", to_hex(checksum),
                "\",\n");
}

Part part_from_name(const std::string& name, std::string_view where) {
  for (Part part : {Part::kModel, Part::kOptimizer}) {
    if (directory_name(part) == name) return part;
  }
  throw InputError(concat(where, ": unknown part \"", name, "\""));
}

Json to_json(const std::string& name, Part part, const TensorInfo& info) {
  return {{"name", name},
          {"part", directory_name(part)},
          {"dtype", safetensors_name(info.dtype)},
          {"shape", info.shape}};
}

Json to_json(const ChunkRecord& chunk) {
  std::string hashes;
  for (uint64_t hash : chunk.hashes) hashes += to_hex(hash);
  return {{"name", chunk.name},
          {"offset", chunk.box.offset},
          {"shape", chunk.box.shape},
          {"hashes", hashes}};
}

template <class Items, class ToText>
std::string lines(const Items& items, ToText to_text) {
  std::string text;
  for (const auto& item : items) text += concat(text.empty() ? "\n" : ",\n", to_text(item));
  return text;
}

std::string tensor_lines(const Manifest& manifest) {
  std::string text;
  for (Part part : {Part::kModel, Part::kOptimizer}) {
    for (const auto& [name, info] : manifest.tensors(part)) {
      text += concat(text.empty() ? "\n" : ",\n", to_json(name, part, info).dump());
    }
  }
  return text;
}

std::string file_text(const FileRecord& file) {
  Json json = {{"part", directory_name(file.part)},
               {"name", file.name},
               {"size", file.size},
               {"header_hash", to_hex(file.header_hash)}};
  std::string text = json.dump();
  text.pop_back();
  return concat(
      text, ",\"chunks\":[",
      lines(file.chunks, [](const ChunkRecord& chunk) { return " " + to_json(chunk).dump(); }),
      "]}");
}

void read_tensor(const Json& json, std::string_view where, Manifest& manifest) {
  std::string name = json_string(json, "name", where);
  std::string dtype_name = json_string(json, "dtype", where);
  std::optional<Dtype> dtype = dtype_from_safetensors(dtype_name);
  if (!dtype) throw InputError(concat(where, ": unknown dtype ", dtype_name, " of ", name));
  Part part = part_from_name(json_string(json, "part", where), where);
  auto& table = part == Part::kModel ? manifest.model_tensors : manifest.optimizer_tensors;
  if (!table.emplace(name, TensorInfo{*dtype, json_extents(json, "shape", where)}).second) {
    throw InputError(concat(where, ": tensor ", name, " is listed twice"));
  }
}

uint64_t read_hash(std::string_view digits, std::string_view where) {
  std::optional<uint64_t> hash = from_hex(digits);
  if (!hash) throw InputError(concat(where, ": \"", digits, "\" is no hash"));
  return *hash;
}

ChunkRecord read_chunk(const Json& json, std::string_view where) {
  ChunkRecord chunk{
      .name = json_string(json, "name", where),
      .box = {json_extents(json, "offset", where), json_extents(json, "shape", where)},
      .hashes = {}};
  std::string digits = json_string(json, "hashes", where);
  for (size_t i = 0; i < digits.size(); i += 16) {
    chunk.hashes.push_back(read_hash(std::string_view(digits).substr(i, 16), where));
  }
  return chunk;
}

FileRecord read_file_record(const Json& json, std::string_view where) {
  FileRecord file{.part = part_from_name(json_string(json, "part", where), where),
                  .name = json_string(json, "name", where),
                  .size = static_cast<uint64_t>(json_int(json, "size", where)),
                  .header_hash = read_hash(json_string(json, "header_hash", where), where),
                  .chunks = {}};
  if (file.name.empty() || file.name.find('/') != std::string::npos) {
    throw InputError(concat(where, ": \"", file.name, "\" is no file name"));
  }
  for (const Json& chunk : json_field(json, "chunks", where)) {
    file.chunks.push_back(read_chunk(chunk, where));
  }
  return file;
}

Manifest read_fields(const Json& json, std::string_view where) {
  Manifest manifest;
  manifest.step = json_int(json, "step", where);
  manifest.model_only = json_bool(json, "model_only", where);
  manifest.model = json_field(json, "model", where);
  manifest.state = json_field(json, "state", where);
  if (static_cast<uint64_t>(json_int(json, "hash_block_bytes", where)) != kHashBlockBytes) {
    throw InputError(concat(where, ": hash_block_bytes must be ", kHashBlockBytes));
  }
  for (const Json& tensor : json_field(json, "tensors", where))
    read_tensor(tensor, where, manifest);
  for (const Json& file : json_field(json, "files", where)) {
    manifest.files.push_back(read_file_record(file, where));
  }
  return manifest;
}

}  // namespace

std::string_view directory_name(Part part) { return part == Part::kModel ? "model" : "optim"; }

std::string to_text(const Manifest& manifest) {
  std::string body = concat(
      "\"step\": ", manifest.step, ",\n\"model_only\": ", manifest.model_only ? "true" : "false",
      ",\n\"model\": ", manifest.model.dump(), ",\n\"state\": ", manifest.state.dump(),
      ",\n\"hash_block_bytes\": ", kHashBlockBytes, ",\n\"tensors\": [", tensor_lines(manifest),
      "],\n\"files\": [", lines(manifest.files, file_text), "]\n}\n");
  return preamble(hash_bytes(body)) + body;
}

Manifest parse_manifest(std::string_view text, const std::filesystem::path& path) {
  std::string where = path.string();
  int64_t version;
  Json json;
  try {
    json = parse_json(text, where);
    version = json_int(json, "format_version", where);
  } catch (const InputError& error) {
    throw CorruptCheckpoint(error.what());
  }
  if (version != kFormatVersion) {
    throw InputError(concat(where, " has format version ", version, "; this program reads version ",
                            kFormatVersion, ": use the program that wrote it, or a newer one"));
  }
  size_t preamble_size = preamble(0).size();
  std::string_view body = text.substr(std::min(text.size(), preamble_size));
  if (text.substr(0, preamble_size) != preamble(hash_bytes(body))) {
    throw CorruptCheckpoint(concat(where, " was altered: its checksum does not match its content"));
  }
  try {
    return read_fields(json, where);
  } catch (const InputError& error) {
    throw CorruptCheckpoint(error.what());
  }
}

}  // namespace titan
