#include "lib/metrics/record_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan {

RecordFile::RecordFile(std::filesystem::path path) : path_(std::move(path)) { append({}); }

void RecordFile::append(std::string_view record) {
  try {
    if (file_.get() < 0) open();
    write(record);
  } catch (const std::exception& error) {
    if (!std::exchange(failed_, true)) {
      log::warning(concat("Metrics are being lost: ", error.what(), ". The run goes on"));
    }
  }
}

void RecordFile::open() {
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path());
  file_ = FileDescriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  TITAN_CHECK(file_.get() >= 0, "cannot open ", path_.string(), ": ", std::strerror(errno));
}

void RecordFile::write(std::string_view record) {
  const off_t size_before = ::lseek(file_.get(), 0, SEEK_END);
  try {
    write_all(file_.get(), record, path_);
  } catch (const Error&) {
    // Takes back what was written of the record. Where even that fails, the descriptor is given up,
    // and the next record starts from open().
    if (size_before < 0 || ::ftruncate(file_.get(), size_before) != 0) file_ = FileDescriptor();
    throw;
  }
}

}  // namespace titan
