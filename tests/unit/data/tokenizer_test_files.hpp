// Folders with tokenizer files for the tokenizer tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/data/tokenizer.hpp"

namespace titan {

inline std::filesystem::path tokenizer_test_folder() {
  return std::filesystem::path(__FILE__).parent_path();
}
inline std::filesystem::path golden_folder() {
  return tokenizer_test_folder() / "tokenizer_golden";
}
inline std::filesystem::path shipped_tokenizer() {
  return tokenizer_test_folder() / "../../../assets/tokenizer";
}

// A new folder under the test's temporary directory with these files in it.
inline std::filesystem::path folder_with(const std::map<std::string, std::string>& files) {
  static int number = 0;
  auto folder = std::filesystem::path(testing::TempDir()) /
                concat("titan_tokenizer_", ::getpid(), "_", number++);
  std::filesystem::create_directories(folder);
  for (const auto& [name, content] : files) write_file_atomically(folder / name, content);
  return folder;
}

inline std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  tokenizer.encode(text, ids);
  return ids;
}

// The message of the InputError that `action` throws.
template <class Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return "";
}

}  // namespace titan
