// What a job computes on, with the chip given.
#include "lib/train/device_choice.hpp"

#include "lib/base/error.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

JobConfig float8_job(bool emulate) {
  JobConfig job;
  job.model.converters = {"quantize.linear.float8"};
  job.quantize.linear.float8.emulate = emulate;
  return job;
}

const ops::Chip kHopper{"NVIDIA H200", 9, 0};
const ops::Chip kAda{"NVIDIA L40S", 8, 9};
const ops::Chip kBlackwell{"NVIDIA B200", 10, 0};

TEST(DeviceChoice, TheCpuWhereThereIsNoChip) {
  EXPECT_FALSE(runs_on(std::nullopt, JobConfig{}));
  EXPECT_FALSE(runs_on(std::nullopt, float8_job(false)));
}

TEST(DeviceChoice, TheChipThatTheKernelsAreBuiltFor) {
  EXPECT_TRUE(runs_on(kHopper, JobConfig{}));
  EXPECT_TRUE(runs_on(kHopper, float8_job(false)));
  EXPECT_TRUE(runs_on(kHopper, float8_job(true)));  // fp32 arithmetic on the GPU
}

TEST(DeviceChoice, OtherChipsAreRefusedWithoutEmulation) {
  for (const ops::Chip& chip : {kAda, kBlackwell}) {
    EXPECT_THAT(message_of<InputError>([&] { runs_on(chip, float8_job(false)); }),
                AllOf(HasSubstr(chip.name), HasSubstr("float8 matmuls need 9.0"),
                      HasSubstr("set quantize.linear.float8.emulate = true")));
    EXPECT_TRUE(runs_on(chip, float8_job(true)));  // the reference ops

    JobConfig bf16;
    bf16.quantize.linear.float8.emulate = true;  // without effect: no converter
    EXPECT_THAT(message_of<InputError>([&] { runs_on(chip, bf16); }),
                AllOf(HasSubstr(chip.name), HasSubstr("set CUDA_VISIBLE_DEVICES=")));
  }
}

}  // namespace
}  // namespace titan
