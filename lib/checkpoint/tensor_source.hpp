// Tensors that can be read by name and block, wherever they are stored: a checkpoint of any mesh, a
// Hugging Face directory, host memory. The loader of the model needs to know no more than this.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/checkpoint/tensor_slice.hpp"

namespace titan {

struct TensorInfo {
  Dtype dtype;
  Shape shape;  // global
};
using TensorTable = std::map<std::string, TensorInfo>;

// Safe to read from several threads.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const TensorTable& tensors() const = 0;

  // Fills `out` with a block of a tensor, row-major, in the stored dtype (volume * size bytes).
  // Throws Error for a name or a block that does not exist, InputError when the stored data cannot
  // be read.
  virtual void read(const std::string& name, const Box& block, std::span<std::byte> out) const = 0;

 protected:
  // The tensor's entry, after checking the request. For implementations of read().
  const TensorInfo& checked(const std::string& name, const Box& block,
                            std::span<std::byte> out) const;
};

// Reads a block of a float32, bfloat16 or float16 tensor as float32; other dtypes throw InputError.
void read_as_float32(const TensorSource& source, const std::string& name, const Box& block,
                     std::span<float> out);

// Hands the whole tensor over in order, in pieces of whole rows (slices of the first dimension) of
// at most 16 MiB, or one unit where that is larger. A piece is a multiple of `row_unit` rows, but
// for the last.
void for_each_piece(const TensorSource& source, const std::string& name, int64_t row_unit,
                    const std::function<void(std::span<const std::byte>)>& consume);

// Compares names and global shapes, and dtypes when asked. Throws InputError that lists every
// difference (at most 20 lines): missing, unexpected, other shape. `what` starts the message.
void require_tensors(const TensorTable& expected, const TensorTable& found, bool compare_dtypes,
                     std::string_view what);

// Slices in memory that together fill their tensors. Does not own the bytes.
class MemorySource : public TensorSource {
 public:
  explicit MemorySource(std::span<const TensorSlice> slices);
  const TensorTable& tensors() const override { return tensors_; }
  void read(const std::string& name, const Box& block, std::span<std::byte> out) const override;

 private:
  TensorTable tensors_;
  std::multimap<std::string, const TensorSlice*> slices_;
};

}  // namespace titan
