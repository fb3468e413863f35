// FLOPs of the model and peaks of devices: the two numbers behind MFU (model FLOPs utilisation,
// arXiv:2204.02311). Both follow torchtitan, so that its MFU and ours compare.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace titan {

struct FlopsInputs {
  int64_t parameters = 0;            // mixture of experts: those active for a token
  int64_t embedding_parameters = 0;  // part of `parameters`; a lookup costs no FLOPs
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t head_dims = 0;  // width of a head in QK plus in V: 2 * head_dim, MLA 192 + 128
  int64_t seq_len = 0;
};

// Forward and backward FLOPs per token: 6 (P - P_embed) + 6 L H head_dims S. The causal mask is not
// taken off the attention term, and recomputation is not counted.
int64_t flops_per_token(const FlopsInputs& model);

// Dense bf16 FLOP/s of a device by its name ("NVIDIA H200"); float8 runs use the same. 0 for "CPU",
// where MFU is not defined. An unknown GPU gets an A100's 312e12, with a warning in the log.
double peak_flops(std::string_view device_name);

// "Peak FLOPS used for computing MFU: 9.890e+14", or that there is none and mfu shows 0.
std::string peak_flops_line(double peak_flops);

}  // namespace titan
