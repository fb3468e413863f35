#include "lib/metrics/event_file.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "lib/base/file.hpp"
#include "tests/unit/metrics/temporary_folder.hpp"

namespace titan {
namespace {

uint32_t unmasked(uint32_t masked) { return std::rotl(masked - 0xa282ead8u, 15); }

// RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32c, AgreesWithPublishedVectors) {
  EXPECT_EQ(unmasked(masked_crc32c("123456789")), 0xe3069283u);
  EXPECT_EQ(unmasked(masked_crc32c(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(unmasked(masked_crc32c(std::string(32, '\xff'))), 0x62a8ab43u);
  std::string ascending;
  for (char byte = 0; byte < 32; ++byte) ascending.push_back(byte);
  EXPECT_EQ(unmasked(masked_crc32c(ascending)), 0x46dd794eu);
  EXPECT_EQ(unmasked(masked_crc32c("")), 0u);
}

template <class Value>
Value read_at(const std::string& bytes, size_t offset) {
  Value value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::vector<std::string> payloads(const std::string& file) {
  std::vector<std::string> found;
  for (size_t at = 0; at < file.size();) {
    const auto length = read_at<uint64_t>(file, at);
    EXPECT_EQ(read_at<uint32_t>(file, at + 8), masked_crc32c(file.substr(at, 8)));
    const std::string payload = file.substr(at + 12, length);
    EXPECT_EQ(read_at<uint32_t>(file, at + 12 + length), masked_crc32c(payload));
    found.push_back(payload);
    at += 16 + length;
  }
  return found;
}

TEST(EventFile, IsAVersionRecordAndFramedEvents) {
  TemporaryFolder folder;
  EventFile file(folder / "tb/20260131-1200");
  const Scalar scalars[] = {{"lr", 0.5}, {"loss", -2}};
  file.add_scalars(300, 1.5, scalars);

  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "tb/20260131-1200")) {
    files.push_back(entry.path());
  }
  ASSERT_EQ(files.size(), 1u);
  EXPECT_TRUE(files[0].filename().string().starts_with("events.out.tfevents."));

  const std::vector<std::string> events = payloads(read_file(files[0]));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].substr(9),
            "\x1a\x0d"
            "brain.Event:2");
  const std::string expected(
      "\x09\0\0\0\0\0\0\xf8\x3f"             // wall_time 1.5
      "\x10\xac\x02"                         // step 300
      "\x2a\x18"                             // summary of 24 bytes
      "\x0a\x09\x0a\x02lr\x15\0\0\0\x3f"     // value: tag "lr", 0.5f
      "\x0a\x0b\x0a\x04loss\x15\0\0\0\xc0",  // value: tag "loss", -2f
      9 + 3 + 2 + 11 + 13);
  EXPECT_EQ(events[1], expected);
}

TEST(EventFile, HasItsOwnNameWithinAProcess) {
  TemporaryFolder folder;
  EventFile first(folder.path()), second(folder.path());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);
}

}  // namespace
}  // namespace titan
