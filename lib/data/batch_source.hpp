// What a DataLoader draws its batches from: one implementation per data order.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "lib/data/data_loader.hpp"

namespace titan {

// A place in the data, between two sequences. Global order uses epoch and token only.
struct DataPosition {
  int64_t epoch = 0;
  int64_t file = 0;      // of those that this rank reads
  int64_t line = 0;      // in the file, of the document that the next token belongs to
  int64_t document = 0;  // lines of this epoch before that one, in all files
  int64_t token = 0;     // of the epoch (global) or of the document (per_rank)

  bool operator==(const DataPosition&) const = default;
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // The next micro-batch; false at the end of finite data.
  virtual bool next(Batch& batch) = 0;

  // After the last batch, which must have been the last one of its step.
  virtual DataPosition position() const = 0;
  virtual void seek(const DataPosition& position) = 0;

  // The loader state of checkpoints, and back. Throws InputError when the state does not fit.
  virtual nlohmann::json state_at(const DataPosition& position) const = 0;
  virtual DataPosition position_of(const nlohmann::json& state) const = 0;

  virtual std::string describe() const = 0;
};

}  // namespace titan
