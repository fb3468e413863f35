#include "lib/metrics/event_file.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <ctime>
#include <string>

namespace titan {
namespace {

constexpr std::array<uint32_t, 256> crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrc32cTable = crc32c_table();

template <class Unsigned>
void put_little_endian(std::string& out, Unsigned value) {
  for (size_t byte = 0; byte < sizeof value; ++byte) {
    out.push_back(static_cast<char>(value >> (8 * byte)));
  }
}

// Protocol buffer wire format: a key is the field's number and its wire type.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, uint64_t field, WireType type) {
  put_varint(out, field << 3 | type);
}

void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

void put_double(std::string& out, uint64_t field, double value) {
  put_key(out, field, kFixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(value));
}

void put_float(std::string& out, uint64_t field, float value) {
  put_key(out, field, kFixed32);
  put_little_endian(out, std::bit_cast<uint32_t>(value));
}

void put_integer(std::string& out, uint64_t field, int64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}

std::string version_event(double unix_seconds) {
  std::string event;
  put_double(event, 1, unix_seconds);    // Event.wall_time
  put_bytes(event, 3, "brain.Event:2");  // Event.file_version
  return event;
}

std::string scalar_event(int64_t step, double unix_seconds, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    put_bytes(value, 1, scalar.tag);                        // Summary.Value.tag
    put_float(value, 2, static_cast<float>(scalar.value));  // Summary.Value.simple_value
    put_bytes(summary, 1, value);                           // Summary.value
  }
  std::string event;
  put_double(event, 1, unix_seconds);  // Event.wall_time
  put_integer(event, 2, step);         // Event.step
  put_bytes(event, 5, summary);        // Event.summary
  return event;
}

std::string frame(std::string_view payload) {
  std::string record;
  put_little_endian(record, static_cast<uint64_t>(payload.size()));
  put_little_endian(record, masked_crc32c(record));
  record += payload;
  put_little_endian(record, masked_crc32c(payload));
  return record;
}

// events.out.tfevents.<seconds>.<host>.<process>.<number in process>, as TensorBoard's own writer.
std::string unique_file_name() {
  static std::atomic<int> files_made{0};
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  std::string seconds = std::to_string(static_cast<long long>(std::time(nullptr)));
  return "events.out.tfevents." + seconds + "." + host + "." + std::to_string(::getpid()) + "." +
         std::to_string(files_made++);
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (char byte : bytes)
    crc = (crc >> 8) ^ kCrc32cTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& folder) : file_(folder / unique_file_name()) {
  file_.append(frame(version_event(static_cast<double>(std::time(nullptr)))));
}

void EventFile::add_scalars(int64_t step, double unix_seconds, std::span<const Scalar> scalars) {
  file_.append(frame(scalar_event(step, unix_seconds, scalars)));
}

}  // namespace titan
