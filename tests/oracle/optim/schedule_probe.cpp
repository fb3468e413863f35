// For test_optim.py: prints the learning-rate factor of steps 0 .. STEPS-1, one a line.
//   schedule_probe TOTAL WARMUP DECAY_RATIO|none linear|sqrt|cosine MIN_FACTOR STEPS
#include <cstdio>
#include <cstring>
#include <string>

#include "lib/optim/schedule.hpp"

using titan::optim::Decay;

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "schedule_probe: expected 6 arguments\n");
    return 1;
  }
  titan::optim::Schedule schedule{.total_steps = std::stoll(argv[1]),
                                  .warmup_steps = std::stoll(argv[2]),
                                  .min_factor = std::stod(argv[5])};
  if (std::strcmp(argv[3], "none") != 0) schedule.decay_ratio = std::stod(argv[3]);
  schedule.decay = std::strcmp(argv[4], "linear") == 0 ? Decay::kLinear
                   : std::strcmp(argv[4], "sqrt") == 0 ? Decay::kSqrt
                                                       : Decay::kCosine;
  for (int64_t step = 0; step < std::stoll(argv[6]); ++step) {
    std::printf("%.17g\n", titan::optim::learning_rate_factor(schedule, step));
  }
  return 0;
}
