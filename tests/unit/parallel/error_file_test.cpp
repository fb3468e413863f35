// The file by which torchrun learns what went wrong. That torchrun itself reads it is shown in
// tests/integration/test_torchrun.py.
#include "lib/parallel/error_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ErrorFileTest : public testing::Test {
 protected:
  ErrorFileTest() : folder_(fs::temp_directory_path() / concat("error_file_test.", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~ErrorFileTest() override { fs::remove_all(folder_); }

  json written() const { return json::parse(read_file(path_)); }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  const fs::path folder_;
  const std::string path_ = folder_ / "error.json";
};

TEST_F(ErrorFileTest, Form) {
  const auto before = std::time(nullptr);
  write_error_file(path_.c_str(), "no \"data\"\nin /x");
  const auto after = std::time(nullptr);
  const json error = written();
  EXPECT_EQ(error.size(), 1);
  const json& message = error.at("message");
  EXPECT_EQ(message.at("message"), "no \"data\"\nin /x");
  EXPECT_EQ(message.at("extraInfo").at("py_callstack"), "no \"data\"\nin /x");
  const std::string timestamp = message.at("extraInfo").at("timestamp");
  EXPECT_LE(before, std::stol(timestamp));
  EXPECT_GE(after, std::stol(timestamp));
  EXPECT_EQ(files(), 1);
}

TEST_F(ErrorFileTest, TheFirstReasonStays) {
  write_error_file(path_.c_str(), "first");
  write_error_file(path_.c_str(), "second");
  EXPECT_EQ(written()["message"]["message"], "first");
}

TEST_F(ErrorFileTest, BytesThatAreNoTextAreReplaced) {
  write_error_file(path_.c_str(), "a\xff\xc3z\x01");
  EXPECT_EQ(written()["message"]["message"], "a\xef\xbf\xbd\xef\xbf\xbdz\x01");
}

TEST_F(ErrorFileTest, NowhereToWriteIsNoFailure) {
  write_error_file(nullptr, "x");
  write_error_file("", "x");
  write_error_file((folder_ / "none" / "error.json").c_str(), "x");
  EXPECT_EQ(files(), 0);
}

}  // namespace
}  // namespace titan
