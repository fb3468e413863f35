#include "lib/checkpoint/snapshot.hpp"

#include <set>
#include <span>
#include <string>

#include "lib/base/error.hpp"

namespace titan {
namespace {

void check_slices(std::span<const TensorSlice> slices) {
  std::set<std::string> names;
  for (const TensorSlice& slice : slices) {
    TITAN_CHECK(names.insert(slice.name).second, "snapshot: two slices of ", slice.name);
    TITAN_CHECK(inside(slice.box(), slice.global_shape), "snapshot: the slice of ", slice.name,
                " does not lie in ", to_string(slice.global_shape));
    TITAN_CHECK(
        slice.bytes.size() == static_cast<size_t>(volume(slice.shape)) * byte_size(slice.dtype),
        "snapshot: ", slice.bytes.size(), " bytes for ", slice.name, " ", to_string(slice.shape));
  }
}

}  // namespace

void check(const Snapshot& snapshot) {
  TITAN_CHECK(snapshot.step >= 0, "snapshot: step ", snapshot.step);
  check_slices(snapshot.model);
  check_slices(snapshot.optimizer);
  bool plain = snapshot.export_dtype == Dtype::kFloat32 && !snapshot.in_hugging_face;
  TITAN_CHECK(snapshot.model_only ? snapshot.optimizer.empty() : plain,
              "snapshot: optimizer state with a model-only form");
}

}  // namespace titan
