// Fills a directory with a checkpoint, or with a Hugging Face model, from what all ranks hold.
#pragma once

#include <cstdint>
#include <filesystem>

#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/snapshot.hpp"
#include "lib/parallel/host_group.hpp"

namespace titan {

// Collective. Every rank writes its slices as files of its own and fsyncs them; rank 0 puts the
// manifest together and opens the result as a reader would, which proves that the slices fill the
// tensors. The directory has been made by rank 0 and is seen by all. Returns the bytes written by
// all ranks. Throws on all ranks when any of them fails.
//
// Hugging Face's files hold whole tensors, which no rank has: the ranks first write a checkpoint
// inside the directory, then each streams some of the files from it, and it is deleted.
uint64_t write_snapshot(FileSystem& files, HostGroup& group, const Snapshot& snapshot,
                        const std::filesystem::path& directory);

}  // namespace titan
