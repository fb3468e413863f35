// The pages of the pinned memory: that they are all made, are given back, and what is said where
// they cannot be had or locked.
#include "lib/train/pinned_memory.hpp"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/error.hpp"

namespace titan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kPage = 4096;

// Pages that are in memory; -1 where the addresses are not the process's.
int64_t pages_in_memory(std::byte* data, size_t bytes) {
  std::vector<unsigned char> pages((bytes + kPage - 1) / kPage);
  if (::mincore(data, bytes, pages.data()) != 0) return -1;
  return std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; });
}

TEST(PinnedMemory, EveryPageIsMadeAndGivenBack) {
  for (const size_t bytes : {size_t{5}, (64ul << 20), (200ul << 20) + 5}) {
    for (const size_t threads : {0, 1, 3}) {
      std::byte* data = nullptr;
      {
        PinnedMemory memory(bytes, threads);
        memory.fill_sync();
        EXPECT_TRUE(memory.filled());
        memory.fill_sync();  // nothing is left to do
        data = memory.data();
        EXPECT_EQ(memory.size(), bytes);
        EXPECT_EQ(pages_in_memory(data, bytes), static_cast<int64_t>((bytes + kPage - 1) / kPage));
      }
      EXPECT_EQ(pages_in_memory(data, bytes), -1) << bytes << " bytes, " << threads << " threads";
    }
  }
}

TEST(PinnedMemory, CanEndBeforeItIsFull) {
  std::byte* data = nullptr;
  {
    PinnedMemory memory(1ul << 30, 1);
    data = memory.data();
  }
  EXPECT_EQ(pages_in_memory(data, kPage), -1);
}

TEST(PinnedMemory, OfNothingIsNothing) {
  PinnedMemory memory(0, 2);
  memory.lock_sync();
  EXPECT_EQ(memory.size(), 0u);
}

TEST(PinnedMemory, IsLockedWhereThereIsAGpuAndElseSaysWhatToDo) {
  PinnedMemory memory(130ul << 20, 2);
  if (at::hasCUDA()) {
    memory.lock_sync();
    memory.lock_sync();
    return;
  }
  try {
    memory.lock_sync();
    FAIL() << "locked without a GPU";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("cannot page-lock 0.13 GiB of host memory ("), HasSubstr("CUDA"),
                      HasSubstr("ulimit -l"), HasSubstr("async_mode = \"async\"")));
  }
}

TEST(PinnedMemory, SaysWhatToDoWhereThereIsNotSoMuch) {
  std::string text;
  try {
    PinnedMemory memory(1ul << 47, 2);  // as many addresses as there are
  } catch (const InputError& error) {
    text = error.what();
  }
  EXPECT_THAT(text, AllOf(HasSubstr("cannot page-lock 131072.00 GiB"), HasSubstr("Cannot allocate"),
                          HasSubstr("async_mode = \"async\"")));
}

}  // namespace
}  // namespace titan
