// What torchrun shows in its summary of a job that failed.
#pragma once

#include <string_view>

namespace titan {

// Writes why this process ends to `path`, the value of TORCHELASTIC_ERROR_FILE, as JSON in the form
// of torch.distributed.elastic. Does nothing where the path is null or empty, or the file is there
// already: the first reason is the one that counts. For the way out: throws nothing, and where the
// file cannot be written the job ends without it. Safe from any thread.
void write_error_file(const char* path, std::string_view message) noexcept;

}  // namespace titan
