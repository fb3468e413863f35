// The models of test_tensors.hpp, cut among ranks.
#pragma once

#include <functional>
#include <vector>

#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan::test {

// The block of each rank in every tensor; one without elements: the rank has nothing of it.
struct Layout {
  std::string name;
  int64_t ranks;
  std::function<Box(const TensorTable& tensors, const std::string& tensor, int64_t rank)> block;
};

// rows x columns ranks: rows cut by torch.chunk's rule (as FSDP does), then columns likewise
// (tensor parallel). What has no columns lies on the ranks of column 0.
Layout grid(int64_t rows, int64_t columns);
// All tensors one below another, cut into blocks of equally many rows: as the members of fused
// parameters come to lie, on one rank, on some or on all.
Layout stacked(int64_t ranks);

// What `rank` gives to a save of make_model(seed) and make_optimizer(seed).
Snapshot sharded_snapshot(int64_t step, uint64_t seed, const Layout& layout, int64_t rank);
// A model's slices on a rank; `owner` keeps their bytes.
std::vector<TensorSlice> slices_of(const TestModel& model, const Layout& layout, int64_t rank,
                                   std::vector<Bytes>& owner);

// Reads the rank's blocks and expects them to be those of the model.
void expect_equal_blocks(const TensorSource& source, const TestModel& model, const Layout& layout,
                         int64_t rank);

}  // namespace titan::test
