// A pre-norm transformer block: h = x + attention(norm(x)); out = h + feed_forward(norm(h)).
#pragma once

#include <memory>

#include "lib/model/attention.hpp"
#include "lib/model/declare.hpp"
#include "lib/model/feed_forward.hpp"
#include "lib/model/pre_norm.hpp"

namespace titan {

// The one virtual interface of the walk; inside a block all types are concrete.
class Block {
 public:
  // Kept between forward and backward: one per block and micro-batch, owned by the walk.
  struct Saved {
    virtual ~Saved() = default;
    // Bytes of the tensors that it holds.
    virtual int64_t bytes() const = 0;
  };
  virtual ~Block() = default;

  // x: [T/tp, D] -> [T/tp, D], this rank's tokens. Where `saved` is null (validation) nothing is
  // kept.
  virtual at::Tensor forward(const StepContext& context, const Weights& weights, at::Tensor x,
                             std::unique_ptr<Saved>* saved) const = 0;
  // dy: gradient of the output -> gradient of x. Consumes `saved`, freeing as it goes.
  virtual TokenGradient backward(const StepContext& context, const Weights& weights,
                                 const Gradients& gradients, TokenGradient dy,
                                 std::unique_ptr<Saved> saved) const = 0;
};

class TransformerBlock final : public Block {
 public:
  explicit TransformerBlock(const BlockConfig& config);

  // The block's parameters, in the order in which this class indexes them.
  static Unit declare(const BlockConfig& config, const std::string& name,
                      const TensorParallelRank& tp = {});

  at::Tensor forward(const StepContext& context, const Weights& weights, at::Tensor x,
                     std::unique_ptr<Block::Saved>* saved) const override;
  TokenGradient backward(const StepContext& context, const Weights& weights,
                         const Gradients& gradients, TokenGradient dy,
                         std::unique_ptr<Block::Saved> saved) const override;

 private:
  struct Kept;  // what this block's policy keeps
  enum Index : size_t { kAttentionNorm, kQkv, kWo, kFfnNorm, kGateUp, kDown };

  // The attention sublayer with its norm and residual.
  at::Tensor attend(const StepContext& context, const Weights& weights, const at::Tensor& x,
                    Kept& kept) const;
  // From the block's input to the gate and up product: all that backward may ask for.
  void forward_kept(const StepContext& context, const Weights& weights, Kept& kept) const;

  PreNorm attention_norm_;
  Attention attention_;
  PreNorm ffn_norm_;
  FeedForward feed_forward_;
  Recompute recompute_;
};

}  // namespace titan
