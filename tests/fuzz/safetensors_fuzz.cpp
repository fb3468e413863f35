// libFuzzer: any bytes as a safetensors file end in a header whose tensors fill the file exactly,
// or in an InputError; what was accepted is written again to a file of the same tensors.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "lib/base/error.hpp"
#include "lib/checkpoint/safetensors.hpp"

namespace {

using namespace titan;

void require(bool condition) {
  if (!condition) __builtin_trap();
}

SafetensorsHeader rewritten(const SafetensorsHeader& header, std::span<const std::byte> file) {
  static const std::filesystem::path path =
      std::filesystem::temp_directory_path() / concat("safetensors_fuzz.", ::getpid());
  SafetensorsWriter writer(FileSystem::posix(), path, header.entries, header.metadata);
  for (const SafetensorsEntry& entry : writer.entries()) {
    for (const SafetensorsEntry& source : header.entries) {
      if (source.name == entry.name)
        writer.append(file.subspan(source.begin, source.end - source.begin));
    }
  }
  writer.finish();
  return SafetensorsReader(path).header();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span file = std::as_bytes(std::span(data, size));
  SafetensorsHeader header;
  try {
    header = parse_safetensors_header(file, size, "fuzz");
  } catch (const InputError&) {
    return 0;
  }
  if (header.entries.empty()) return 0;
  uint64_t position = header.entries.front().begin;
  for (const SafetensorsEntry& entry : header.entries) {
    require(entry.begin == position);
    require(entry.end - entry.begin ==
            static_cast<uint64_t>(volume(entry.shape)) * byte_size(entry.dtype));
    position = entry.end;
  }
  require(position == size);

  SafetensorsHeader again = rewritten(header, file);
  require(again.metadata == header.metadata && again.entries.size() == header.entries.size());
  return 0;
}
