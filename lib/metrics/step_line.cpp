#include "lib/metrics/step_line.hpp"

#include <cmath>
#include <cstdio>

namespace titan {
namespace {

// ANSI sequences of the terminal; all empty when colours are off.
struct Palette {
  const char* red = "";
  const char* green = "";
  const char* yellow = "";
  const char* blue = "";
  const char* magenta = "";
  const char* cyan = "";
  const char* orange = "";
  const char* turquoise = "";
  const char* reset = "";
};

Palette palette(bool colours) {
  if (!colours) return {};
  return {.red = "\033[31m",
          .green = "\033[32m",
          .yellow = "\033[33m",
          .blue = "\033[34m",
          .magenta = "\033[35m",
          .cyan = "\033[36m",
          .orange = "\033[38;2;180;60;0m",
          .turquoise = "\033[38;2;54;234;195m",
          .reset = "\033[39m"};
}

std::string fixed(double value, int width, int decimals) {
  // printf writes "-nan" for a NaN with the sign bit set; the line has one spelling.
  if (std::isnan(value)) value = std::abs(value);
  char text[400];  // the largest double has 309 digits before the point
  std::snprintf(text, sizeof text, "%*.*f", width, decimals, value);
  return text;
}

std::string with_thousands(std::string number) {
  size_t first = number.find_first_of("0123456789");
  if (first == std::string::npos) return number;  // nan, inf
  size_t end = std::min(number.find('.'), number.size());
  for (size_t at = end; at > first + 3;) number.insert(at -= 3, ",");
  return number;
}

std::string whole_with_thousands(double value) {
  return with_thousands(fixed(std::nearbyint(value), 0, 0));
}

std::string memory_field(const MemoryStats& memory) {
  return "memory: " + fixed(memory.max_reserved_gib, 5, 2) + "GiB(" +
         fixed(memory.max_reserved_percent, 0, 2) + "%)  ";
}

std::string step_field(int64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "step: %2lld  ", static_cast<long long>(step));
  return text;
}

}  // namespace

std::string step_line(const StepMetrics& metrics, bool colours) {
  const Palette color = palette(colours);
  const Throughput& speed = metrics.throughput;
  return color.red + step_field(metrics.step) +                                        //
         color.green + "loss: " + fixed(metrics.global_avg_loss, 8, 5) + "  " +        //
         color.orange + "grad_norm: " + fixed(metrics.grad_norm, 7, 4) + "  " +        //
         color.turquoise + memory_field(metrics.memory) +                              //
         color.blue + "tps: " + whole_with_thousands(speed.tps) + "  " +               //
         color.cyan + "tflops: " + with_thousands(fixed(speed.tflops, 0, 2)) + "  " +  //
         color.magenta + "mfu: " + fixed(speed.mfu, 0, 2) + "%" + color.reset;
}

std::string validation_line(const ValidationMetrics& metrics, bool colours) {
  const Palette color = palette(colours);
  return color.yellow + ("validate " + step_field(metrics.step)) +    //
         color.green + "loss: " + fixed(metrics.loss, 7, 4) + "  " +  //
         color.turquoise + memory_field(metrics.memory) +             //
         color.blue + "tps: " + whole_with_thousands(metrics.tps) + color.reset;
}

}  // namespace titan
