// The loss on held-out data: the same batches every time, from the start of the validation set.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "lib/train/batch_feed.hpp"

namespace titan {

struct ValidationResult {
  double loss = 0;  // mean over batches of each batch's loss per valid token
  int64_t tokens = 0;
  double seconds = 0;
};

class Validator {
 public:
  // steps: batches per run, -1 for the whole set. References outlive the validator.
  Validator(std::unique_ptr<DataLoader> loader, const DataConfig& data, int64_t steps, Step& step,
            const ops::Device& device, const Mesh& mesh);

  // Over all ranks. Waits for the device. Throws InputError when the set holds not a single batch.
  ValidationResult run_sync();

 private:
  std::unique_ptr<DataLoader> loader_;
  nlohmann::json start_;
  BatchFeed feed_;
  int64_t steps_;
  Step& step_;
  const ops::Device& device_;
  const Mesh& mesh_;
};

}  // namespace titan
