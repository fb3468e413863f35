#include <ATen/ATen.h>
#include "lib/ops/op.hpp"
#include "error.hpp"
