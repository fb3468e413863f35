// Where float8 pays: times NormLinearSigmoid in bf16 and with each float8 recipe, beside the floor
// of the chip and what torchao needs for the same module. Users choose by it which layers to
// convert; the thresholds of auto_filter_small_kn come from its table.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/train/norm_linear_sigmoid.hpp"

namespace titan {

inline constexpr Float8Recipe kFloat8Recipes[] = {Float8Recipe::kRowwise,
                                                  Float8Recipe::kRowwiseWithGwHp};

// Milliseconds of one forward and backward, in bf16 and with each of kFloat8Recipes.
struct LinearMilliseconds {
  double bf16 = 0;
  double float8[std::size(kFloat8Recipes)] = {};
};

struct LinearTiming {
  LinearSize size;
  LinearMilliseconds measured;
  double speedup(size_t recipe) const { return measured.bf16 / measured.float8[recipe]; }
};

// The sizes that torchao's times are known of.
std::vector<LinearSize> torchao_sizes();
// torchao v0.17.0 compiled by torch 2.11, on one H200; none for other sizes.
std::optional<LinearMilliseconds> torchao_milliseconds(const LinearSize& size);

// What one H200 needs at least: the products at their rates in short bursts, every operand that has
// to be read or written at the speed of a copy, an output's gradient read twice.
double floor_milliseconds(const LinearSize& size, std::optional<Float8Recipe> recipe);

// Medians over the GPU's time alone, the quantization of the weight included in every run. One CUDA
// device. Sizes are multiples of 16. Throws InputError on the CPU, where times would mean nothing.
LinearTiming time_float8_linear(const ops::Device& device, const LinearSize& size);

// The kernels of one run in bf16 and with each recipe, by their time: lines for people to read.
std::string kernels_of_float8_linear(const ops::Device& device, const LinearSize& size);

// All combinations, M outermost. Throws InputError when a list is empty or a K larger than 28672.
std::vector<LinearSize> linear_sizes(const std::vector<int64_t>& ms, const std::vector<int64_t>& ks,
                                     const std::vector<int64_t>& ns);

// A line for each size. Times in ms; a float8 time is followed by the speed-up over bf16 and the
// floor. Empty in CSV, null in JSON and "-" in the table: torchao's time is not known.
std::string as_table(const std::vector<LinearTiming>& timings);
std::string as_csv(const std::vector<LinearTiming>& timings);
nlohmann::ordered_json as_json(const std::vector<LinearTiming>& timings);

}  // namespace titan
