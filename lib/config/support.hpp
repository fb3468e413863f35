// What this version of the program does with the features of the schema, in one place: a feature
// that gets implemented changes one word here.
#pragma once

#include <cstdint>

namespace titan::config {

enum class Support {
  kCore,     // works
  kLater,    // read; a job that needs it is refused by name
  kIgnored,  // without meaning here: accepted, named in one log line
  kRefused,  // without meaning here: refused when a job asks for it
};

namespace support {
inline constexpr Support kManyRanks = Support::kCore;  // data and tensor parallel
inline constexpr Support kPipelineParallel = Support::kLater;
inline constexpr Support kContextParallel = Support::kLater;
inline constexpr Support kExpertParallel = Support::kLater;
inline constexpr Support kFloat8 = Support::kCore;  // of linears
inline constexpr Support kFloat8Experts = Support::kLater;
inline constexpr Support kFloat8Tensorwise = Support::kRefused;
inline constexpr Support kMx = Support::kRefused;  // both MX converters
inline constexpr Support kEarlyStepInBackward = Support::kLater;
inline constexpr Support kCpuOffload = Support::kLater;
inline constexpr Support kMemoryBudget = Support::kLater;
inline constexpr Support kQuantizedHfLoad = Support::kLater;
inline constexpr Support kSeedCheckpoint = Support::kLater;
inline constexpr Support kMetricsOfAllRanks = Support::kLater;
inline constexpr Support kFakeBackend = Support::kLater;
inline constexpr Support kCompiler = Support::kIgnored;  // torch.compile and its knobs
inline constexpr Support kPythonOnly = Support::kRefused;
inline constexpr Support kTorchFt = Support::kRefused;
}  // namespace support

}  // namespace titan::config
