#include "lib/train/dump_folder.hpp"

#include <filesystem>
#include <system_error>

#include "lib/base/error.hpp"

namespace titan {

void make_dump_folder(const JobConfig& job) {
  const std::string& folder = job.job.dump_folder;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::current_path() / folder, error);
  if (!error) return;
  throw InputError(concat("job.dump_folder = \"", folder, "\" cannot be made: ", error.message(),
                          "; choose one in which this user may write"));
}

}  // namespace titan
