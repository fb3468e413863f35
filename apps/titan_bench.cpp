// titan-bench: times the parts of a training step on one GPU.
//   titan-bench ops [FILTER]                         fused ops against the speed of a copy
//   titan-bench matmul [M ...]                       the products of a Llama-3 8B layer
//   titan-bench step JOB.toml [--section.option ...] a whole step, by part, beside its floor
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "lib/base/error.hpp"
#include "lib/config/command_line.hpp"
#include "lib/float8/op_table.hpp"
#include "lib/ops/matmul.hpp"
#include "lib/ops/op_bench.hpp"
#include "lib/train/step_bench.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#endif

namespace titan {
namespace {

ops::Device gpu() {
  ops::Device device = ops::Device::preferred();
  if (!device.is_cuda()) throw InputError("titan-bench needs a CUDA device");
  std::cout << device.name() << "\n";
  return device;
}

void bench_ops(const std::string& filter) {
  const ops::Device device = gpu();
  std::vector<ops::Op> table = ops::op_table();
  const std::vector<ops::Op>& float8_table = float8::float8_op_table();
  table.insert(table.end(), float8_table.begin(), float8_table.end());
  for (const ops::OpTiming& timing : ops::time_ops(device, table, filter)) {
    std::cout << ops::format(timing) << std::endl;
  }
}

#if TITAN_CUDA
// Milliseconds of one of `runs` calls back to back, after one to warm up.
template <class Work>
double milliseconds_each(int runs, const Work& work) {
  work();
  at::cuda::CUDAEvent start(cudaEventDefault), stop(cudaEventDefault);
  start.record();
  for (int i = 0; i < runs; ++i) work();
  stop.record();
  stop.synchronize();
  return start.elapsed_time(stop) / runs;
}

void bench_matmul(std::vector<int64_t> sizes) {
  const ops::Device device = gpu();
  if (sizes.empty()) sizes = {8192, 16384};
  struct Shape {
    const char* name;
    int64_t n, k;
  };
  const Shape shapes[] = {{"wqkv", 6144, 4096},
                          {"wo", 4096, 4096},
                          {"w13", 28672, 4096},
                          {"w2", 4096, 14336},
                          {"output", 128256, 4096}};
  std::printf("%-8s %7s %8s %8s   %10s %10s %10s %10s  (TF/s, bf16)\n", "name", "M", "N", "K",
              "forward", "+residual", "dgrad", "wgrad");
  for (int64_t m : sizes) {
    for (const Shape& shape : shapes) {
      const auto options = device.options(at::kBFloat16);
      at::Tensor x = at::randn({m, shape.k}, options);
      at::Tensor w = at::randn({shape.n, shape.k}, options).mul_(0.02);
      at::Tensor dy = at::randn({m, shape.n}, options);
      at::Tensor residual = at::randn({m, shape.n}, options);
      at::Tensor dw = at::empty_like(w);
      const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(shape.n) *
                           static_cast<double>(shape.k);
      const int runs = std::max(3, static_cast<int>(0.1 / (flops / 700e12)));
      auto rate = [&](auto work) { return flops / milliseconds_each(runs, work) / 1e9; };
      std::printf("%-8s %7ld %8ld %8ld   %10.0f %10.0f %10.0f %10.0f\n", shape.name, m, shape.n,
                  shape.k, rate([&] { ops::linear_forward(device, x, w); }),
                  rate([&] { ops::linear_forward(device, x, w, residual); }),
                  rate([&] { ops::linear_backward_input(device, dy, w); }),
                  rate([&] { ops::linear_backward_weight(device, dy, x, dw, false); }));
      std::fflush(stdout);
    }
  }
}
#else
void bench_matmul(std::vector<int64_t>) { gpu(); }
#endif

void bench_step(int argc, const char* const* argv) {
  const config::CommandLine command = config::parse_command_line(argc, argv);
  const ops::Device device = gpu();
  std::cout << describe(time_step(command.config, device, /*steps=*/10));
}

int run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "ops") {
    bench_ops(argc > 2 ? argv[2] : "");
  } else if (what == "matmul") {
    std::vector<int64_t> sizes;
    for (int i = 2; i < argc; ++i) sizes.push_back(std::stoll(argv[i]));
    bench_matmul(sizes);
  } else if (what == "step") {
    bench_step(argc - 1, argv + 1);
  } else {
    std::cerr << "usage: titan-bench ops [FILTER] | matmul [M ...] | step JOB.toml "
                 "[--section.option value ...]\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", 0);
  int status = 1;
  try {
    status = titan::run(argc, argv);
  } catch (const titan::InputError& error) {
    std::cerr << "titan-bench: " << error.what() << "\n";
    status = 2;
  } catch (const c10::Error& error) {
    std::cerr << "titan-bench: " << error.what_without_backtrace() << "\n";
  } catch (const std::exception& error) {
    std::cerr << "titan-bench: " << error.what() << "\n";
  }
  std::cout.flush();
  std::_Exit(status);
}
