// One order of packed sequences for all ranks, over a source with random access.
//
// The ids of the source repeat for ever; sequence k of them is [k (S + 1), (k + 1) (S + 1)), so a
// sequence may run over the end of an epoch, as upstream's packing has it. Step s takes the
// sequences [s G, (s + 1) G), rank r of R the rows [r G / R, (r + 1) G / R) of those,
// local_batch_size at a time.
#pragma once

#include <nlohmann/json.hpp>

#include "lib/data/batch_source.hpp"
#include "lib/data/token_files.hpp"

namespace titan::data {

class GlobalOrder : public BatchSource {
 public:
  // Throws InputError when the stream does not hold one sequence, or its first ids do not fit the
  // vocabulary. `origin`: for describe().
  GlobalOrder(TokenStream stream, const DataConfig& config, int64_t global_batch,
              std::string origin);

  bool next(Batch& batch) override;
  DataPosition position() const override;
  void seek(const DataPosition& position) override;
  nlohmann::json state_at(const DataPosition& position) const override;
  DataPosition position_of(const nlohmann::json& state) const override;
  std::string describe() const override;

 private:
  bool exists(int64_t sequence) const;
  void read_sequence(int64_t sequence, std::span<int32_t> out);

  TokenStream stream_;
  std::string origin_;
  int64_t seq_len_, local_batch_, global_batch_, rank_, world_size_;
  bool endless_;
  int64_t base_ = 0;  // token at which sequence 0 starts, over all epochs
  int64_t step_ = 0, micro_batch_ = 0;
  std::vector<int32_t> tokens_;  // of one sequence
};

// Writes a sequence of seq_len + 1 tokens into a row of the batch.
void set_row(Batch& batch, int64_t row, std::span<const int32_t> sequence);

// [rows, seq_len] of inputs 0 and labels -100: rows that are not set stay ignored.
void clear(Batch& batch, int64_t rows, int64_t seq_len);

}  // namespace titan::data
