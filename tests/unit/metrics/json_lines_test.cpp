#include "lib/metrics/json_lines.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "lib/base/file.hpp"
#include "tests/unit/metrics/temporary_folder.hpp"

namespace titan {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(JsonLine, HoldsEveryMemberOfAStep) {
  const StepMetrics metrics{.step = 20,
                            .global_avg_loss = 2.5,
                            .global_max_loss = 2.75,
                            .grad_norm = 0.1,
                            .lr = 8e-4,
                            .n_tokens_seen = 5'000'000'000,
                            .update_skipped = true,
                            .throughput = {100, 2, 3, 4, 5, 6},
                            .memory = {7, 8, 9, 10, 11, 12}};
  const std::string line = json_line(metrics, 1.7e9 + 0.125);
  EXPECT_EQ(line,
            "{\"kind\":\"step\",\"step\":20,\"time\":1700000000.125,\"global_avg_loss\":2.5,"
            "\"global_max_loss\":2.75,\"grad_norm\":0.1,\"lr\":0.0008,\"n_tokens_seen\":5000000000,"
            "\"update_skipped\":true,\"tps\":100.0,\"tflops\":2.0,\"mfu\":3.0,"
            "\"end_to_end_seconds\":4.0,\"data_loading_seconds\":5.0,\"data_loading_percent\":6.0,"
            "\"max_active_gib\":7.0,\"max_active_percent\":8.0,\"max_reserved_gib\":9.0,"
            "\"max_reserved_percent\":10.0,\"num_alloc_retries\":11,\"num_ooms\":12}\n");
}

TEST(JsonLine, KeepsADoubleToItsLastBit) {
  const double loss = 1.0 / 3;
  const auto record = nlohmann::json::parse(json_line(ValidationMetrics{.loss = loss}, 0));
  EXPECT_EQ(record["loss"].get<double>(), loss);
  EXPECT_EQ(record["kind"], "validation");
}

TEST(JsonLine, IsValidJsonForNonFiniteNumbers) {
  const StepMetrics metrics{.global_avg_loss = std::numeric_limits<double>::quiet_NaN(),
                            .global_max_loss = kInf,
                            .grad_norm = -kInf};
  const auto record = nlohmann::json::parse(json_line(metrics, 0));
  EXPECT_EQ(record["global_avg_loss"], "NaN");
  EXPECT_EQ(record["global_max_loss"], "Infinity");
  EXPECT_EQ(record["grad_norm"], "-Infinity");
}

class RepairLastLine : public testing::Test {
 protected:
  std::string repaired(const std::string& content) {
    write_file_atomically(path_, content);
    testing::internal::CaptureStdout();
    repair_last_line(path_);
    log_ = testing::internal::GetCapturedStdout();
    return read_file(path_);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "metrics.jsonl";
  std::string log_;
};

TEST_F(RepairLastLine, LeavesWholeFilesAlone) {
  EXPECT_EQ(repaired(""), "");
  EXPECT_EQ(repaired("{\"step\":1}\n"), "{\"step\":1}\n");
  EXPECT_EQ(log_, "");
}

TEST_F(RepairLastLine, EndsALineThatIsWhole) {
  EXPECT_EQ(repaired("{\"step\":1}\n{\"step\":2}"), "{\"step\":1}\n{\"step\":2}\n");
  EXPECT_EQ(repaired("{\"step\":1}"), "{\"step\":1}\n");
}

TEST_F(RepairLastLine, RemovesALineThatIsTorn) {
  EXPECT_EQ(repaired("{\"step\":1}\n{\"step\":2,\"lo"), "{\"step\":1}\n");
  EXPECT_NE(log_.find("unfinished last line"), log_.npos) << log_;
  EXPECT_EQ(repaired("{\"st"), "");
  // A number that was cut is no record, though it is JSON.
  EXPECT_EQ(repaired("{\"step\":1}\n12"), "{\"step\":1}\n");
  // Zero bytes, as some file systems leave after a power cut.
  EXPECT_EQ(repaired(std::string("{\"step\":1}\n\0\0\0", 14)), "{\"step\":1}\n");
}

TEST_F(RepairLastLine, MakesNoFile) {
  repair_last_line(folder_ / "absent.jsonl");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "absent.jsonl"));
}

}  // namespace
}  // namespace titan
