#include "lib/checkpoint/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan {
namespace {

using test::file_text;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

// Size, JSON and that many bytes of data.
std::string make_file(const std::string& json, size_t data_bytes) {
  std::string size(8, '\0');
  for (size_t i = 0; i < 8; ++i) size[i] = static_cast<char>(json.size() >> (8 * i));
  return size + json + std::string(data_bytes, 'x');
}

std::string problem(const std::string& file) {
  try {
    parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "a.safetensors");
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a.safetensors"));
    return error.what();
  }
  return "none";
}

TEST(Safetensors, WritesWhatItReads) {
  TemporaryDirectory directory;
  std::filesystem::path path = directory.path() / "t.safetensors";
  std::vector<SafetensorsEntry> entries = {{"byte", Dtype::kUint8, {3}},
                                           {"b.matrix", Dtype::kFloat32, {2, 3}},
                                           {"a.double", Dtype::kFloat64, {}},
                                           {"empty", Dtype::kFloat32, {0, 4}},
                                           {"quote\"\u00e9", Dtype::kBfloat16, {1}}};
  SafetensorsWriter writer(FileSystem::posix(), path, entries, {{"format", "pt"}});
  std::string data;
  for (int i = 0; i < 8 + 24 + 0 + 2 + 3; ++i) data.push_back(static_cast<char>(i));
  for (char& byte : data) writer.append(std::as_bytes(std::span(&byte, 1)));
  EXPECT_EQ(writer.finish(), std::filesystem::file_size(path));

  SafetensorsReader reader(path);
  EXPECT_EQ(reader.header().metadata.at("format"), "pt");
  ASSERT_EQ(reader.header().entries.size(), 5u);
  // Falling size of the elements, then name; aligned to them.
  uint64_t position = reader.header().entries.front().begin;
  EXPECT_EQ(position % 8, 0u);
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : reader.header().entries) names.push_back(entry.name);
  EXPECT_THAT(names,
              ::testing::ElementsAre("a.double", "b.matrix", "empty", "quote\"\u00e9", "byte"));
  const SafetensorsEntry* matrix = reader.find("b.matrix");
  EXPECT_EQ(matrix->shape, (Shape{2, 3}));
  std::string read(24, ' ');
  reader.read(matrix->begin, std::as_writable_bytes(std::span(read)));
  EXPECT_EQ(read, data.substr(8, 24));
  EXPECT_EQ(reader.find("none"), nullptr);
}

TEST(Safetensors, WriterCountsItsBytes) {
  TemporaryDirectory directory;
  SafetensorsWriter writer(FileSystem::posix(), directory.path() / "t", {{"a", Dtype::kUint8, {4}}},
                           {});
  std::vector<std::byte> three(3);
  writer.append(three);
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(writer.append(three), Error);
}

TEST(Safetensors, WriterRefusesTwiceTheSameName) {
  TemporaryDirectory directory;
  std::vector<SafetensorsEntry> twice = {{"a", Dtype::kUint8, {1}}, {"a", Dtype::kUint8, {1}}};
  EXPECT_THROW(SafetensorsWriter(FileSystem::posix(), directory.path() / "t", twice, {}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(problem(make_file("{}", 0)), "none");
  EXPECT_EQ(problem(make_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   )", 2)),
            "none");
  EXPECT_EQ(problem(make_file(R"({"a":{"data_offsets":[2,2],"dtype":"F32","shape":[0]},)"
                              R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                              2)),
            "none");
}

TEST(Safetensors, RefusesEveryMalformedField) {
  auto tensor = [](const std::string& fields, size_t data = 4) {
    return problem(make_file("{\"a\":{" + fields + "}}", data));
  };
  EXPECT_EQ(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "none");
  EXPECT_THAT(tensor(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"), HasSubstr("F31"));
  EXPECT_THAT(tensor(R"("dtype":7,"shape":[1],"data_offsets":[0,4])"), HasSubstr("dtype"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1])"), HasSubstr("data_offsets"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1)"),
              HasSubstr("exactly"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), HasSubstr("sizes"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), HasSubstr("sizes"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), HasSubstr("sizes"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])"),
              HasSubstr("sizes"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"),
              HasSubstr("another number"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), HasSubstr("do not lie"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), HasSubstr("do not lie"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,4])"),
              HasSubstr("do not lie"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"),
              HasSubstr("another number"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", 5),
              HasSubstr("belong to no tensor"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[1,5])", 5), HasSubstr("hole"));
}

TEST(Safetensors, RefusesMalformedFiles) {
  EXPECT_THAT(problem(""), HasSubstr("only 0 bytes"));
  EXPECT_THAT(problem("1234567"), HasSubstr("only 7 bytes"));
  EXPECT_THAT(problem(std::string(7, '\xff') + "\x7f"), HasSubstr("above 100 MB"));
  EXPECT_THAT(problem(make_file("{}", 0).substr(0, 9)), HasSubstr("beyond"));
  EXPECT_THAT(problem(make_file("[]", 0)), HasSubstr("start with {"));
  EXPECT_THAT(problem(make_file("{\"a\":", 0)), HasSubstr("not JSON"));
  EXPECT_THAT(problem(make_file("{\"\xff\":1}", 0)), HasSubstr("not JSON"));
  EXPECT_THAT(problem(make_file("{\"a\":3}", 0)), HasSubstr("exactly"));
  EXPECT_THAT(problem(make_file(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("not a string"));
  EXPECT_THAT(problem(make_file(R"({"__metadata__":[]})", 0)), HasSubstr("not an object"));
  EXPECT_THAT(problem(make_file("{\"a\":" + std::string(100000, '[') + "}", 0)),
              HasSubstr("nested"));
}

TEST(Safetensors, RefusesDuplicatesAndOverlaps) {
  std::string one = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  EXPECT_THAT(problem(make_file("{" + one + "," + one + "}", 2)), HasSubstr("twice"));
  EXPECT_THAT(problem(make_file(R"({"__metadata__":{"k":"1","k":"2"}})", 0)), HasSubstr("twice"));
  std::string other = R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]})";
  EXPECT_THAT(problem(make_file("{" + one + "," + other + "}", 3)), HasSubstr("overlaps"));
}

TEST(Safetensors, MissingFileIsNamed) {
  EXPECT_THROW(SafetensorsReader("/nowhere/x.safetensors"), InputError);
  TemporaryDirectory directory;
  EXPECT_THROW(SafetensorsReader{directory.path()}, InputError);
}

}  // namespace
}  // namespace titan
