// Writes one file of a checkpoint: safetensors that torch.distributed.checkpoint's
// HuggingFaceStorageReader understands (the place of every chunk in its tensor stands in the
// metadata), hashing the bytes as they pass.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/manifest.hpp"
#include "lib/checkpoint/safetensors.hpp"
#include "lib/checkpoint/tensor_slice.hpp"

namespace titan {

struct ChunkDescription {
  std::string name;
  Dtype dtype;  // as stored
  Box box;
};

class ShardWriter {
 public:
  // Creates {directory}/{part}/shard-<rank + 1>-model-00001-of-00001.safetensors. Names are unique.
  ShardWriter(FileSystem& files, const std::filesystem::path& directory, Part part, int rank,
              const std::vector<ChunkDescription>& chunks);

  // In the order in which the data is to be appended, in pieces of any size.
  const std::vector<SafetensorsEntry>& entries() const { return writer_.entries(); }
  void append(std::span<const std::byte> bytes);

  // Fsyncs the file and its directory.
  FileRecord finish();

 private:
  FileSystem& files_;
  std::filesystem::path part_directory_;
  FileRecord record_;  // its chunks in the order of entries()
  SafetensorsWriter writer_;
  BlockHasher hasher_{kHashBlockBytes};
  size_t chunk_ = 0;       // the one that is being appended
  uint64_t position_ = 0;  // in the file
};

// One rank's share of a part, from memory; empty slices are left out. float32 slices are stored as
// `float32_as`. Nothing when there is no data to write.
std::optional<FileRecord> write_shard(FileSystem& files, const std::filesystem::path& directory,
                                      Part part, int rank, std::span<const TensorSlice> slices,
                                      Dtype float32_as = Dtype::kFloat32);

}  // namespace titan
