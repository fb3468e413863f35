// Token files, and random access to all of them as one stream of ids.
//
//   llm.c       256 x i32 header (magic, version, count); 20240520 version 1: u16, 20240801 version
//   7: u32 Megatron    ids in .bin; .idx beside it: "MMIDIDX\0\0", u64 1, u8 element type (4: i32,
//   8: u16), u64
//               sequences n, u64 documents m, i32 lengths[n], i64 byte offsets[n], i64
//               documents[m]; the sequences follow each other in index order
//   headerless  ids from the first byte, element type by training.token_dtype
// All little-endian. No id is added: BOS and EOS are as whoever wrote the file put them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/file.hpp"
#include "lib/data/data_loader.hpp"
#include "lib/data/source.hpp"

namespace titan::data {

// Ids that lie side by side in a file. Megatron's i32 is read as uint32.
struct TokenRun {
  std::filesystem::path path;
  int64_t offset = 0;  // bytes
  int64_t tokens = 0;
  TokenDtype dtype = TokenDtype::uint16;
};

inline int64_t size_of(TokenDtype dtype) { return dtype == TokenDtype::uint16 ? 2 : 4; }

// Which of the three a .bin file is.
Format token_file_format(const std::filesystem::path& path);

// Reads the header, or the index beside the file, and checks it against the file's size. Throws
// InputError that names the file and what is inconsistent.
std::vector<TokenRun> token_runs(const SourceFile& file, Format format,
                                 TokenDtype headerless_dtype);

// The runs of all files one after the other. Not safe for several threads: it keeps a file open.
// Reads with pread and not through a memory map, so that a file which is cut short or sits on a
// failing disk ends in a message and not in a SIGBUS.
class TokenStream {
 public:
  TokenStream(std::vector<TokenRun> runs, int64_t vocab_size);

  int64_t size() const { return total_; }  // tokens

  // The ids [begin, begin + out.size()), which must lie in the stream. Throws InputError when an id
  // does not lie below vocab_size, Error when the file cannot be read.
  void read(int64_t begin, std::span<int32_t> out);

 private:
  void read_run(size_t run, int64_t begin, std::span<int32_t> out);
  template <class Element>
  void widen(size_t run, int64_t begin, std::span<int32_t> out) const;

  std::vector<TokenRun> runs_;
  std::vector<int64_t> ends_;  // of each run, in tokens of the stream
  int64_t total_ = 0;
  int64_t vocab_size_;
  FileDescriptor file_;
  std::optional<std::filesystem::path> open_path_;
  std::vector<char> bytes_;
};

}  // namespace titan::data
