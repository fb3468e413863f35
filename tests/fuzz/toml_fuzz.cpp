// libFuzzer: any bytes as a job file end in a configuration or an InputError, and a configuration
// that was read prints as TOML that reads back.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/config/dump.hpp"
#include "lib/config/toml_reader.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace titan::config;
  JobConfig job;
  try {
    job = parse_toml({reinterpret_cast<const char*>(data), size});
  } catch (const titan::InputError&) {
    return 0;
  }
  job.job.config_file.reset();
  const std::string text = to_toml(job);
  if (to_toml(parse_toml(text)) != text) __builtin_trap();
  return 0;
}
