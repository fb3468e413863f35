#include "lib/data/token_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan::data {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kLlmCMagic16 = 20240520;
constexpr int32_t kLlmCMagic32 = 20240801;
constexpr int64_t kLlmCHeader = 256 * sizeof(int32_t);
constexpr std::string_view kMegatronMagic{"MMIDIDX\0\0", 9};
constexpr int64_t kMegatronHeader = 34;

fs::path index_of(fs::path path) { return path.replace_extension(".idx"); }

// Fills the buffer from the offset; false when the file ends before it is full.
bool read_at(int descriptor, int64_t offset, std::span<char> out, const fs::path& path) {
  while (!out.empty()) {
    ssize_t count = ::pread(descriptor, out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error(concat("cannot read ", path.string(), ": ", std::strerror(errno)));
    if (count == 0) return false;
    out = out.subspan(static_cast<size_t>(count));
    offset += count;
  }
  return true;
}

template <class T>
T load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::optional<int32_t> first_word(const fs::path& path) {
  FileDescriptor file = open_for_reading(path);
  std::array<char, sizeof(int32_t)> bytes;
  if (!read_at(file.get(), 0, bytes, path)) return {};
  return load<int32_t>(bytes.data());
}

TokenRun llm_c_run(const SourceFile& file) {
  const std::string name = file.path.string();
  std::array<char, kLlmCHeader> header;
  if (!read_at(open_for_reading(file.path).get(), 0, header, file.path)) {
    throw InputError(
        concat(name, " is cut short: ", file.size, " bytes, the header alone takes ", kLlmCHeader));
  }
  auto word = [&](size_t index) { return load<int32_t>(header.data() + index * sizeof(int32_t)); };
  bool wide = word(0) == kLlmCMagic32;
  int32_t version = word(1), expected_version = wide ? 7 : 1;
  if (version != expected_version) {
    throw InputError(concat(name, ": llm.c token file with magic ", word(0), " and version ",
                            version, "; expected version ", expected_version));
  }
  TokenRun run{file.path, kLlmCHeader, word(2), wide ? TokenDtype::uint32 : TokenDtype::uint16};
  if (run.tokens < 0 || file.size != kLlmCHeader + run.tokens * size_of(run.dtype)) {
    throw InputError(concat(name, ": the header says ", run.tokens, " tokens of ",
                            size_of(run.dtype), " bytes, but ", file.size - kLlmCHeader,
                            " bytes follow it: cut short or corrupt"));
  }
  return run;
}

TokenRun headerless_run(const SourceFile& file, TokenDtype dtype) {
  if (file.size % size_of(dtype) != 0) {
    throw InputError(concat(file.path.string(), ": ", file.size, " bytes are no whole number of ",
                            size_of(dtype), "-byte ids (training.token_dtype)"));
  }
  return {file.path, 0, file.size / size_of(dtype), dtype};
}

// The lengths and offsets of a Megatron index, joined where sequences touch: usually one run.
std::vector<TokenRun> megatron_runs(const SourceFile& file) {
  const fs::path path = index_of(file.path);
  const std::string index = read_file(path);
  auto fail = [&](const auto&... what) { throw InputError(concat(path.string(), ": ", what...)); };

  const auto size = static_cast<int64_t>(index.size());
  if (size < kMegatronHeader || !index.starts_with(kMegatronMagic)) {
    fail("not a Megatron index: it does not start with MMIDIDX and a whole header");
  }
  if (auto version = load<uint64_t>(index.data() + 9); version != 1) {
    fail("index version ", version, "; expected 1");
  }
  int code = static_cast<uint8_t>(index[17]);
  if (code != 4 && code != 8) {
    fail("element type ", code, "; expected 4 (int32) or 8 (uint16)");
  }
  TokenDtype dtype = code == 8 ? TokenDtype::uint16 : TokenDtype::uint32;
  auto sequences = load<int64_t>(index.data() + 18), documents = load<int64_t>(index.data() + 26);
  int64_t room = size - kMegatronHeader;
  if (sequences < 0 || documents < 0 || sequences > room / 12 || documents > room / 8 ||
      room != sequences * 12 + documents * 8) {
    fail("the header says ", sequences, " sequences and ", documents, " documents, but ", size,
         " bytes do not hold those: cut short or corrupt");
  }

  const char* lengths = index.data() + kMegatronHeader;
  const char* offsets = lengths + sequences * 4;
  std::vector<TokenRun> runs;
  for (int64_t i = 0; i < sequences; ++i) {
    int64_t length = load<int32_t>(lengths + i * 4), offset = load<int64_t>(offsets + i * 8);
    if (length < 0 || offset < 0 || offset > file.size ||
        length * size_of(dtype) > file.size - offset) {
      fail("sequence ", i, " has ", length, " tokens at byte ", offset, ", which do not lie in ",
           file.path.string(), " (", file.size, " bytes)");
    }
    if (!runs.empty() && runs.back().offset + runs.back().tokens * size_of(dtype) == offset) {
      runs.back().tokens += length;
    } else {
      runs.push_back({file.path, offset, length, dtype});
    }
  }
  return runs;
}

}  // namespace

