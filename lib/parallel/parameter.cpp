#include "lib/parallel/parameter.hpp"

#include <functional>
#include <numeric>

namespace titan {

int64_t Parameter::size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

at::Tensor Parameter::member_rows(const at::Tensor& tensor, size_t index) const {
  int64_t first = 0;
  for (size_t earlier = 0; earlier < index; ++earlier) first += members[earlier].rows;
  return tensor.narrow(0, first, members[index].rows);
}

}  // namespace titan
