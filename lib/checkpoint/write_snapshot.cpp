#include "lib/checkpoint/write_snapshot.hpp"

#include <system_error>

#include "lib/base/error.hpp"
#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/shard_writer.hpp"
#include "lib/parallel/agree.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

TensorTable table(std::span<const TensorSlice> slices, Dtype float32_as) {
  TensorTable tensors;
  for (const TensorSlice& slice : slices) {
    Dtype stored = slice.dtype == Dtype::kFloat32 ? float32_as : slice.dtype;
    tensors.emplace(slice.name, TensorInfo{stored, slice.global_shape});
  }
  return tensors;
}

// Writes this rank's files. Returns their part of the manifest.
Manifest write_own_files(FileSystem& files, int64_t rank, const Snapshot& snapshot,
                         const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory / directory_name(Part::kModel), error)) {
    throw Error(concat(directory.string(), ", made by rank 0, is not to be seen here: ",
                       "checkpoint.folder must be on a file system that all hosts share"));
  }
  Manifest share;
  share.model_tensors = table(snapshot.model, snapshot.export_dtype);
  share.optimizer_tensors = table(snapshot.optimizer, Dtype::kFloat32);
  auto add = [&](std::optional<FileRecord> file) {
    if (file) share.files.push_back(std::move(*file));
  };
  add(write_shard(files, directory, Part::kModel, static_cast<int>(rank), snapshot.model,
                  snapshot.export_dtype));
  add(write_shard(files, directory, Part::kOptimizer, static_cast<int>(rank), snapshot.optimizer));
  return share;
}

void add_tensors(TensorTable& tensors, const TensorTable& of_rank, size_t rank) {
  for (const auto& [name, info] : of_rank) {
    const TensorInfo& known = tensors.emplace(name, info).first->second;
    TITAN_CHECK(known.dtype == info.dtype && known.shape == info.shape, "rank ", rank, " has ",
                name, " as ", safetensors_name(info.dtype), " ", to_string(info.shape),
                ", an earlier rank as ", safetensors_name(known.dtype), " ",
                to_string(known.shape));
  }
}

Manifest merge(const Snapshot& snapshot, const std::vector<std::string>& shares) {
  Manifest manifest{.step = snapshot.step,
                    .model_only = snapshot.model_only,
                    .model = snapshot.model_description,
                    .state = snapshot.state,
                    .model_tensors = {},
                    .optimizer_tensors = {},
                    .files = {}};
  for (size_t rank = 0; rank < shares.size(); ++rank) {
    const Manifest share = parse_manifest(shares[rank], concat("the message of rank ", rank));
    add_tensors(manifest.model_tensors, share.model_tensors, rank);
    add_tensors(manifest.optimizer_tensors, share.optimizer_tensors, rank);
    manifest.files.insert(manifest.files.end(), share.files.begin(), share.files.end());
  }
  return manifest;
}

uint64_t write_checkpoint(FileSystem& files, HostGroup& group, const Snapshot& snapshot,
                          const fs::path& directory) {
  on_first_rank(group, [&] {
    files.create_directory(directory);
    for (Part part : {Part::kModel, Part::kOptimizer}) {
      files.create_directory(directory / directory_name(part));
    }
    return std::string();
  });
  const std::vector<std::string> shares = on_all_ranks(group, [&] {
    if (snapshot.wait_until_ready) snapshot.wait_until_ready();
    return to_text(write_own_files(files, group.rank(), snapshot, directory));
  });
  const std::string bytes = on_first_rank(group, [&] {
    const Manifest manifest = merge(snapshot, shares);
    replace_file(files, directory / kManifestName, to_text(manifest));
    CheckpointReader proof(directory);  // what could not be opened again is not published
    uint64_t sum = 0;
    for (const FileRecord& file : manifest.files) sum += file.size;
    return std::to_string(sum);
  });
  return std::stoull(bytes);
}

uint64_t write_hugging_face(FileSystem& files, HostGroup& group, const Snapshot& snapshot,
                            const fs::path& directory) {
  const auto model = ModelDescription::from_json(snapshot.model_description);
  HuggingFaceOptions options{.dtype = snapshot.export_dtype,
                             .tokenizer_folder = snapshot.tokenizer_folder};
  if (group.size() == 1) {
    if (snapshot.wait_until_ready) snapshot.wait_until_ready();
    return export_hugging_face(files, MemorySource(snapshot.model), model, directory, options);
  }
  const fs::path shards = directory / "shards";
  write_checkpoint(files, group, snapshot, shards);
  options.part = static_cast<size_t>(group.rank());
  options.parts = static_cast<size_t>(group.size());
  const std::vector<std::string> written = on_all_ranks(group, [&] {
    CheckpointReader checkpoint(shards);
    return std::to_string(
        export_hugging_face(files, checkpoint.model(), model, directory, options));
  });
  uint64_t bytes = 0;
  for (const std::string& of_rank : written) bytes += std::stoull(of_rank);
  on_first_rank(group, [&] {
    files.remove_all(shards);
    return std::string();
  });
  return bytes;
}

}  // namespace

uint64_t write_snapshot(FileSystem& files, HostGroup& group, const Snapshot& snapshot,
                        const fs::path& directory) {
  return snapshot.in_hugging_face ? write_hugging_face(files, group, snapshot, directory)
                                  : write_checkpoint(files, group, snapshot, directory);
}

}  // namespace titan
