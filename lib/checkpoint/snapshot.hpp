// What is to be saved, as one rank holds it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/checkpoint/tensor_slice.hpp"

namespace titan {

// The bytes must not change until the save has ended. The slices of all ranks together fill every
// tensor exactly: what several ranks hold alike one of them gives, and the others leave out.
// Everything but the slices is equal on all ranks.
struct Snapshot {
  int64_t step = 0;
  std::vector<TensorSlice> model;
  std::vector<TensorSlice> optimizer;        // "<parameter>.exp_avg", "<parameter>.exp_avg_sq"
  bool model_only = false;                   // no optimizer: weights to use, not to resume from
  nlohmann::ordered_json model_description;  // ModelDescription::to_json()
  nlohmann::ordered_json state;              // the trainer's, given back by manifest().state

  // Model tensors in float32 are stored as this dtype; only in model-only saves.
  Dtype export_dtype = Dtype::kFloat32;
  // Writes Hugging Face's layout in place of ours (model only); tokenizer files come from this
  // folder.
  bool in_hugging_face = false;
  std::filesystem::path tokenizer_folder;

  // Called on the saving thread before the bytes are read: waits for the copies from the device.
  std::function<void()> wait_until_ready;
  // Whatever owns the bytes; let go of when the save has ended.
  std::shared_ptr<void> keep_alive;
};

// Throws Error when the snapshot is wrong in itself: a caller's mistake.
void check(const Snapshot& snapshot);

}  // namespace titan
