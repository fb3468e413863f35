#include <torch/torch.h>
#include "lib/config/job_config.hpp"
#include "lib/ops/op.hpp"
