// For the probes: tensors of a safetensors file by name, read and written.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/checkpoint/safetensors.hpp"

namespace titan {

// F32 or I32, on the CPU.
inline at::Tensor read_tensor(const SafetensorsReader& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) throw Error("no tensor " + name);
  const at::ScalarType dtype = entry->dtype == Dtype::kInt32 ? at::kInt : at::kFloat;
  at::Tensor tensor = at::empty(entry->shape, dtype);
  file.read(entry->begin, {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()});
  return tensor;
}

// In F32.
inline void write_tensors(const std::string& path,
                          const std::map<std::string, at::Tensor>& tensors) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name, Dtype::kFloat32, tensor.sizes().vec()});
  }
  SafetensorsWriter writer(FileSystem::posix(), path, entries, {});
  for (const SafetensorsEntry& entry : writer.entries()) {
    const at::Tensor tensor = tensors.at(entry.name).to(at::kCPU, at::kFloat).contiguous();
    writer.append({static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()});
  }
  writer.finish();
}

}  // namespace titan
