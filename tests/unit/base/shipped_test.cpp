// Files that come with the program are found from any folder. The installed tree is tried by
// tests/integration/test_install.py.
#include "lib/base/shipped.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "lib/base/error.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;

// Each test runs in an empty folder of its own.
class ShippedTest : public testing::Test {
 protected:
  ShippedTest() {
    fs::create_directories(folder_);
    fs::current_path(folder_);
  }
  ~ShippedTest() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  const fs::path before_ = fs::current_path();
  const fs::path folder_ = fs::temp_directory_path() / concat("shipped_test.", ::getpid());
};

TEST_F(ShippedTest, OfTheSourceTreeThatABuildLiesIn) {
  const fs::path found = find_shipped("assets/tokenizer");
  EXPECT_TRUE(found.is_absolute());
  EXPECT_TRUE(fs::exists(found / "tokenizer.json"));
}

TEST_F(ShippedTest, TheCurrentFolderComesFirst) {
  fs::create_directories("assets/tokenizer");
  EXPECT_EQ(find_shipped("assets/tokenizer"), "assets/tokenizer");
}

TEST_F(ShippedTest, WhatIsNowhereIsLeft) {
  EXPECT_EQ(find_shipped("assets/none"), "assets/none");
  EXPECT_EQ(find_shipped("/nowhere/assets"), "/nowhere/assets");
  EXPECT_EQ(find_shipped(""), "");
}

}  // namespace
}  // namespace titan
