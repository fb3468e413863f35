#include "lib/ops/op_table.hpp"

namespace titan::ops {

// One function for each op, in <op>_rows.cpp beside it.
void rms_norm_rows(std::vector<Op>& table);
void swiglu_rows(std::vector<Op>& table);
void rope_rows(std::vector<Op>& table);

const std::vector<Op>& op_table() {
  static const std::vector<Op> table = [] {
    std::vector<Op> rows;
    rms_norm_rows(rows);
    swiglu_rows(rows);
    rope_rows(rows);
    return rows;
  }();
  return table;
}

}  // namespace titan::ops
