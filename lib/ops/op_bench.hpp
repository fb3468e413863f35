// Times the rows of the op table on a CUDA device. For each timed case: a few warm-up runs, then
// the median of many, each between two events and with the L2 cache emptied before it. The ceiling
// is a large device-to-device copy, measured first (bytes read plus bytes written).
#pragma once

#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {

struct OpTiming {
  std::string op;
  std::string shape;
  double microseconds = 0;
  double gigabytes_per_second = 0;  // the bytes that the op must move, over its time
  double share_of_copy = 0;         // gigabytes_per_second over that of the copy
};

// The copy, then every timed case of `table` whose op's name contains `filter`, in bf16. Waits for
// the device. Throws InputError when `device` is the CPU.
std::vector<OpTiming> time_ops(const Device& device, const std::vector<Op>& table,
                               const std::string& filter);

// "rms_norm    T 16384, D 4096      68.1 us   3941 GB/s   92 % of copy", without a newline.
std::string format(const OpTiming& timing);

}  // namespace titan::ops
