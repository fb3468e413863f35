// A dump reads back to the configuration it was made from.
#include "lib/config/dump.hpp"

#include <nlohmann/json.hpp>
#include <random>

#include "lib/config/value.hpp"
#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Random = std::mt19937_64;

std::string random_text(Random& random) {
  static const std::string pieces[] = {"a",    "/x y", "\"", "\\",   "\n", "\t",
                                       "#",    "[",    "ä",  "日本", "\r", "'",
                                       "\x01", "\x7f", "=",  ".",    ",",  "🙂"};
  std::string text;
  for (auto length = random() % 6; length > 0; --length)
    text += pieces[random() % std::size(pieces)];
  return text;
}

double random_number(const Range& range, Random& random) {
  const double low = std::max(range.low, -1e3), high = std::min(range.high, 1e3);
  const double number = low + (high - low) * std::generate_canonical<double, 53>(random);
  return random() % 4 == 0 ? number * 1e-9 + (range.low > 0 ? range.low : 0) : number;
}

// A random allowed value that is spelt as the option is: list elements and strings from anything.
Value random_value(const Option& option, Random& random) {
  if (option.optional && random() % 4 == 0) return None{};
  const auto word = [&] {
    return option.words.empty() ? random_text(random)
                                : std::string(option.words[random() % option.words.size()]);
  };
  const auto list = [&] {
    Strings strings;
    for (auto length = random() % 4; length > 0; --length) strings.push_back(word());
    return strings;
  };
  switch (option.type) {
    case Type::kBool:
      return random() % 2 == 0;
    case Type::kInt: {
      const auto low = static_cast<std::int64_t>(std::max(option.range.low, -1e15));
      return low + static_cast<std::int64_t>(random() % 2'000'000'000'000'000);
    }
    case Type::kFloat:
      return random_number(option.range, random);
    case Type::kString:
      return word();
    case Type::kList:
      return list();
    case Type::kListOfLists:
      return std::vector<Strings>{list(), list()};
  }
  return None{};
}

JobConfig random_job(Random& random) {
  JobConfig job;
  for (const Option& option : options()) {
    if (random() % 3 == 0) continue;
    const Value value = random_value(option, random);
    if (value_problem(option, value).empty()) option.set(job, value);
  }
  return job;
}

TEST(Dump, TomlReadsBackToTheSameConfiguration) {
  Random random(7);
  for (int i = 0; i < 300; ++i) {
    JobConfig job = random_job(random);
    job.job.config_file.reset();  // names the file that was read, not part of it
    const std::string text = to_toml(job);
    ASSERT_NO_THROW(expect_equal(parse_toml(text), job)) << text;
    if (HasFailure()) FAIL() << text;
  }
}

TEST(Dump, DefaultsDumpToDefaults) { expect_equal(parse_toml(to_toml(JobConfig{})), JobConfig{}); }

TEST(Dump, JsonHoldsEveryOption) {
  Random random(8);
  const JobConfig job = random_job(random);
  const auto json = nlohmann::json::parse(to_json(job));
  for (const Option& option : options()) {
    std::string pointer = "/" + std::string(option.path);
    std::ranges::replace(pointer, '.', '/');
    EXPECT_TRUE(json.contains(nlohmann::json::json_pointer(pointer))) << option.path;
  }
  EXPECT_EQ(json["training"]["steps"], job.training.steps);
  EXPECT_EQ(json["optimizer"]["lr"], job.optimizer.lr);
  EXPECT_EQ(json["quantize"]["linear"]["float8"]["filter_fqns"],
            job.quantize.linear.float8.filter_fqns);
  JobConfig unclipped;
  unclipped.training.max_norm = std::numeric_limits<double>::infinity();
  EXPECT_EQ(nlohmann::json::parse(to_json(unclipped))["training"]["max_norm"], "inf");
}

TEST(Dump, ChangedOptionsNameValueDefaultAndOrigin) {
  EXPECT_THAT(changed_options(JobConfig{}), IsEmpty());
  const std::string path = written("changed.toml", "[training]\nsteps = 40\nseq_len = 2048\n");
  const CommandLine line = run({path, "--optimizer.lr=0.5"});
  EXPECT_THAT(changed_options(line.config, line.origins),
              ElementsAre("optimizer.lr = 0.5 (default 8e-04, command line)",
                          "training.steps = 40 (default 10000, " + path + ":2:1)"));
}

}  // namespace
}  // namespace titan::config
