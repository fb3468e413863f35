// Damaged job files end in a configuration or in an InputError, never in anything else.
#include <random>

#include "lib/base/file.hpp"
#include "lib/config/dump.hpp"
#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

TEST(Mutation, DamagedJobFilesNeverCrash) {
  const std::string source = read_file(TITAN_SOURCE_DIR "/configs/debug.toml") +
                             "[quantize.linear.float8]\nfilter_fqns = ['a', \"b\\u00e4\"]\n"
                             "[validation]\ndataloader = {num_workers = 1}\n"
                             "[parallelism]\nmodule_fqns_per_model_part = [[\"x\"], []]\n";
  const std::string pieces[] = {"[",
                                "]",
                                "{",
                                "}",
                                "\"",
                                "'''",
                                "\\u",
                                "=",
                                "\n",
                                "1e99",
                                "nan",
                                ".",
                                "[[",
                                "]]",
                                "\xff",
                                "\xc3",
                                "0x",
                                "-",
                                ",",
                                "True",
                                "#",
                                "1979-05-27T07:32:00Z",
                                std::string(1, '\0')};
  std::mt19937_64 random(11);
  int read = 0, refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = source;
    for (auto edits = 1 + random() % 4; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text.erase(at, 1 + random() % 20);
          break;
        case 1:
          text.insert(at, pieces[random() % std::size(pieces)]);
          break;
        case 2:
          text[at] = static_cast<char>(random());
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 60));
          break;
      }
      if (text.empty()) text = "x";
    }
    try {
      const JobConfig job = parse_toml(text);
      expect_equal(parse_toml(to_toml(job)), job);
      ++read;
    } catch (const InputError&) {
      ++refused;
    }
  }
  // Both ways out were really taken.
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1000);
}

TEST(Mutation, EveryPrefixOfAJobFile) {
  const std::string source = read_file(TITAN_SOURCE_DIR "/configs/debug.toml");
  for (std::size_t length = 0; length <= source.size(); ++length) {
    try {
      parse_toml(std::string_view(source).substr(0, length));
    } catch (const InputError&) {
    }
  }
}

TEST(Mutation, RandomArgumentsNeverCrash) {
  std::mt19937_64 random(12);
  const std::vector<std::string> pieces = {
      "--", "-",    "=",        "no_",        "true",       "None",    "[",      "1",
      "-1", "a,b",  "training", ".",          "steps",      "compile", "enable", "\xff",
      "",   "json", "dry_run",  "world_size", "converters", "model"};
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> arguments(random() % 4);
    for (std::string& argument : arguments) {
      for (auto parts = random() % 6; parts > 0; --parts)
        argument += pieces[random() % pieces.size()];
    }
    const std::vector<std::string_view> views(arguments.begin(), arguments.end());
    try {
      parse_command_line(views);
    } catch (const InputError& error) {
      EXPECT_STRNE(error.what(), "");
    }
  }
}

}  // namespace
}  // namespace titan::config
