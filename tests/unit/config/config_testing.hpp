// Helpers of the configuration tests.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/config/command_line.hpp"
#include "lib/config/toml_reader.hpp"

namespace titan::config {

// The message of the InputError that `call` throws; "" and a test failure when it throws none.
template <class Call>
std::string input_error(Call&& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return "";
}

inline CommandLine run(std::initializer_list<std::string_view> arguments) {
  return parse_command_line(std::vector<std::string_view>(arguments));
}

inline std::string run_error(std::initializer_list<std::string_view> arguments) {
  return input_error([&] { run(arguments); });
}

inline std::string toml_error(std::string_view text) {
  return input_error([&] { parse_toml(text); });
}

// A file in the test's temporary folder; returns its path.
inline std::string written(const std::string& name, std::string_view text) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

// Every option equal, as its value.
inline void expect_equal(const JobConfig& a, const JobConfig& b) {
  for (const Option& option : options()) {
    EXPECT_EQ(option.get(a), option.get(b)) << option.path;
  }
}

}  // namespace titan::config
