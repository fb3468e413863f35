// Rows of the op table for the copies of bare matrices.
#include <limits>

#include "lib/float8/op_table.hpp"
#include "lib/float8/table_rows.hpp"

namespace titan::float8 {
namespace {

// One group of 16; parts of tiles and of warps; more rows than groups stay, and than stages; one
// row's limit of a block in fp32 and past it, and past it in bf16; then work A's activations,
// gradients and weights.
const Size kSizes[] = {{16, 16},
                       {48, 272},
                       {208, 1040},
                       {2320, 96},
                       {20480, 48},
                       {1200, 2048},
                       {32, 16400},
                       {16, 32784},
                       {16384, 4096, true},
                       {16384, 6144, true},
                       {16384, 14336, true},
                       {16384, 28672, true},
                       {28672, 4096, true}};

// Every kind of value that a cast can meet, in rows and columns of their own and mixed.
at::Tensor special_values(at::Device device, at::ScalarType dtype) {
  constexpr int64_t kRows = 64, kCols = 192;
  at::Tensor x = at::randn({kRows, kCols});
  x *= at::exp2(at::randint(-30, 30, {kRows, 1}));
  const auto limits = std::numeric_limits<float>{};
  x[0].fill_(0);
  x[1].fill_(-0.0);
  x[2] *= 1e-41 / x[2].abs().amax();  // subnormal in bf16 and fp32
  x[3].fill_(3.3e38);
  x[4] = at::linspace(-448, 448, kCols);
  x[5][0] = NAN;
  x[6][1] = INFINITY;
  x[7][2] = -INFINITY;
  x[8][3] = -NAN;
  x[8][4] = INFINITY;
  x[9].fill_(1.75);  // amax where the scale's exponent changes, and its neighbours
  x[10].fill_(1.75 * (1 + limits.epsilon()));
  x[11].fill_(1.7578125);
  x[12].fill_(1e-12);
  x.select(1, 16).fill_(0);
  x.select(1, 17).fill_(1e-42);
  x.select(1, 18).fill_(-7);
  return x.to(dtype).to(device);
}

// bytes: for each bf16 value of x.
std::vector<OpCase> matrix_cases(double bytes) {
  std::vector<OpCase> result =
      cases(kSizes, 'M', 'K', bytes, [](const Size& size, at::Device device, at::ScalarType dtype) {
        return Tensors{at::randn({size.rows, size.cols}, device).to(dtype)};
      });
  result.push_back(
      {.shape = "special values", .inputs = [](at::Device device, at::ScalarType dtype) {
         return Tensors{special_values(device, dtype)};
       }});
  // A column slice of a wider matrix.
  result.push_back(
      {.shape = "slice", .inputs = [](at::Device device, at::ScalarType dtype) {
         return Tensors{at::randn({160, 512}, device).to(dtype).slice(1, 128, 128 + 304)};
       }});
  return result;
}

// x and its column amax.
std::vector<OpCase> with_column_amax(std::vector<OpCase> cases) {
  for (OpCase& op_case : cases) {
    op_case.inputs = [inputs = op_case.inputs](at::Device device, at::ScalarType dtype) {
      const at::Tensor x = inputs(device, dtype)[0];
      return Tensors{x, reference::column_amax(x)};
    };
  }
  return cases;
}

at::Tensor tensor_amax(const at::Tensor& x) {
  return x.abs().amax().to(at::kFloat).expand({x.size(1)});
}

template <class Copy>
std::function<Tensors(const Tensors&)> of_matrix(const Copy& copy) {
  return [copy](const Tensors& in) { return tensors(copy(in[0])); };
}

}  // namespace

void quantize_rows_of_table(std::vector<ops::Op>& table) {
  table.push_back(
      {.name = "quantize_rows",
       .fused = of_matrix([](const at::Tensor& x) { return quantize_rows(x); }),
       .reference = of_matrix([](const at::Tensor& x) { return reference::quantize_rows(x); }),
       .cases = matrix_cases(3)});
  table.push_back(
      {.name = "quantize_rows_with_column_amax",
       .fused = of_matrix([](const at::Tensor& x) { return quantize_rows_with_column_amax(x); }),
       .reference = of_matrix([](const at::Tensor& x) {
         return RowCopy{reference::quantize_rows(x), reference::column_amax(x)};
       }),
       .cases = matrix_cases(3)});
  table.push_back({.name = "quantize_columns",
                   .fused = of_matrix([](const at::Tensor& x) { return quantize_columns(x); }),
                   .reference = of_matrix([](const at::Tensor& x) {
                     return reference::quantize_columns(x, reference::column_amax(x));
                   }),
                   .cases = matrix_cases(5)});
  table.push_back(
      {.name = "quantize_columns_known_amax",
       .fused = [](const Tensors& in) { return tensors(quantize_columns(in[0], in[1])); },
       .reference =
           [](const Tensors& in) { return tensors(reference::quantize_columns(in[0], in[1])); },
       .cases = with_column_amax(matrix_cases(3))});
  table.push_back(
      {.name = "quantize_columns_by_tensor",
       .fused = of_matrix([](const at::Tensor& x) { return quantize_columns_by_tensor(x); }),
       .reference = of_matrix(
           [](const at::Tensor& x) { return reference::quantize_columns(x, tensor_amax(x)); }),
       .cases = matrix_cases(5)});
  table.push_back(
      {.name = "quantize_rows_and_columns",
       .fused = of_matrix([](const at::Tensor& x) { return quantize_rows_and_columns(x); }),
       .reference = of_matrix([](const at::Tensor& x) {
         return Float8Copies{reference::quantize_rows(x),
                             reference::quantize_columns(x, reference::column_amax(x))};
       }),
       .cases = matrix_cases(6)});
  table.push_back({.name = "quantize_rows_and_columns_by_tensor",
                   .fused = of_matrix([](const at::Tensor& x) {
                     return quantize_rows_and_columns(x, ColumnScales::kPerTensor);
                   }),
                   .reference = of_matrix([](const at::Tensor& x) {
                     return Float8Copies{reference::quantize_rows(x),
                                         reference::quantize_columns(x, tensor_amax(x))};
                   }),
                   .cases = matrix_cases(6)});
}

}  // namespace titan::float8
