#include "lib/float8/op_table.hpp"

namespace titan::float8 {

// One function for each file of rows beside this one.
void quantize_rows_of_table(std::vector<ops::Op>& table);
void fused_rows_of_table(std::vector<ops::Op>& table);
void norm_sigmoid_rows_of_table(std::vector<ops::Op>& table);

const std::vector<ops::Op>& float8_op_table() {
  static const std::vector<ops::Op> table = [] {
    std::vector<ops::Op> rows;
    quantize_rows_of_table(rows);
    fused_rows_of_table(rows);
    norm_sigmoid_rows_of_table(rows);
    return rows;
  }();
  return table;
}

}  // namespace titan::float8
