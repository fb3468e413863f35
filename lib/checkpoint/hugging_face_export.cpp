#include <cstdio>
#include <cstring>
#include <system_error>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/json_fields.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

uint64_t stored_bytes(const LlamaTensor& tensor, Dtype dtype) {
  return static_cast<uint64_t>(volume(tensor.shape)) * byte_size(dtype);
}

// Fills files in the model's order; a file ends before the tensor that would make it too large.
std::vector<std::vector<LlamaTensor>> split(const std::vector<LlamaTensor>& tensors,
                                            const HuggingFaceOptions& options) {
  std::vector<std::vector<LlamaTensor>> shards;
  uint64_t filled = 0;
  for (const LlamaTensor& tensor : tensors) {
    uint64_t bytes = stored_bytes(tensor, options.dtype);
    if (shards.empty() || filled + bytes > options.max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += bytes;
  }
  return shards;
}

// Whole heads of rows, from our order to Hugging Face's.
void permute_rows(std::span<const std::byte> in, int64_t head_rows, size_t row_bytes,
                  std::vector<std::byte>& out) {
  out.resize(in.size());
  for (int64_t row = 0; row < static_cast<int64_t>(in.size() / row_bytes); ++row) {
    std::memcpy(out.data() + hugging_face_row(row, head_rows) * row_bytes,
                in.data() + row * row_bytes, row_bytes);
  }
}

uint64_t write_shard_file(FileSystem& files, const TensorSource& source, const fs::path& path,
                          const std::vector<LlamaTensor>& tensors, Dtype dtype) {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, const LlamaTensor*> by_name;
  for (const LlamaTensor& tensor : tensors) {
    entries.push_back({.name = tensor.hugging_face, .dtype = dtype, .shape = tensor.shape});
    by_name.emplace(tensor.hugging_face, &tensor);
  }
  SafetensorsWriter writer(files, path, std::move(entries), {{"format", "pt"}});
  std::vector<std::byte> permuted;
  std::vector<std::byte> converted;
  for (const SafetensorsEntry& entry : writer.entries()) {
    const LlamaTensor& tensor = *by_name.at(entry.name);
    Dtype from = source.tensors().at(tensor.name).dtype;
    size_t row_bytes = volume(tensor.shape) / tensor.shape[0] * byte_size(from);
    for_each_piece(source, tensor.name, std::max<int64_t>(1, tensor.head_rows),
                   [&](std::span<const std::byte> piece) {
                     if (tensor.head_rows > 0) {
                       permute_rows(piece, tensor.head_rows, row_bytes, permuted);
                       piece = permuted;
                     }
                     converted.resize(piece.size() / byte_size(from) * byte_size(dtype));
                     convert(from, piece, dtype, converted);
                     writer.append(converted);
                   });
  }
  return writer.finish();
}

void require_float_weights(const TensorTable& tensors) {
  for (const auto& [name, info] : tensors) {
    if (info.dtype != Dtype::kFloat32 && info.dtype != Dtype::kBfloat16 &&
        info.dtype != Dtype::kFloat16) {
      throw InputError(concat(name, " is stored as ", safetensors_name(info.dtype),
                              "; weights in F32, BF16 or F16 can be exported"));
    }
  }
}

void copy_tokenizer(FileSystem& files, const fs::path& from, const fs::path& to) {
  size_t copied = 0;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja"}) {
    std::error_code error;
    if (!fs::exists(from / name, error)) continue;
    write_file(files, to / name, read_file(from / name));
    ++copied;
  }
  if (copied == 0) throw InputError(concat("there are no tokenizer files in ", from.string()));
}

}  // namespace

uint64_t export_hugging_face(FileSystem& files, const TensorSource& source,
                             const ModelDescription& model, const fs::path& directory,
                             const HuggingFaceOptions& options) {
  Json config = model.to_hugging_face(std::string(option_name(options.dtype)));
  std::vector<LlamaTensor> tensors = llama_tensors(model);
  TensorTable expected;
  uint64_t total_size = 0;
  for (const LlamaTensor& tensor : tensors) {
    expected[tensor.name] = {Dtype::kFloat32, tensor.shape};
    total_size += stored_bytes(tensor, options.dtype);
  }
  require_tensors(expected, source.tensors(), /*compare_dtypes=*/false, "the checkpoint");
  require_float_weights(source.tensors());

  std::vector<std::vector<LlamaTensor>> shards = split(tensors, options);
  auto file_name = [&](size_t i) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    return std::string(name);
  };
  uint64_t written = 0;
  for (size_t i = options.part; i < shards.size(); i += options.parts) {
    written += write_shard_file(files, source, directory / file_name(i), shards[i], options.dtype);
  }
  if (options.part == 0) {
    Json weight_map = Json::object();
    for (size_t i = 0; i < shards.size(); ++i) {
      for (const LlamaTensor& tensor : shards[i]) weight_map[tensor.hugging_face] = file_name(i);
    }
    Json index = {{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}};
    write_file(files, directory / "model.safetensors.index.json", index.dump(2) + "\n");
    write_file(files, directory / "config.json", config.dump(2) + "\n");
    Json generation = {{"_from_model_config", true},
                       {"bos_token_id", config["bos_token_id"]},
                       {"eos_token_id", config["eos_token_id"]}};
    write_file(files, directory / "generation_config.json", generation.dump(2) + "\n");
    if (!options.tokenizer_folder.empty()) {
      copy_tokenizer(files, options.tokenizer_folder, directory);
    }
  }
  files.sync_directory(directory);
  return written;
}

}  // namespace titan
