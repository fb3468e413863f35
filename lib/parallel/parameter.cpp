#include "lib/parallel/parameter.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace titan {

int64_t Parameter::size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

bool Parameter::only_float8() const {
  return !runs.empty() && std::all_of(runs.begin(), runs.end(), [](const ParameterRun& run) {
    return run.recipe.has_value();
  });
}

at::Tensor Parameter::member_rows(const at::Tensor& tensor, size_t index) const {
  int64_t first = 0;
  for (size_t earlier = 0; earlier < index; ++earlier) first += members[earlier].rows;
  return tensor.narrow(0, first, members[index].rows);
}

}  // namespace titan