Format token_file_format(const fs::path& path) {
  if (fs::exists(index_of(path))) return Format::megatron;
  std::optional<int32_t> magic = first_word(path);
  return magic == kLlmCMagic16 || magic == kLlmCMagic32 ? Format::llm_c : Format::headerless;
}

std::vector<TokenRun> token_runs(const SourceFile& file, Format format,
                                 TokenDtype headerless_dtype) {
  if (format == Format::megatron) return megatron_runs(file);
  if (format == Format::llm_c) return {llm_c_run(file)};
  TITAN_CHECK(format == Format::headerless, file.path.string(), " is no token file");
  return {headerless_run(file, headerless_dtype)};
}

TokenStream::TokenStream(std::vector<TokenRun> runs, int64_t vocab_size)
    : runs_(std::move(runs)), vocab_size_(vocab_size) {
  for (const TokenRun& run : runs_) ends_.push_back(total_ += run.tokens);
}

void TokenStream::read(int64_t begin, std::span<int32_t> out) {
  TITAN_CHECK(begin >= 0 && begin + static_cast<int64_t>(out.size()) <= total_, "tokens ", begin,
              " + ", out.size(), " lie outside the stream of ", total_);
  auto run =
      static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
  while (!out.empty()) {
    int64_t start = ends_[run] - runs_[run].tokens;
    auto count = std::min(out.size(), static_cast<size_t>(ends_[run] - begin));
    if (count > 0) read_run(run, begin - start, out.first(count));
    out = out.subspan(count);
    begin += static_cast<int64_t>(count);
    ++run;
  }
}

// begin: in tokens of the run.
void TokenStream::read_run(size_t index, int64_t begin, std::span<int32_t> out) {
  const TokenRun& run = runs_[index];
  if (open_path_ != run.path) {
    open_path_.reset();
    file_ = open_for_reading(run.path);
    open_path_ = run.path;
  }
  bytes_.resize(out.size() * static_cast<size_t>(size_of(run.dtype)));
  if (!read_at(file_.get(), run.offset + begin * size_of(run.dtype), bytes_, run.path)) {
    throw Error(concat(run.path.string(), " has become shorter while it was in use"));
  }
  if (run.dtype == TokenDtype::uint16) {
    widen<uint16_t>(index, begin, out);
  } else {
    widen<uint32_t>(index, begin, out);
  }
}

template <class Element>
void TokenStream::widen(size_t index, int64_t begin, std::span<int32_t> out) const {
  uint32_t highest = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t id = load<Element>(bytes_.data() + i * sizeof(Element));
    highest = std::max(highest, id);
    out[i] = static_cast<int32_t>(id);
  }
  if (highest < vocab_size_) return;

  const TokenRun& run = runs_[index];
  auto bad = std::find_if(out.begin(), out.end(), [&](int32_t id) {
    return static_cast<uint32_t>(id) >= static_cast<uint64_t>(vocab_size_);
  });
  throw InputError(
      concat(run.path.string(), " holds the id ", static_cast<uint32_t>(*bad), " at byte ",
             run.offset + (begin + (bad - out.begin())) * static_cast<int64_t>(sizeof(Element)),
             ", but the model's vocabulary has ", vocab_size_,
             " ids: the file was written with another tokenizer, or its ids are not of ",
             sizeof(Element), " bytes (training.token_dtype for files without a header)"));
}

}  // namespace titan::data
