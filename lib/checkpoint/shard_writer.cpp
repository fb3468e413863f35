#include "lib/checkpoint/shard_writer.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"

namespace titan {
namespace {

std::string shard_name(int rank) {
  char name[64];
  std::snprintf(name, sizeof name, "shard-%05d-model-00001-of-00001.safetensors", rank + 1);
  return name;
}

std::vector<SafetensorsEntry> to_entries(const std::vector<ChunkDescription>& chunks) {
  std::vector<SafetensorsEntry> entries;
  for (const ChunkDescription& chunk : chunks) {
    entries.push_back({.name = chunk.name, .dtype = chunk.dtype, .shape = chunk.box.shape});
  }
  return entries;
}

// What torch's reader needs to know: every key of the file with the offset of its chunk.
std::map<std::string, std::string> sharding_metadata(const std::vector<ChunkDescription>& chunks) {
  std::map<std::string, nlohmann::json> offsets;
  for (const ChunkDescription& chunk : chunks) {
    offsets[chunk.name] = {{"saved_offsets", chunk.box.offset}};
  }
  return {{"format", "pt"},
          {"DCP_VERSION", "1.0"},
          {"DCP_SHARDING_INFO", nlohmann::json(offsets).dump()}};
}

}  // namespace

ShardWriter::ShardWriter(FileSystem& files, const std::filesystem::path& directory, Part part,
                         int rank, const std::vector<ChunkDescription>& chunks)
    : files_(files),
      part_directory_(directory / directory_name(part)),
      record_{.part = part, .name = shard_name(rank), .size = 0, .header_hash = 0, .chunks = {}},
      writer_(files, part_directory_ / record_.name, to_entries(chunks),
              sharding_metadata(chunks)) {
  std::map<std::string, Box> boxes;
  for (const ChunkDescription& chunk : chunks) boxes.emplace(chunk.name, chunk.box);
  for (const SafetensorsEntry& entry : entries()) {
    record_.chunks.push_back({.name = entry.name, .box = boxes.at(entry.name), .hashes = {}});
  }
  if (!entries().empty()) position_ = entries().front().begin;
}

void ShardWriter::append(std::span<const std::byte> bytes) {
  // Hashed and written in blocks: the second use of a block finds it in the processor's cache.
  while (!bytes.empty()) {
    TITAN_CHECK(chunk_ < entries().size(), "more data than announced for ", record_.name);
    const SafetensorsEntry& entry = entries()[chunk_];
    std::span<const std::byte> block =
        bytes.first(std::min<uint64_t>({bytes.size(), kHashBlockBytes, entry.end - position_}));
    hasher_.append(block);
    writer_.append(block);
    position_ += block.size();
    bytes = bytes.subspan(block.size());
    if (position_ == entry.end) record_.chunks[chunk_++].hashes = hasher_.finish();
  }
}

FileRecord ShardWriter::finish() {
  record_.header_hash = writer_.header_hash();
  record_.size = writer_.finish();
  files_.sync_directory(part_directory_);
  return std::move(record_);
}

std::optional<FileRecord> write_shard(FileSystem& files, const std::filesystem::path& directory,
                                      Part part, int rank, std::span<const TensorSlice> slices,
                                      Dtype float32_as) {
  std::vector<ChunkDescription> chunks;
  std::map<std::string, const TensorSlice*> by_name;
  for (const TensorSlice& slice : slices) {
    if (slice.bytes.empty()) continue;
    Dtype stored = slice.dtype == Dtype::kFloat32 ? float32_as : slice.dtype;
    chunks.push_back({slice.name, stored, slice.box()});
    by_name.emplace(slice.name, &slice);
  }
  if (chunks.empty()) return std::nullopt;

  ShardWriter writer(files, directory, part, rank, chunks);
  std::vector<std::byte> converted;
  for (const SafetensorsEntry& entry : writer.entries()) {
    const TensorSlice& slice = *by_name.at(entry.name);
    for (std::span rest = slice.bytes; !rest.empty();) {
      std::span<const std::byte> block = rest.first(std::min<size_t>(rest.size(), kHashBlockBytes));
      rest = rest.subspan(block.size());
      if (slice.dtype != entry.dtype) {
        converted.resize(block.size() / byte_size(slice.dtype) * byte_size(entry.dtype));
        convert(slice.dtype, block, entry.dtype, converted);
        block = converted;
      }
      writer.append(block);
    }
  }
  return writer.finish();
}

}  // namespace titan
