// SLURM's abbreviated lists: what they say, and that damaged ones are refused.
#include "lib/parallel/slurm_lists.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <vector>

#include "lib/base/error.hpp"

namespace titan {
namespace {

using testing::HasSubstr;

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(FirstHost, OfEveryForm) {
  EXPECT_EQ(first_host("gpu001"), "gpu001");
  EXPECT_EQ(first_host("b,a"), "b");
  EXPECT_EQ(first_host("gpu[001-004,007],big1"), "gpu001");
  EXPECT_EQ(first_host("gpu[7]"), "gpu7");
  EXPECT_EQ(first_host("gpu[09,11-12]"), "gpu09");
  EXPECT_EQ(first_host("login-1.site,gpu[1-2]"), "login-1.site");
  EXPECT_EQ(first_host("dgx-[1-2]-ib.site,other"), "dgx-1-ib.site");
  EXPECT_EQ(first_host("rack[2-3]node[00-15]"), "rack2node00");
  EXPECT_EQ(first_host("[10-11]"), "10");
}

TEST(FirstHost, RefusesWhatIsNoList) {
  for (const char* list : {"", ",a", "gpu[", "gpu[1-2", "gpu[]", "gpu[a-b]", "gpu[-2]", "gpu]1",
                           "gpu 1", "gpu[1[2]]", "(null)", "g\xffu"}) {
    EXPECT_THAT(refusal([&] { first_host(list); }),
                testing::AllOf(HasSubstr(concat("got \"", list, "\"")), HasSubstr("MASTER_ADDR")));
  }
}

TEST(TasksOnNode, OfEveryForm) {
  EXPECT_EQ(tasks_on_node("8", 0), 8);
  EXPECT_EQ(tasks_on_node("8(x2),4", 0), 8);
  EXPECT_EQ(tasks_on_node("8(x2),4", 1), 8);
  EXPECT_EQ(tasks_on_node("8(x2),4", 2), 4);
  EXPECT_EQ(tasks_on_node("1,2(x3),16(x1000)", 1003), 16);
}

TEST(TasksOnNode, RefusesWhatIsNoListOrHasNoSuchNode) {
  for (const char* list : {"", "x", "8(", "8(x", "8(x)", "8(x0)", "0", "8(2)", "8(x2", "8,", ",8",
                           "-8", "8 ", "8(x2)4", "99999999999999999999"}) {
    EXPECT_THAT(refusal([&] { tasks_on_node(list, 1); }), HasSubstr(concat("got \"", list, "\"")))
        << list;
  }
  EXPECT_THAT(refusal([] { tasks_on_node("8(x2),4", 3); }), HasSubstr("for at least 4 nodes"));
}

// A random list of each kind, written out beside it.
struct Lists {
  std::string nodes, first_node, tasks;
  std::vector<int64_t> tasks_by_node;
};

Lists make_lists(std::mt19937_64& random) {
  Lists lists;
  const auto entries = 1 + random() % 4;
  for (size_t entry = 0; entry < entries; ++entry) {
    std::string abbreviated, first;
    for (auto parts = 1 + random() % 3; parts > 0; --parts) {
      const std::string name(1, static_cast<char>('a' + random() % 26));
      const std::string number = concat(random() % 2 ? "0" : "", random() % 1000);
      abbreviated += concat(name, "[", number, random() % 2 ? "-9999" : "", ",12]");
      first += name + number;
    }
    if (entry == 0) lists.first_node = first;
    lists.nodes += (entry ? "," : "") + abbreviated;

    const auto tasks = static_cast<int64_t>(1 + random() % 64),
               repeats = 1 + static_cast<int64_t>(random() % 5);
    lists.tasks += concat(entry ? "," : "", tasks);
    if (repeats > 1) lists.tasks += concat("(x", repeats, ")");
    lists.tasks_by_node.insert(lists.tasks_by_node.end(), repeats, tasks);
  }
  return lists;
}

std::string damaged(std::string text, std::mt19937_64& random) {
  const std::string pieces[] = {"[", "]", "(", ")", "(x", ",", "-", "x", "0", " ", "\xff", ""};
  for (auto edits = 1 + random() % 3; edits > 0; --edits) {
    const size_t at = random() % (text.size() + 1);
    if (random() % 2) {
      text.insert(at, pieces[random() % std::size(pieces)]);
    } else {
      text.erase(at, 1 + random() % 4);
    }
  }
  return text;
}

TEST(SlurmLists, RandomOnesAreReadAndDamagedOnesNeverGiveNonsense) {
  std::mt19937_64 random(5);
  int read = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const Lists lists = make_lists(random);
    EXPECT_EQ(first_host(lists.nodes), lists.first_node) << lists.nodes;
    for (size_t node = 0; node < lists.tasks_by_node.size(); ++node) {
      EXPECT_EQ(tasks_on_node(lists.tasks, static_cast<int64_t>(node)), lists.tasks_by_node[node])
          << lists.tasks;
    }
    try {
      const std::string host = first_host(damaged(lists.nodes, random));
      EXPECT_FALSE(host.empty());
      EXPECT_EQ(host.find_first_of("[](), \xff"), host.npos) << host;
      EXPECT_GT(tasks_on_node(damaged(lists.tasks, random), static_cast<int64_t>(random() % 12)),
                0);
      ++read;
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace titan
