// For test_float8.py: float8 copies of matrices from stdin.
//   quantize_probe bfloat16|float32 [row|column|column_by_tensor M K] ...
//     stdin: M * K values for each copy; stdout: for each its values, a byte each, as they are
//     stored, then its inverse scales in fp32
// On the CUDA device when there is one.
#include <ATen/ATen.h>

#include <cstdio>
#include <string>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/device.hpp"

namespace titan {
namespace {

at::Tensor read_matrix(at::ScalarType type, int64_t rows, int64_t cols) {
  at::Tensor matrix = at::empty({rows, cols}, type);
  TITAN_CHECK(std::fread(matrix.data_ptr(), 1, matrix.nbytes(), stdin) == matrix.nbytes(),
              "stdin ended early");
  return matrix;
}

void write_bytes(const at::Tensor& tensor) {
  const at::Tensor host = tensor.cpu();
  std::fwrite(host.const_data_ptr(), 1, host.nbytes(), stdout);
}

void write_copy(const std::string& kind, const at::Tensor& x) {
  const Float8Tensor copy = kind == "row"      ? float8::quantize_rows(x)
                            : kind == "column" ? float8::quantize_columns(x)
                                               : float8::quantize_columns_by_tensor(x);
  write_bytes(copy.values);
  write_bytes(copy.inverse_scales);
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  try {
    TITAN_CHECK(argc > 1 && argc % 3 == 2, "expected a type, then a copy, M and K, repeated");
    const titan::ops::Device device = titan::ops::Device::preferred();
    const bool wide = std::string(argv[1]) == "float32";
    for (int i = 2; i < argc; i += 3) {
      const at::Tensor matrix = titan::read_matrix(
          wide ? at::kFloat : at::kBFloat16, std::stoll(argv[i + 1]), std::stoll(argv[i + 2]));
      titan::write_copy(argv[i], matrix.to(device.torch()));
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quantize_probe: %s\n", error.what());
    return 1;
  }
}
