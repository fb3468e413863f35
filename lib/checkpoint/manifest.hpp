// titan.json, the manifest of a checkpoint: written last, so that a directory with a valid one is
// complete. It names every tensor, every file with its size, and every chunk with the XXH3-64
// hashes of its bytes. docs/checkpoint_format.md shows one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/checkpoint/tensor_source.hpp"

namespace titan {

inline constexpr int kFormatVersion = 1;
inline constexpr std::string_view kManifestName = "titan.json";

// A chunk is hashed in blocks of this size, so that a part of it can be read and still be verified.
inline constexpr uint64_t kHashBlockBytes = 16u << 20;

// A checkpoint that is incomplete or altered. The caller may fall back to an earlier one.
class CorruptCheckpoint : public InputError {
 public:
  using InputError::InputError;
};

// Sub-directories of a checkpoint. Apart, because torch's reader takes all files of one directory.
enum class Part { kModel, kOptimizer };
std::string_view directory_name(Part part);  // "model", "optim"

struct ChunkRecord {
  std::string name;
  Box box;
  std::vector<uint64_t> hashes;  // one for each kHashBlockBytes, the last block is shorter
};

struct FileRecord {
  Part part;
  std::string name;  // inside the part's directory
  uint64_t size;
  uint64_t header_hash;  // of what lies before the data
  std::vector<ChunkRecord> chunks;
};

struct Manifest {
  int64_t step = 0;
  bool model_only = false;
  // What titan-convert needs to know of the model: ModelDescription::to_json()
  // (model_description.hpp).
  nlohmann::ordered_json model = nlohmann::ordered_json::object();
  // The trainer's: tokens, loader, learning rate, config, seed, mesh, versions. Opaque here.
  nlohmann::ordered_json state = nlohmann::ordered_json::object();
  TensorTable model_tensors;
  TensorTable optimizer_tensors;
  std::vector<FileRecord> files;

  const TensorTable& tensors(Part part) const {
    return part == Part::kModel ? model_tensors : optimizer_tensors;
  }
};

std::string to_text(const Manifest& manifest);

// Throws CorruptCheckpoint on anything but an unaltered manifest, InputError on a newer format
// version.
Manifest parse_manifest(std::string_view text, const std::filesystem::path& path_for_message);

}  // namespace titan
