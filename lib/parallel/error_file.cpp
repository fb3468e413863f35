#include "lib/parallel/error_file.hpp"

#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/base/file.hpp"

namespace titan {
namespace {

std::string error_json(std::string_view message) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  // torchrun takes the earliest timestamp for the root cause and shows py_callstack.
  const nlohmann::ordered_json json = {
      {"message",
       {{"message", message},
        {"extraInfo", {{"py_callstack", message}, {"timestamp", std::to_string(seconds)}}}}}};
  return json.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void write_error_file(const char* path, std::string_view message) noexcept {
  if (path == nullptr || *path == '\0') return;
  try {
    if (std::filesystem::exists(path)) return;
    write_file_atomically(path, error_json(message));
  } catch (const std::exception&) {
    // The message is on stderr all the same.
  }
}

}  // namespace titan
