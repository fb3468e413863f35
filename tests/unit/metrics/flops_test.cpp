#include "lib/metrics/flops.hpp"

#include <gtest/gtest.h>

namespace titan {
namespace {

struct Case {
  const char* model;
  FlopsInputs inputs;
  int64_t expected;
};

TEST(FlopsPerToken, AgreesWithTorchtitansTotals) {
  const Case cases[] = {
      {"llama3 debug", {6'163'712, 2048 * 256, 6, 16, 32, 2048}, 71'585'280},
      {"llama3 8B", {8'030'261'248, 128256 * 4096, 32, 32, 256, 2048}, 48'250'773'504},
      {"llama3 8B, 8192", {8'030'261'248, 128256 * 4096, 32, 32, 256, 8192}, 57'914'449'920},
      {"llama3 70B", {70'553'706'496, 128256 * 8192, 80, 64, 256, 8192}, 481'442'709'504},
      {"llama3 405B", {405'853'388'800, 128256LL * 16384, 126, 128, 256, 8192}, 2'625'449'459'712},
      {"llama4 16e, active", {17'172'894'720, 202048 * 5120, 48, 40, 256, 8192}, 120'989'644'800},
      {"deepseek 671B, MLA", {37'552'282'624, 129280 * 7168, 61, 128, 320, 4096}, 281'158'232'064},
  };
  for (const Case& c : cases) EXPECT_EQ(flops_per_token(c.inputs), c.expected) << c.model;
}

TEST(PeakFlops, KnowsDevicesByTheirNames) {
  const std::pair<const char*, double> cases[] = {
      {"NVIDIA A100-SXM4-80GB", 312e12}, {"NVIDIA H100 80GB HBM3", 989e12},
      {"NVIDIA H100 NVL", 835e12},       {"NVIDIA H100 PCIe", 756e12},
      {"NVIDIA H200", 989e12},           {"NVIDIA H20", 148e12},
      {"NVIDIA B200", 2.25e15},          {"NVIDIA L40S", 362e12},
      {"AMD Instinct MI250X", 191.5e12}, {"AMD Instinct MI300X", 1300e12},
      {"AMD Instinct MI355X", 2500e12},  {"CPU", 0},
  };
  for (const auto& [name, peak] : cases) EXPECT_EQ(peak_flops(name), peak) << name;
}

TEST(PeakFlops, WarnsWhenItAssumesAnA100) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(peak_flops("NVIDIA GeForce RTX 4090"), 312e12);
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_NE(log.find("WARNING - Peak FLOPS of NVIDIA GeForce RTX 4090"), log.npos) << log;
}

TEST(PeakFlops, IsNamedInTheStartUpLine) {
  EXPECT_EQ(peak_flops_line(989e12), "Peak FLOPS used for computing MFU: 9.890e+14");
  EXPECT_EQ(peak_flops_line(0), "Peak FLOPS used for computing MFU: none for the CPU, mfu shows 0");
}

}  // namespace
}  // namespace titan
