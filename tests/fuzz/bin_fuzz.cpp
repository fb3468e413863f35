// libFuzzer: any bytes as a token file, with an index beside it or without, end in runs of ids that
// can all be read, or in an InputError. The first two bytes: element type of headerless files, size
// of the index (0: none) in units of two bytes.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/token_files.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace titan::data;
  if (size < 3) return 0;
  static const std::filesystem::path folder = [] {
    auto path = std::filesystem::temp_directory_path() / titan::concat("bin_fuzz.", ::getpid());
    std::filesystem::create_directories(path);
    return path;
  }();
  auto dtype = data[0] % 2 == 0 ? titan::TokenDtype::uint16 : titan::TokenDtype::uint32;
  size_t index_size = std::min<size_t>(data[1] * size_t{2}, size - 2);
  auto write = [&](const char* name, const std::uint8_t* bytes, size_t count) {
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(count));
  };
  std::filesystem::remove(folder / "a.idx");
  if (index_size > 0) write("a.idx", data + 2, index_size);
  write("a.bin", data + 2 + index_size, size - 2 - index_size);

  try {
    SourceFile file = look_at(folder / "a.bin");
    TokenStream stream(token_runs(file, token_file_format(file.path), dtype), 1 << 20);
    // Overlapping sequences of an index may name more ids than the file has: a part is enough.
    std::vector<int32_t> ids(static_cast<size_t>(std::min<int64_t>(stream.size(), 1 << 16)));
    stream.read(0, ids);
    stream.read(stream.size() - static_cast<int64_t>(ids.size()), ids);
  } catch (const titan::InputError&) {
  }
  return 0;
}
