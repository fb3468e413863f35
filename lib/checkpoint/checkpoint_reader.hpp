// Reads one checkpoint directory, whatever mesh wrote it. Opening checks the manifest, that every
// file is there with its size, and that the chunks fill each tensor exactly; reading verifies the
// hash of every block of bytes that it touches. Both throw CorruptCheckpoint.
#pragma once

#include <filesystem>
#include <memory>

#include "lib/checkpoint/manifest.hpp"
#include "lib/checkpoint/tensor_source.hpp"

namespace titan {

class CheckpointReader {
 public:
  explicit CheckpointReader(std::filesystem::path directory);
  ~CheckpointReader();

  const std::filesystem::path& directory() const { return directory_; }
  const Manifest& manifest() const { return manifest_; }

  // Names as saved; the optimizer's are "<parameter>.exp_avg" and "<parameter>.exp_avg_sq", and
  // there are none when manifest().model_only.
  const TensorSource& model() const { return *model_; }
  const TensorSource& optimizer() const { return *optimizer_; }

 private:
  std::filesystem::path directory_;
  Manifest manifest_;
  std::unique_ptr<TensorSource> model_;
  std::unique_ptr<TensorSource> optimizer_;
};

}  // namespace titan
