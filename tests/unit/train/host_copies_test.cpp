// Memory that is kept from one save to the next.
#include "lib/train/host_copies.hpp"

#include <cstring>

#include "tests/unit/train/mesh_run.hpp"

namespace titan {
namespace {

using testing::MeshModel;

std::vector<TensorSlice> all_slices(const HostCopies& copies) {
  std::vector<TensorSlice> all = copies.model();
  all.insert(all.end(), copies.moments().begin(), copies.moments().end());
  return all;
}

void expect_same_bytes(const std::vector<TensorSlice>& found,
                       const std::vector<TensorSlice>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].name, expected[i].name);
    ASSERT_EQ(found[i].bytes.size(), expected[i].bytes.size());
    EXPECT_EQ(std::memcmp(found[i].bytes.data(), expected[i].bytes.data(), found[i].bytes.size()),
              0)
        << found[i].name;
  }
}

TEST(HostCopies, PinnedOnesAreTheTensorsAtEveryTake) {
  World world;
  MeshModel model(
      registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = kVocab + 3, .seq_len = 64}),
      in_fp32(), {1, 1, 1}, world);
  HostCopies pinned(model.device), plain(model.device);
  pinned.reserve_pinned(model.sharder, /*threads=*/2);
  const std::byte* memory = nullptr;
  for (const bool with_moments : {true, false, true}) {
    for (Parameter* parameter : model.sharder.parameters()) {
      parameter->master.add_(1);
      parameter->exp_avg.uniform_();
      parameter->exp_avg_sq.uniform_();
    }
    pinned.take(HostCopies::Kind::kPinned, model.sharder, with_moments);
    plain.take(HostCopies::Kind::kCopied, model.sharder, with_moments);
    pinned.wait_sync();
    expect_same_bytes(all_slices(pinned), all_slices(plain));
    EXPECT_EQ(pinned.moments().empty(), !with_moments);
    const std::byte* found = pinned.model().front().bytes.data();
    EXPECT_TRUE(memory == nullptr || memory == found) << "the memory is kept";
    memory = found;
  }
}

}  // namespace
}  // namespace titan
