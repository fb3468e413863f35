// tokenize_tool FOLDER: loads the tokenizer and answers texts on stdin with ids on stdout, for the
// oracle tests. Numbers are 32-bit, little-endian. In: byte count, text; repeated. Out: id count,
// ids; repeated; before the first the header: vocabulary size, count and ids of the document
// prefix, and of the suffix. At the end stderr gets "bytes seconds": the texts' size and the
// processor time inside encode().
//
// tokenize_tool --newer: the code points that the regular expressions' Unicode tables do not know,
// as "first last" lines in hexadecimal, behind a line with the tables' version.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <unicode/uchar.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/tokenizer.hpp"

namespace {

void write_ids(std::FILE* out, std::span<const int32_t> ids) {
  uint32_t count = static_cast<uint32_t>(ids.size());
  std::fwrite(&count, sizeof count, 1, out);
  std::fwrite(ids.data(), sizeof(int32_t), ids.size(), out);
}

double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int run(const char* folder) {
  // The log writes to stdout, where the ids go: keep the descriptor and send the log to stderr.
  std::FILE* out = ::fdopen(::dup(STDOUT_FILENO), "wb");
  ::dup2(STDERR_FILENO, STDOUT_FILENO);

  auto tokenizer = titan::load_tokenizer(folder);
  uint32_t vocab_size = static_cast<uint32_t>(tokenizer->vocab_size());
  std::fwrite(&vocab_size, sizeof vocab_size, 1, out);
  write_ids(out, tokenizer->document_prefix());
  write_ids(out, tokenizer->document_suffix());

  uint32_t bytes = 0;
  size_t total = 0;
  double spent = 0;
  std::string text;
  std::vector<int32_t> ids;
  while (std::fread(&bytes, sizeof bytes, 1, stdin) == 1) {
    text.resize(bytes);
    if (std::fread(text.data(), 1, bytes, stdin) != bytes) {
      std::fprintf(stderr, "stdin ends inside a text\n");
      return 1;
    }
    ids.clear();
    double start = thread_seconds();
    tokenizer->encode(text, ids);
    spent += thread_seconds() - start;
    total += bytes;
    write_ids(out, ids);
  }
  std::fclose(out);
  std::fprintf(stderr, "%zu %.6f\n", total, spent);
  return 0;
}

int print_newer_code_points() {
  char version[24] = {};
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
  std::printf("%s\n", version);
  UVersionInfo known;
  u_versionFromString(known, version);
  UChar32 first = -1;
  for (UChar32 c = 0; c <= UCHAR_MAX_VALUE + 1; ++c) {
    UVersionInfo age = {};
    if (c <= UCHAR_MAX_VALUE) u_charAge(c, age);
    // Age 0.0 is not assigned in ICU's tables either.
    bool newer = c <= UCHAR_MAX_VALUE && (age[0] == 0 || age[0] > known[0]);
    if (newer && first < 0) first = c;
    if (newer || first < 0) continue;
    std::printf("%x %x\n", static_cast<unsigned>(first), static_cast<unsigned>(c - 1));
    first = -1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--newer") == 0) return print_newer_code_points();
  if (argc != 2) {
    std::fprintf(stderr, "usage: tokenize_tool FOLDER <texts >ids | tokenize_tool --newer\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const titan::InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
