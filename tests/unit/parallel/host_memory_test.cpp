// Memory that the ranks of a host take together, of hosts that are made up.
#include "lib/parallel/host_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "lib/base/error.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr int64_t kGiB = 1ll << 30;

// A root with the kernel's files in it.
class FakeRoot : public ::testing::Test {
 protected:
  FakeRoot() {
    std::string name = (fs::temp_directory_path() / "titan_host_XXXXXX").string();
    TITAN_CHECK(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    root_ = name;
    write("proc/meminfo", "MemTotal: 99999999 kB\nMemFree: 5 kB\nMemAvailable: 8388608 kB\n");
  }
  ~FakeRoot() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  void write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int64_t available() const { return HostMemory::here(root_).available; }

  fs::path root_;
};

TEST_F(FakeRoot, WithoutControlGroupsTheHostsMemoryCounts) {
  EXPECT_EQ(available(), 8 * kGiB);
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(available(), 8 * kGiB);
}

TEST_F(FakeRoot, AContainersLimitCountsLessWhatIsUsed) {
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", std::to_string(6 * kGiB));
  write("sys/fs/cgroup/memory.current", std::to_string(5 * kGiB));
  EXPECT_EQ(available(), kGiB);
  write("sys/fs/cgroup/memory.stat", concat("anon 7\ninactive_file ", 3 * kGiB, "\n"));
  EXPECT_EQ(available(), 4 * kGiB);
}

TEST_F(FakeRoot, SoDoesThatOfAGroupAround) {
  write("proc/self/cgroup", "1:name=x:/other\n0::/slurm/job_1/step_0\n");
  write("sys/fs/cgroup/slurm/job_1/step_0/memory.max", "max\n");
  write("sys/fs/cgroup/slurm/job_1/memory.max", std::to_string(3 * kGiB));
  write("sys/fs/cgroup/slurm/job_1/memory.current", std::to_string(kGiB));
  write("sys/fs/cgroup/slurm/memory.max", std::to_string(9 * kGiB));
  EXPECT_EQ(available(), 2 * kGiB);
}

TEST(HostMemory, ThisHostHasSome) { EXPECT_GT(HostMemory::here().available, 1 << 20); }

// Ranks 0 and 1 are on one host, rank 2 on another, which may have the same name.
int64_t ask(World& world, int64_t wanted, int64_t available, const char* other_name = "node b") {
  const auto group = world.host_group("memory");
  const HostMemory memory = world.rank() < 2 ? HostMemory{"node a", "1", available}
                                             : HostMemory{other_name, "2", available};
  return require_host_memory(*group, wanted, memory, "this test");
}

TEST(HostMemory, CountsTheRanksOfEachHost) {
  for (const char* other_name : {"node a", "node b"}) {
    testing::on_every_rank(3, [&](World& world) {
      EXPECT_EQ(ask(world, 2 * kGiB, 4 * kGiB, other_name), world.rank() < 2 ? 2 : 1);
    });
  }
}

TEST(HostMemory, TheRanksOfAHostCountTogetherAndAllHearOfIt) {
  std::atomic<int> heard = 0;
  testing::on_every_rank(3, [&](World& world) {
    try {
      ask(world, 2 * kGiB, world.rank() == 1 ? 4 * kGiB - 1 : 4 * kGiB);
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("this test takes 4.00 GiB"),
                                      HasSubstr("node a (2 ranks)"), Not(HasSubstr("node b"))));
      ++heard;
    }
  });
  EXPECT_EQ(heard, 3);
}

}  // namespace
}  // namespace titan
