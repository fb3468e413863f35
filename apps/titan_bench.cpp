// titan-bench: times the parts of a training step, on one GPU or on all ranks of a launcher. --help
// lists what; exit codes: 0 done, 1 failure, 2 bad input, or no GPU.
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/config/command_line.hpp"
#include "lib/float8/matmul_bench.hpp"
#include "lib/float8/op_table.hpp"
#include "lib/ops/op_bench.hpp"
#include "lib/parallel/collective_bench.hpp"
#include "lib/parallel/error_file.hpp"
#include "lib/parallel/launch.hpp"
#include "lib/train/float8_linear_bench.hpp"
#include "lib/train/step_bench.hpp"

namespace titan {
namespace {

using Sizes = std::vector<int64_t>;

constexpr std::chrono::seconds kTimeout(120);  // of a collective

ops::Device gpu(int index = 0) {
  ops::Device device = ops::Device::preferred(index);
  if (!device.is_cuda()) throw InputError("needs a CUDA device, and none is visible");
  return device;
}

ops::Device named_gpu() {
  ops::Device device = gpu();
  std::cout << device.name() << "\n";
  return device;
}

void bench_ops(const std::vector<ops::Op>& table, const std::string& filter) {
  const ops::Device device = named_gpu();
  for (const ops::OpTiming& timing : ops::time_ops(device, table, filter)) {
    std::cout << ops::format(timing) << std::endl;
  }
}

void bench_all_ops(const std::string& filter) {
  std::vector<ops::Op> table = ops::op_table();
  const std::vector<ops::Op>& float8_table = float8::float8_op_table();
  table.insert(table.end(), float8_table.begin(), float8_table.end());
  bench_ops(table, filter);
}

void bench_matmul(const Sizes& tokens) {
  struct Shape {
    const char* name;
    int64_t n, k;
  };
  constexpr Shape kLlama8B[] = {{"wqkv", 6144, 4096},
                                {"wo", 4096, 4096},
                                {"w13", 28672, 4096},
                                {"w2", 4096, 14336},
                                {"output", 128256, 4096}};
  constexpr int64_t kCeiling = 8192;
  const ops::Device device = named_gpu();
  const auto bf16_ceiling = float8::time_bf16_matmuls(device, kCeiling, kCeiling, kCeiling);
  const auto float8_ceiling = float8::time_float8_matmuls(device, kCeiling, kCeiling, kCeiling);
  std::cout << float8::format_header() << std::endl;
  const auto print = [&](const char* name, int64_t m, int64_t n, int64_t k,
                         const float8::MatmulRates& bf16, const float8::MatmulRates& float8) {
    std::cout << float8::format(name, m, n, k, "bf16", bf16, bf16_ceiling) << "\n"
              << float8::format(name, m, n, k, "float8", float8, float8_ceiling) << std::endl;
  };
  print("ceiling", kCeiling, kCeiling, kCeiling, bf16_ceiling, float8_ceiling);
  for (const int64_t m : tokens) {
    for (const auto& [name, n, k] : kLlama8B) {
      print(name, m, n, k, float8::time_bf16_matmuls(device, m, n, k),
            float8::time_float8_matmuls(device, m, n, k));
    }
  }
}

struct LinearArguments {
  Sizes m, k, n;
  std::string format = "table";
  std::string output;
  bool kernels = false;
};

void bench_float8_linear(const LinearArguments& arguments) {
  const bool any_size = !(arguments.m.empty() && arguments.k.empty() && arguments.n.empty());
  const std::vector<LinearSize> sizes =
      any_size ? linear_sizes(arguments.m, arguments.k, arguments.n) : torchao_sizes();
  const ops::Device device = gpu();
  std::vector<LinearTiming> timings;
  for (const LinearSize& size : sizes) timings.push_back(time_float8_linear(device, size));

  std::string text;
  if (arguments.format == "csv") {
    text = as_csv(timings);
  } else if (arguments.format == "json") {
    text = nlohmann::ordered_json{{"device", device.name()}, {"rows", as_json(timings)}}.dump(2) +
           "\n";
  } else {
    text = device.name() + "\n" + as_table(timings);
  }
  if (arguments.output.empty()) {
    std::cout << text;
  } else {
    write_file_atomically(arguments.output, text);
  }
  if (!arguments.kernels) return;
  for (const LinearSize& size : sizes) std::cout << kernels_of_float8_linear(device, size);
}

void bench_step(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"titan-bench step"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  const config::CommandLine command =
      config::parse_command_line(static_cast<int>(argv.size()), argv.data());
  const Launch launch = find_launch(std::getenv);
  const ops::Device device = gpu(static_cast<int>(launch.local_rank));
  World world(launch, device, kTimeout);
  const std::string text = describe(time_step(command.config, device, world, /*steps=*/10));
  if (launch.rank == 0) std::cout << device.name() << " x " << launch.world_size << "\n" << text;
}

void bench_collective(int64_t largest_mib) {
  const Launch launch = find_launch(std::getenv);
  if (launch.world_size == 1) throw InputError("titan-bench collective needs torchrun, or srun");
  const ops::Device device = gpu(static_cast<int>(launch.local_rank));
  World world(launch, device, kTimeout);
  const std::string text = describe(time_collectives(device, world, largest_mib));
  if (launch.rank == 0) std::cout << device.name() << " x " << launch.world_size << "\n" << text;
}

// Dimensions that float8 products take.
const CLI::Validator kSixteens(
    [](const std::string& text) {
      int64_t size = 0;
      const bool good = CLI::detail::lexical_cast(text, size) && size > 0 && size % 16 == 0;
      return good ? std::string() : text + " is not a positive multiple of 16";
    },
    "");

int run(int argc, char** argv) {
  CLI::App app("Times the parts of a training step on GPUs.");
  app.require_subcommand(1);

  std::string filter;
  CLI::App* all_ops = app.add_subcommand("ops", "fused ops against the speed of a copy");
  all_ops->add_option("filter", filter, "a part of the names of the ops to time");

  CLI::App* quantize = app.add_subcommand(
      "quantize",
      "float8 copies against the speed of a copy; bytes for each bf16 value: 3 for a row copy, 5 "
      "for a column copy, 6 for both");

  Sizes tokens = {8192, 16384};
  CLI::App* matmul = app.add_subcommand(
      "matmul", "the products of Llama-3 8B's linears in bf16 and float8, against a square one's");
  matmul->add_option("M", tokens, "tokens")->check(kSixteens)->capture_default_str();

  LinearArguments linear;
  CLI::App* float8_linear = app.add_subcommand(
      "float8_linear",
      "LayerNorm => Linear => sigmoid, forward and backward, bf16 against each float8 recipe. "
      "Without sizes: those that torchao's times are known of");
  const auto sizes = [&](const char* name, Sizes& list, const char* meaning) {
    float8_linear->add_option(name, list, meaning)->delimiter(',')->check(kSixteens);
  };
  sizes("--M", linear.m, "tokens: a list such as 8192,16384");
  sizes("--K", linear.k, "input features; every M with every K and N");
  sizes("--N", linear.n, "output features");
  float8_linear->add_option("--format", linear.format, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  float8_linear->add_option("--output", linear.output,
                            "a file to write instead of standard output");
  float8_linear->add_flag("--kernels", linear.kernels,
                          "afterwards, to standard output: the kernels that each time went to");

  CLI::App* step = app.add_subcommand(
      "step", "a whole step of JOB.toml [--section.option ...], by part, beside its floor");
  step->prefix_command();
  step->set_help_flag();  // the job's own --help

  int64_t largest_mib = 1024;
  CLI::App* collective = app.add_subcommand(
      "collective", "the collectives between the ranks that torchrun or srun started");
  collective->add_option("--largest", largest_mib, "MiB of the largest tensor")
      ->check(CLI::Range(int64_t{1}, int64_t{16384}))
      ->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*all_ops) bench_all_ops(filter);
  if (*quantize) bench_ops(float8::float8_op_table(), "quantize");
  if (*matmul) bench_matmul(tokens);
  if (*float8_linear) bench_float8_linear(linear);
  if (*step) bench_step(step->remaining());
  if (*collective) bench_collective(largest_mib);
  return 0;
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", 0);
  int status = 1;
  std::string failure;
  try {
    status = titan::run(argc, argv);
  } catch (const titan::InputError& error) {
    failure = error.what();
    status = 2;
  } catch (const c10::Error& error) {
    failure = error.what_without_backtrace();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (!failure.empty()) {
    std::cerr << "titan-bench: " << failure << "\n";
    titan::write_error_file(std::getenv("TORCHELASTIC_ERROR_FILE"), failure);
  }
  std::cout.flush();
  std::_Exit(status);
}
