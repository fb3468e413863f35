#include "lib/checkpoint/checkpoint_reader.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <system_error>

#include "lib/base/file.hpp"
#include "lib/checkpoint/hash.hpp"
#include "lib/checkpoint/safetensors.hpp"
#include "lib/checkpoint/step_folder.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

// One shard; opened at its first use, so that a rank reads only the headers of the files that it
// needs.
class ShardFile {
 public:
  ShardFile(const fs::path& part_directory, const FileRecord& record, const TensorTable& tensors)
      : path_(part_directory / record.name), record_(record), tensors_(tensors) {
    std::error_code error;
    uint64_t size = fs::file_size(path_, error);
    if (error)
      throw CorruptCheckpoint(concat(path_.string(), " cannot be read: ", error.message()));
    if (size != record.size) {
      throw CorruptCheckpoint(
          concat(path_.string(), " has ", size, " bytes, the manifest says ", record.size));
    }
  }

  const fs::path& path() const { return path_; }

  const SafetensorsReader& open() {
    std::lock_guard lock(mutex_);
    if (!reader_) reader_ = checked_reader();
    return *reader_;
  }

 private:
  std::unique_ptr<SafetensorsReader> checked_reader() const {
    auto reader = std::make_unique<SafetensorsReader>(path_);
    bool matches = reader->header_hash() == record_.header_hash &&
                   reader->header().entries.size() == record_.chunks.size();
    for (const ChunkRecord& chunk : record_.chunks) {
      const SafetensorsEntry* entry = reader->find(chunk.name);
      matches = matches && entry != nullptr && entry->shape == chunk.box.shape &&
                entry->dtype == tensors_.at(chunk.name).dtype;
    }
    if (!matches) throw InputError(concat("the header of ", path_.string(), " was altered"));
    return reader;
  }

  fs::path path_;
  const FileRecord& record_;
  const TensorTable& tensors_;
  std::mutex mutex_;
  std::unique_ptr<SafetensorsReader> reader_;
};

// One part (model or optimizer) of a checkpoint. The manifest outlives it.
class StoredTensors : public TensorSource {
 public:
  StoredTensors(const fs::path& directory, const Manifest& manifest, Part part)
      : directory_(directory), tensors_(manifest.tensors(part)) {
    fs::path part_directory = directory / directory_name(part);
    std::set<std::string> known;
    for (const FileRecord& record : manifest.files) {
      if (record.part != part) continue;
      known.insert(record.name);
      files_.push_back(std::make_unique<ShardFile>(part_directory, record, tensors_));
      for (const ChunkRecord& chunk : record.chunks) add_chunk(chunk, *files_.back());
    }
    refuse_other_shards(part_directory, known);
    require_coverage();
  }

  const TensorTable& tensors() const override { return tensors_; }

  void read(const std::string& name, const Box& block, std::span<std::byte> out) const override {
    const TensorInfo& info = checked(name, block, out);
    for (const Chunk& chunk : chunks_.at(name)) {
      std::vector<ByteRun> runs = copy_runs(chunk.record->box, block, byte_size(info.dtype));
      if (runs.empty()) continue;
      try {
        read_runs(chunk, runs, out);
      } catch (const InputError& error) {
        throw CorruptCheckpoint(error.what());
      }
    }
  }

 private:
  struct Chunk {
    const ChunkRecord* record;
    ShardFile* file;
  };

  void add_chunk(const ChunkRecord& chunk, ShardFile& file) {
    auto tensor = tensors_.find(chunk.name);
    if (tensor == tensors_.end()) {
      throw CorruptCheckpoint(concat(file.path().string(), " holds ", chunk.name,
                                     ", which the manifest does not list as a tensor"));
    }
    chunks_[chunk.name].push_back({&chunk, &file});
  }

