// Hopper's bulk copy engine: one thread asks for a contiguous stretch of device memory, the block
// sleeps on a barrier in shared memory until it has arrived. One PTX instruction for each function;
// the names follow the PTX manual (mbarrier, cp.async.bulk).
#pragma once

#include <cstdint>

namespace titan::kernels {

using TransferBarrier = uint64_t;  // an mbarrier object; lives in shared memory

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// By one thread; the others may use the barrier after a __syncthreads().
__device__ inline void initialise_barrier(TransferBarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ inline void fence_barrier_initialisation() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// One arrival, and `bytes` that copies still have to bring (below 2^20).
__device__ inline void arrive_and_expect(TransferBarrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

// Waits until the phase with this parity (0 for the first) is complete.
__device__ inline void wait_for_phase(TransferBarrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "wait:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// Device memory to this block's shared memory. Addresses and bytes are multiples of 16.
__device__ inline void bulk_load(void* shared, const void* global, uint32_t bytes,
                                 TransferBarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

}  // namespace titan::kernels
