// The option tables: complete, consistent, and the committed page made from them.
#include <set>

#include "lib/base/file.hpp"
#include "lib/config/help.hpp"
#include "lib/config/value.hpp"
#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

// Converts to anything, so that T{Anything{}, ...} compiles for at most as many as T has members.
struct Anything {
  template <class T>
  operator T() const;
};

template <class T, class... Members>
constexpr std::size_t member_count() {
  if constexpr (requires { T{Members{}..., Anything{}}; }) {
    return member_count<T, Members..., Anything>();
  } else {
    return sizeof...(Members);
  }
}

std::size_t options_in(std::string_view section) {
  std::size_t count = 0;
  for (const Option& option : options()) count += option.section() == section;
  return count;
}

// A member of a section without an option could not be set, printed or checked.
TEST(Schema, EveryMemberHasAnOption) {
  EXPECT_EQ(options_in("job"), (member_count<Job>()));
  EXPECT_EQ(options_in("profiling"), (member_count<Profiling>()));
  EXPECT_EQ(options_in("metrics"), (member_count<Metrics>()));
  EXPECT_EQ(options_in("model"), (member_count<Model>()));
  EXPECT_EQ(options_in("optimizer"), (member_count<Optimizer>()));
  EXPECT_EQ(options_in("lr_scheduler"), (member_count<LrScheduler>()));
  EXPECT_EQ(options_in("training"), (member_count<Training>() - 1));  // dataloader
  EXPECT_EQ(options_in("training.dataloader"), (member_count<DataLoader>()));
  EXPECT_EQ(options_in("parallelism"), (member_count<Parallelism>()));
  EXPECT_EQ(options_in("checkpoint"), (member_count<Checkpoint>()));
  EXPECT_EQ(options_in("activation_checkpoint"), (member_count<ActivationCheckpoint>()));
  EXPECT_EQ(options_in("compile"), (member_count<Compile>()));
  EXPECT_EQ(options_in("quantize.linear.float8"), (member_count<LinearFloat8>()));
  EXPECT_EQ(options_in("quantize.linear.mx"), (member_count<LinearMx>()));
  EXPECT_EQ(options_in("quantize.grouped_mm.float8"), (member_count<GroupedMmFloat8>()));
  EXPECT_EQ(options_in("quantize.grouped_mm.mx"), (member_count<GroupedMmMx>()));
  EXPECT_EQ(options_in("comm"), (member_count<Comm>()));
  EXPECT_EQ(options_in("memory_estimation"), (member_count<MemoryEstimation>()));
  EXPECT_EQ(options_in("fault_tolerance"), (member_count<FaultTolerance>()));
  EXPECT_EQ(options_in("experimental"), (member_count<Experimental>()));
  EXPECT_EQ(options_in("validation"), (member_count<Validation>() - 1));  // dataloader
  EXPECT_EQ(options_in("validation.dataloader"), (member_count<DataLoader>()));
  EXPECT_EQ(options_in("debug"), (member_count<Debug>()));
  EXPECT_EQ((member_count<JobConfig>()), 18u);
}

TEST(Schema, SpellingsAreUniqueAndSectionsContiguous) {
  std::set<std::string_view> names, closed_sections;
  std::string_view section;
  for (const Option& option : options()) {
    EXPECT_TRUE(names.insert(option.path).second) << option.path;
    for (std::string_view old : option.old_names) EXPECT_TRUE(names.insert(old).second) << old;
    if (option.section() == section) continue;
    section = option.section();
    EXPECT_TRUE(closed_sections.insert(section).second) << section << " appears twice";
    EXPECT_FALSE(section_doc(section).empty()) << section;
  }
  for (const DroppedOption& dropped : dropped_options()) {
    EXPECT_TRUE(names.insert(dropped.path).second) << dropped.path;
  }
}

TEST(Schema, DefaultsAreAllowedAndReferencesExist) {
  for (const Option& option : options()) {
    EXPECT_EQ(value_problem(option, option.default_value()), "") << option.path;
    EXPECT_FALSE(option.doc.empty()) << option.path;
    if (!option.only_with_option.empty()) {
      EXPECT_NE(find_option(option.only_with_option), nullptr) << option.path;
    }
  }
}

TEST(Schema, HelpNamesEveryOptionWithinTheWidth) {
  const std::string help = help_text();
  for (const Option& option : options()) {
    EXPECT_NE(help.find("  --" + std::string(option.path) + " "), help.npos) << option.path;
  }
  for (std::size_t begin = 0, end; (end = help.find('\n', begin)) != help.npos; begin = end + 1) {
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
  }
}

TEST(Schema, CommittedOptionsPageIsCurrent) {
  EXPECT_EQ(read_file(TITAN_SOURCE_DIR "/docs/options.md"), options_page())
      << "run: ninja titan_config_docs && bin/titan_config_docs > docs/options.md";
}

}  // namespace
}  // namespace titan::config
