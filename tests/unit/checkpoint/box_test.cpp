#include "lib/checkpoint/box.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace titan {
namespace {

// Element number of each position of the box, by the definition of row-major order.
std::vector<int64_t> elements_of(const Box& box, const Shape& global) {
  std::vector<int64_t> elements = {0};
  for (size_t d = 0; d < global.size(); ++d) {
    std::vector<int64_t> next;
    for (int64_t element : elements) {
      for (int64_t i = 0; i < box.shape[d]; ++i)
        next.push_back(element * global[d] + box.offset[d] + i);
    }
    elements = next;
  }
  return elements;
}

Box random_box(const Shape& global, std::mt19937& random) {
  Box box = whole(global);
  for (size_t d = 0; d < global.size(); ++d) {
    box.shape[d] = std::uniform_int_distribution<int64_t>(0, global[d])(random);
    box.offset[d] = std::uniform_int_distribution<int64_t>(0, global[d] - box.shape[d])(random);
  }
  return box;
}

TEST(Box, CopyRunsMoveExactlyTheCommonElements) {
  std::mt19937 random(1);
  for (const Shape& global : {Shape{}, Shape{7}, Shape{5, 4}, Shape{3, 4, 5}, Shape{6, 1}}) {
    for (int repeat = 0; repeat < 200; ++repeat) {
      Box source = random_box(global, random);
      Box target = random_box(global, random);
      std::vector<int64_t> from = elements_of(source, global);
      std::vector<int64_t> wanted = elements_of(target, global);
      std::vector<int64_t> copied(wanted.size(), -1);
      uint64_t last_end = 0;
      for (const ByteRun& run : copy_runs(source, target, 1)) {
        ASSERT_GE(run.source, last_end);
        last_end = run.source + run.size;
        for (uint64_t i = 0; i < run.size; ++i) copied.at(run.target + i) = from.at(run.source + i);
      }
      for (size_t i = 0; i < wanted.size(); ++i) {
        bool common = std::ranges::find(from, wanted[i]) != from.end();
        ASSERT_EQ(copied[i], common ? wanted[i] : -1);
      }
    }
  }
}

TEST(Box, WholeRowsAreOneRun) {
  EXPECT_EQ(copy_runs(whole({1000, 16}), {{10, 0}, {500, 16}}, 4).size(), 1u);
  EXPECT_EQ(copy_runs(whole({1000, 16}), {{10, 8}, {500, 8}}, 4).size(), 500u);
}

TEST(Box, TilingFindsGapsAndOverlaps) {
  Shape shape = {4, 6};
  Box left = {{0, 0}, {4, 3}};
  Box right_top = {{0, 3}, {1, 3}};
  Box right_bottom = {{1, 3}, {3, 3}};
  EXPECT_TRUE(tile_exactly({right_bottom, left, right_top}, shape));
  EXPECT_FALSE(tile_exactly({left, right_bottom}, shape));
  // As many elements as the whole, but one row twice and one not at all.
  EXPECT_FALSE(tile_exactly({left, right_bottom, {{1, 3}, {1, 3}}}, shape));
  EXPECT_FALSE(tile_exactly({left, right_top, {{2, 3}, {3, 3}}}, shape));  // beyond the end
  EXPECT_FALSE(tile_exactly({{{0}, {24}}}, shape));
  EXPECT_TRUE(tile_exactly({whole({})}, {}));
  EXPECT_FALSE(tile_exactly({}, {}));
  EXPECT_TRUE(tile_exactly({}, {0, 6}));
}

TEST(Box, InsideRefusesWhatOverflows) {
  EXPECT_TRUE(inside({{2, 0}, {2, 6}}, {4, 6}));
  EXPECT_FALSE(inside({{3, 0}, {2, 6}}, {4, 6}));
  EXPECT_FALSE(inside({{-1, 0}, {2, 6}}, {4, 6}));
  EXPECT_FALSE(inside({{INT64_MAX, 0}, {2, 6}}, {4, 6}));
  EXPECT_FALSE(inside({{0}, {4}}, {4, 6}));
}

}  // namespace
}  // namespace titan
