#include "lib/base/shipped.hpp"

namespace titan {

namespace fs = std::filesystem;

fs::path find_shipped(const fs::path& path) {
  std::error_code none;
  if (path.empty() || path.is_absolute() || fs::exists(path, none)) return path;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  const fs::path above = program.parent_path().parent_path();  // of bin/
  const fs::path installed = above / "share" / "titan-train";
  const fs::path folder = fs::is_directory(installed, none) ? installed : above.parent_path();
  return fs::exists(folder / path, none) ? folder / path : path;
}

}  // namespace titan
