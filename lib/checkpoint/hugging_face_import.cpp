#include <algorithm>
#include <cstring>
#include <set>
#include <system_error>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/json_fields.hpp"
#include "lib/checkpoint/manifest.hpp"
#include "lib/checkpoint/pending_directory.hpp"
#include "lib/checkpoint/shard_writer.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kHeadName = "lm_head.weight";
constexpr const char* kEmbeddingName = "model.embed_tokens.weight";

Json read_json(const fs::path& path) { return parse_json(read_file(path), path.string()); }

// The files of the model, from the index or the one file.
std::vector<fs::path> model_files(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    throw InputError(concat(directory.string(), " is not a directory with a Hugging Face model"));
  }
  if (!fs::exists(directory / kIndexName, error)) {
    if (fs::exists(directory / kSingleName, error)) return {directory / kSingleName};
    throw InputError(concat(directory.string(), " holds no Hugging Face model: expected ",
                            kSingleName, " or ", kIndexName));
  }
  fs::path index = directory / kIndexName;
  std::set<fs::path> paths;
  const Json json = read_json(index);
  for (const auto& [name, file] : json_field(json, "weight_map", index.string()).items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw InputError(concat(index.string(), ": the file of ", name, " is no file name"));
    }
    paths.insert(directory / file.get<std::string>());
  }
  return {paths.begin(), paths.end()};
}

bool embeddings_are_tied(const fs::path& directory) {
  std::error_code error;
  fs::path path = directory / "config.json";
  if (!fs::exists(path, error)) return false;
  Json config = read_json(path);
  return config.contains("tie_word_embeddings") &&
         json_bool(config, "tie_word_embeddings", path.string());
}

}  // namespace

HuggingFaceReader::HuggingFaceReader(const fs::path& directory)
    : HuggingFaceReader(
          directory, ModelDescription::from_hugging_face(read_json(directory / "config.json"),
                                                         (directory / "config.json").string())) {}

HuggingFaceReader::HuggingFaceReader(const fs::path& directory, const ModelDescription& model)
    : model_(model) {
  std::map<std::string, Place> found;  // by Hugging Face's name
  for (const fs::path& path : model_files(directory)) {
    files_.push_back(std::make_unique<SafetensorsReader>(path));
    for (const SafetensorsEntry& entry : files_.back()->header().entries) {
      if (entry.name.ends_with("rotary_emb.inv_freq")) continue;  // computed, not learned
      if (!found.emplace(entry.name, Place{files_.back().get(), &entry, 0}).second) {
        throw InputError(concat(entry.name, " is in two files of ", directory.string()));
      }
    }
  }
  if (!found.contains(kHeadName) && found.contains(kEmbeddingName) &&
      embeddings_are_tied(directory)) {
    found[kHeadName] = found[kEmbeddingName];
    output_is_embedding_ = true;
  }

  TensorTable expected;
  TensorTable present;
  for (const LlamaTensor& tensor : llama_tensors(model_)) {
    expected[tensor.hugging_face] = {Dtype::kFloat32, tensor.shape};
    auto place = found.find(tensor.hugging_face);
    if (place == found.end()) continue;
    place->second.head_rows = tensor.head_rows;
    places_[tensor.name] = place->second;
    tensors_[tensor.name] = {place->second.entry->dtype, place->second.entry->shape};
  }
  for (const auto& [name, place] : found) present[name] = {place.entry->dtype, place.entry->shape};
  require_tensors(expected, present, /*compare_dtypes=*/false, directory.string());
}

void HuggingFaceReader::read(const std::string& name, const Box& block,
                             std::span<std::byte> out) const {
  const TensorInfo& info = checked(name, block, out);
  const Place& place = places_.at(name);
  // Whole rows are read, some 16 MiB at a time, whole heads where rows are ordered otherwise; the
  // block's part of each goes to its place.
  constexpr int64_t kPieceBytes = 16 << 20;
  const int64_t columns = volume(info.shape) / std::max<int64_t>(1, info.shape[0]);
  const int64_t row_bytes = columns * static_cast<int64_t>(byte_size(info.dtype));
  const int64_t unit = std::max<int64_t>(1, place.head_rows);
  const int64_t rows_at_once = std::max<int64_t>(1, kPieceBytes / (row_bytes * unit)) * unit;
  const int64_t block_end = block.offset[0] + block.shape[0];
  std::vector<std::byte> rows;
  std::vector<std::byte> ordered;
  for (int64_t first = block.offset[0] / unit * unit; first < block_end; first += rows_at_once) {
    Box piece = whole(info.shape);
    piece.offset[0] = first;
    piece.shape[0] = std::min(
        {rows_at_once, info.shape[0] - first, (block_end - first + unit - 1) / unit * unit});
    rows.resize(static_cast<size_t>(piece.shape[0] * row_bytes));
    place.file->read(place.entry->begin + static_cast<uint64_t>(first * row_bytes), rows);
    if (place.head_rows > 0) {
      ordered.resize(rows.size());
      for (int64_t row = 0; row < piece.shape[0]; ++row) {
        std::memcpy(ordered.data() + row * row_bytes,
                    rows.data() + hugging_face_row(row, place.head_rows) * row_bytes, row_bytes);
      }
      std::swap(rows, ordered);
    }
    for (const ByteRun& run : copy_runs(piece, block, byte_size(info.dtype))) {
      std::memcpy(out.data() + run.target, rows.data() + run.source, run.size);
    }
  }
}

void import_hugging_face(FileSystem& files, const fs::path& source, const fs::path& target) {
  HuggingFaceReader reader(source);
  if (reader.output_is_embedding()) log::warning(kTiedWarning);
  Manifest manifest{.step = 0,
                    .model_only = true,
                    .model = reader.model().to_json(),
                    .state = Json::object(),
                    .model_tensors = {},
                    .optimizer_tensors = {},
                    .files = {}};
  std::vector<ChunkDescription> chunks;
  for (const auto& [name, info] : reader.tensors()) {
    manifest.model_tensors[name] = {Dtype::kFloat32, info.shape};
    chunks.push_back({name, Dtype::kFloat32, whole(info.shape)});
  }
  PendingDirectory directory(files, target, {"model", "optim"});
  ShardWriter writer(files, directory.path(), Part::kModel, /*rank=*/0, chunks);
  std::vector<std::byte> converted;
  for (const SafetensorsEntry& entry : writer.entries()) {
    Dtype from = reader.tensors().at(entry.name).dtype;
    for_each_piece(reader, entry.name, 1, [&](std::span<const std::byte> piece) {
      converted.resize(piece.size() / byte_size(from) * sizeof(float));
      convert(from, piece, Dtype::kFloat32, converted);
      writer.append(converted);
    });
  }
  manifest.files.push_back(writer.finish());
  replace_file(files, directory.path() / kManifestName, to_text(manifest));
  directory.publish();
}

}  // namespace titan
