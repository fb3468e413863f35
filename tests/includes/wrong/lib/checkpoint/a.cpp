#include "lib/ops/op.hpp"
