#include "lib/ops/op_table.hpp"

namespace titan::ops {

// One function for each op, in <op>_rows.cpp beside it.
void rms_norm_rows(std::vector<Op>& table);
void swiglu_rows(std::vector<Op>& table);
void rope_rows(std::vector<Op>& table);
void cross_entropy_rows(std::vector<Op>& table);
void cross_entropy_shard_rows(std::vector<Op>& table);
void embedding_rows(std::vector<Op>& table);
void optimizer_rows(std::vector<Op>& table);
void sum_of_ranks_rows(std::vector<Op>& table);

const std::vector<Op>& op_table() {
  static const std::vector<Op> table = [] {
    std::vector<Op> rows;
    rms_norm_rows(rows);
    swiglu_rows(rows);
    rope_rows(rows);
    cross_entropy_rows(rows);
    cross_entropy_shard_rows(rows);
    embedding_rows(rows);
    optimizer_rows(rows);
    sum_of_ranks_rows(rows);
    return rows;
  }();
  return table;
}

}  // namespace titan::ops
