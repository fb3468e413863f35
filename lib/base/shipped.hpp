// Files that come with the program: its text, its tokenizer.
#pragma once

#include <filesystem>

namespace titan {

// A relative path as it is where that exists in the current folder, else below the folder that the
// program came in, if it exists there: share/titan-train of an installed tree, the source tree of a
// build in build/. A path that exists in neither comes back as it is.
std::filesystem::path find_shipped(const std::filesystem::path& path);

}  // namespace titan
