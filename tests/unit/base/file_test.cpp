#include "lib/base/file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "lib/base/error.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() : folder_(fs::temp_directory_path() / concat("titan_base_test.", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~FileTest() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_))
      found.push_back(entry.path().filename());
    return found;
  }

  fs::path folder_;
};

template <class Exception, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "did not throw";
  return "";
}

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) != -1; }

TEST_F(FileTest, ReadsBackEveryByte) {
  std::string content(200'000, '\0');  // several buffers, and bytes of every value
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  write_file_atomically(folder_ / "f", content);
  EXPECT_EQ(read_file(folder_ / "f"), content);
  write_file_atomically(folder_ / "f", "");
  EXPECT_EQ(read_file(folder_ / "f"), "");
}

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNothingBeside) {
  write_file_atomically(folder_ / "f", "old");
  write_file_atomically(folder_ / "f", "new");
  EXPECT_EQ(read_file(folder_ / "f"), "new");
  EXPECT_THAT(names(), ElementsAre("f"));
}

TEST_F(FileTest, AtomicWriteTakesAPathWithoutAFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file_atomically("f", "here");
  fs::current_path(before);
  EXPECT_EQ(read_file(folder_ / "f"), "here");
}

// The kernel refuses bytes beyond the limit, as on a full disk.
TEST_F(FileTest, AFailedAtomicWriteKeepsTheOldContent) {
  write_file_atomically(folder_ / "f", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message =
      message_of<Error>([&] { write_file_atomically(folder_ / "f", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);

  EXPECT_THAT(message, AllOf(HasSubstr("cannot write"), HasSubstr((folder_ / "f").string()),
                             HasSubstr("File too large")));
  EXPECT_EQ(read_file(folder_ / "f"), "old");
  EXPECT_THAT(names(), ElementsAre("f"));
}

TEST_F(FileTest, AtomicWriteIntoNoFolderNamesThePath) {
  EXPECT_THAT(message_of<Error>([&] { write_file_atomically(folder_ / "none" / "f", "x"); }),
              AllOf(HasSubstr((folder_ / "none" / "f").string()), HasSubstr("No such file")));
}

TEST_F(FileTest, AMissingFileIsAnInputErrorWithPathAndReason) {
  for (const auto& action : {+[](const fs::path& path) { read_file(path); },
                             +[](const fs::path& path) { open_for_reading(path); }}) {
    EXPECT_THAT(message_of<InputError>([&] { action(folder_ / "none"); }),
                AllOf(HasSubstr((folder_ / "none").string()), HasSubstr("No such file")));
  }
  EXPECT_THAT(message_of<InputError>([&] { read_file(folder_); }), HasSubstr("Is a directory"));
}

TEST_F(FileTest, DescriptorsCloseOnceAndMove) {
  int raw = -1;
  {
    FileDescriptor file = create_for_writing(folder_ / "f");
    raw = file.get();
    FileDescriptor moved = std::move(file);
    EXPECT_EQ(file.get(), -1);  // NOLINT(bugprone-use-after-move): the defined empty state
    EXPECT_EQ(moved.get(), raw);
    FileDescriptor other = create_for_writing(folder_ / "g");
    const int others = other.get();
    other = std::move(moved);
    EXPECT_FALSE(is_open(others));
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));

  FileDescriptor file = create_for_writing(folder_ / "f");
  raw = file.get();
  file.close(folder_ / "f");
  EXPECT_FALSE(is_open(raw));
  EXPECT_NO_THROW(file.close(folder_ / "f"));  // empty: nothing to do
}

TEST_F(FileTest, ClosingReportsWhatTheKernelReports) {
  FileDescriptor file = create_for_writing(folder_ / "f");
  ::close(file.get());  // behind its back, so that close() fails with EBADF
  EXPECT_THAT(message_of<Error>([&] { file.close(folder_ / "f"); }),
              AllOf(HasSubstr((folder_ / "f").string()), HasSubstr("Bad file descriptor")));
}

}  // namespace
}  // namespace titan
