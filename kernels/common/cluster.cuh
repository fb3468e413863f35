// Hopper's asynchronous copies and thread block clusters: one thread asks the copy engine for a
// stretch of device memory, blocks of a cluster write into each other's shared memory, and whoever
// needs the bytes sleeps on a barrier in its own. One PTX instruction for each function; the PTX
// manual has them under mbarrier, cp.async.bulk, st.async, barrier.cluster and mapa.
#pragma once

#include <cstdint>

namespace titan::kernels {

using TransferBarrier = uint64_t;  // an mbarrier object; lives in shared memory

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// By one thread; for others after initialise_fence() and a barrier of the block or cluster.
__device__ inline void initialise_barrier(TransferBarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

// Makes initialised barriers visible to the copy engine and, past a cluster barrier, to the
// cluster.
__device__ inline void initialise_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// One arrival, and `bytes` (below 2^20) that transfers have to bring before the phase is complete.
__device__ inline void arrive_and_expect(TransferBarrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

// Waits until the phase with this parity (0 for the first) is complete; what its transfers wrote is
// then visible.
__device__ inline void wait_for_phase(TransferBarrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "wait:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
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

// The same of bytes that the L2 cache is to give up before all others.
__device__ inline void bulk_load_once(void* shared, const void* global, uint32_t bytes,
                                      TransferBarrier* barrier) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}

__device__ inline uint32_t cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ inline uint32_t cluster_size() {
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}

// All threads of all blocks. Orders nothing but execution: for the start, when there is nothing to
// order yet except what initialise_fence() has.
__device__ inline void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

// Where `pointer` of this block lies in the shared memory of block `rank`.
__device__ inline uint32_t address_in_block(const void* pointer, uint32_t rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(shared_address(pointer)), "r"(rank));
  return address;
}

// Writes 8 bytes to block `rank`'s copy of `target`, counted by its copy of `barrier`.
__device__ inline void store_to_block(float2* target, float2 value, TransferBarrier* barrier,
                                      uint32_t rank) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
          address_in_block(target, rank)),
      "f"(value.x), "f"(value.y), "r"(address_in_block(barrier, rank))
      : "memory");
}

}  // namespace titan::kernels
