#include "lib/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace titan::log {
namespace {

spdlog::logger& logger() {
  // Leaked on purpose: threads may log while static objects are being destroyed.
  static auto* instance = [] {
    auto* created = new spdlog::logger("root", std::make_shared<spdlog::sinks::stdout_sink_mt>());
    // Upstream's level words are upper case, which spdlog has no flag for: they come with the text.
    created->set_pattern("[titan] %Y-%m-%d %H:%M:%S,%e - root - %v");
    created->flush_on(spdlog::level::info);
    return created;
  }();
  return *instance;
}

}  // namespace

void info(std::string_view message) { logger().info("INFO - {}", message); }
void warning(std::string_view message) { logger().warn("WARNING - {}", message); }
void error(std::string_view message) { logger().error("ERROR - {}", message); }

void set_info_enabled(bool enabled) {
  logger().set_level(enabled ? spdlog::level::info : spdlog::level::warn);
}

bool colours_wanted() { return isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

void flush() { logger().flush(); }

}  // namespace titan::log