  void refuse_other_shards(const fs::path& part_directory,
                           const std::set<std::string>& known) const {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(part_directory, error)) {
      std::string name = entry.path().filename();
      if (name.ends_with(".safetensors") && !known.contains(name)) {
        throw CorruptCheckpoint(
            concat(entry.path().string(), " does not belong to the checkpoint; move it away"));
      }
    }
  }

  // The proof that reading any block leaves no byte unset.
  void require_coverage() {
    for (const auto& [name, info] : tensors_) {
      std::vector<Box> boxes;
      for (const Chunk& chunk : chunks_[name]) boxes.push_back(chunk.record->box);
      if (!tile_exactly(boxes, info.shape)) {
        throw CorruptCheckpoint(concat(directory_.string(), ": the ", boxes.size(), " chunks of ",
                                       name, " do not fill its shape ", to_string(info.shape),
                                       " exactly"));
      }
      for (const Chunk& chunk : chunks_[name]) {
        uint64_t bytes =
            static_cast<uint64_t>(volume(chunk.record->box.shape)) * byte_size(info.dtype);
        if (chunk.record->hashes.size() != (bytes + kHashBlockBytes - 1) / kHashBlockBytes) {
          throw CorruptCheckpoint(
              concat(directory_.string(), ": wrong number of hashes for ", name));
        }
      }
    }
  }

  // Reads every hash block that the runs touch once, verifies it, and copies the wanted bytes of
  // it; a block that is wanted whole is read right into place.
  static void read_runs(const Chunk& chunk, const std::vector<ByteRun>& runs,
                        std::span<std::byte> out) {
    const SafetensorsReader& file = chunk.file->open();
    const SafetensorsEntry& entry = *file.find(chunk.record->name);
    std::vector<std::byte> scratch;
    uint64_t done = 0;  // bytes of the chunk below this one were read
    for (size_t next = 0; next < runs.size();) {
      uint64_t index = std::max(done, runs[next].source) / kHashBlockBytes;
      uint64_t begin = index * kHashBlockBytes;
      uint64_t end = std::min(begin + kHashBlockBytes, entry.end - entry.begin);
      const ByteRun& first = runs[next];
      bool in_place = first.source <= begin && first.source + first.size >= end;
      if (!in_place) scratch.resize(std::max(scratch.size(), end - begin));
      std::span<std::byte> block =
          in_place ? out.subspan(first.target + (begin - first.source), end - begin)
                   : std::span(scratch).first(end - begin);
      file.read(entry.begin + begin, block);
      if (hash_bytes(block) != chunk.record->hashes[index]) {
        throw InputError(concat(file.path().string(), " was altered: bytes ", entry.begin + begin,
                                " to ", entry.begin + end, " (", entry.name,
                                ") do not match their hash"));
      }
      for (; next < runs.size() && runs[next].source < end; ++next) {
        const ByteRun& run = runs[next];
        uint64_t from = std::max(run.source, begin);
        uint64_t to = std::min(run.source + run.size, end);
        if (!in_place) {
          std::memcpy(out.data() + run.target + (from - run.source), block.data() + (from - begin),
                      to - from);
        }
        if (run.source + run.size > end) break;  // goes on in the next block
      }
      done = end;
    }
  }

  fs::path directory_;
  const TensorTable& tensors_;
  std::vector<std::unique_ptr<ShardFile>> files_;
  std::map<std::string, std::vector<Chunk>> chunks_;
};

// Why a directory without titan.json is not a checkpoint, as helpfully as can be told.
std::string what_it_is_instead(const fs::path& directory) {
  if (!fs::is_directory(directory)) return "is not a directory";
  if (fs::exists(directory / ".metadata")) {
    return concat("was written by torch.distributed.checkpoint; convert it first: ",
                  ".venv/bin/python scripts/convert_dcp.py import ", directory.string(),
                  " FOLDER JOB.toml");
  }
  if (fs::exists(directory / "model.safetensors.index.json") ||
      fs::exists(directory / "config.json")) {
    return "holds a Hugging Face model: load it by checkpoint.initial_load_path with "
           "checkpoint.initial_load_in_hf";
  }
  if (!find_steps(directory).empty()) return "holds several checkpoints: name one of its step-N";
  return concat("has no ", kManifestName, ": it is not a complete checkpoint");
}

Manifest read_manifest(const fs::path& directory) {
  fs::path path = directory / kManifestName;
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw CorruptCheckpoint(concat(directory.string(), " ", what_it_is_instead(directory)));
  }
  std::string text;
  try {
    text = read_file(path);
  } catch (const InputError& failure) {
    throw CorruptCheckpoint(failure.what());
  }
  return parse_manifest(text, path);
}

}  // namespace

CheckpointReader::CheckpointReader(fs::path directory)
    : directory_(std::move(directory)),
      manifest_(read_manifest(directory_)),
      model_(std::make_unique<StoredTensors>(directory_, manifest_, Part::kModel)),
      optimizer_(std::make_unique<StoredTensors>(directory_, manifest_, Part::kOptimizer)) {}

CheckpointReader::~CheckpointReader() = default;

}  // namespace titan
