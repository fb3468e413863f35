// What the tests of lib/data share: a scratch folder, files in every format, a byte tokenizer, and
// a naive packer that says what the batches must be.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/data_loader.hpp"
#include "lib/data/tokenizer.hpp"

namespace titan::data {

using Ids = std::vector<int32_t>;

class ScratchFolder {
 public:
  ScratchFolder() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() /
            concat("titan_data_test.", ::getpid(), ".", count++);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::string write(const std::string& name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
    return (path_ / name).string();
  }

 private:
  std::filesystem::path path_;
};

inline constexpr int32_t kBos = 256, kEos = 257;

// An id per byte, BOS and EOS around each document.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::string fingerprint = "bytes", int64_t vocab_size = 258) {
    properties_ = {.vocab_size = vocab_size,
                   .bos_id = kBos,
                   .eos_id = kEos,
                   .document_prefix = {kBos},
                   .document_suffix = {kEos},
                   .fingerprint = std::move(fingerprint)};
  }
  void encode(std::string_view text, Ids& out) const override {
    ++documents_encoded;
    for (char c : text) out.push_back(static_cast<unsigned char>(c));
  }
  std::string decode(std::span<const int32_t> ids) const override {
    return {ids.begin(), ids.end()};
  }
  mutable std::atomic<int> documents_encoded = 0;
};

inline std::string gzip(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zstd(const std::string& content) {
  std::string out(ZSTD_compressBound(content.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the zstd program does
  out.resize(ZSTD_compress2(context, out.data(), out.size(), content.data(), content.size()));
  ZSTD_freeCCtx(context);
  return out;
}

inline std::string json_line(const std::string& text) {
  return nlohmann::json{{"text", text}, {"url", "https://example.org"}}.dump() + "\n";
}

inline std::string json_lines(const std::vector<std::string>& documents) {
  std::string out;
  for (const std::string& document : documents) out += json_line(document);
  return out;
}

// Letters only, so that any text is valid UTF-8; lengths from none to `longest`.
inline std::vector<std::string> random_documents(std::mt19937& random, int count, int longest) {
  std::vector<std::string> documents;
  for (int i = 0; i < count; ++i) {
    std::string document(random() % (longest + 1), 'a');
    for (char& c : document) c = static_cast<char>('a' + random() % 26);
    documents.push_back(document);
  }
  return documents;
}

inline Ids tokens_of(const std::vector<std::string>& documents) {
  Ids tokens;
  for (const std::string& document : documents) {
    tokens.push_back(kBos);
    for (char c : document) tokens.push_back(static_cast<unsigned char>(c));
    tokens.push_back(kEos);
  }
  return tokens;
}

// A loader whose sequences are easy to compare: small, byte vocabulary, cache in the scratch
// folder.
inline DataConfig config_for(const ScratchFolder& folder, const std::string& path) {
  DataConfig config;
  config.dataset = "c4";
  config.dataset_path = path;
  config.seq_len = 8;
  config.local_batch_size = 2;
  config.token_cache = folder / "cache";
  config.vocab_size = 258;
  return config;
}

inline std::shared_ptr<ByteTokenizer> byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

// Rows as sequences of seq_len + 1 tokens; rows without labels are left out.
inline void append_rows(const Batch& batch, int64_t seq_len, std::vector<Ids>& out) {
  for (size_t begin = 0; begin < batch.inputs.size(); begin += static_cast<size_t>(seq_len)) {
    if (batch.labels[begin] == -100) continue;
    Ids row(batch.inputs.begin() + static_cast<int64_t>(begin),
            batch.inputs.begin() + static_cast<int64_t>(begin) + seq_len);
    for (int64_t i = 1; i < seq_len; ++i) {
      EXPECT_EQ(row[static_cast<size_t>(i)], batch.labels[begin + static_cast<size_t>(i) - 1]);
    }
    row.push_back(batch.labels[begin + static_cast<size_t>(seq_len) - 1]);
    out.push_back(row);
  }
}

inline std::vector<Ids> take(DataLoader& loader, int64_t seq_len, int64_t batches) {
  std::vector<Ids> rows;
  Batch batch;
  for (int64_t i = 0; i < batches && loader.next(batch); ++i) append_rows(batch, seq_len, rows);
  return rows;
}

// The first `count` sequences of tokens that repeat for ever, one token at a time.
inline std::vector<Ids> naive_sequences(const Ids& tokens, int64_t seq_len, size_t count) {
  std::vector<Ids> sequences;
  Ids current;
  for (size_t i = 0; sequences.size() < count; i = (i + 1) % tokens.size()) {
    current.push_back(tokens[i]);
    if (static_cast<int64_t>(current.size()) == seq_len + 1) {
      sequences.push_back(current);
      current.clear();
    }
  }
  return sequences;
}

// The message of the InputError that the action throws.
template <class Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "expected InputError, got: " << error.what();
    return "";
  }
  ADD_FAILURE() << "expected InputError, got none";
  return "";
}

}  // namespace titan::data
