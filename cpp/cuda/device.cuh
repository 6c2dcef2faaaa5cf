// What kernels use beyond plain CUDA, for a GPU and for the emulation of tests/cpp/cuda: the source of the
// kernels is compiled for both. Fragments and their lanes are those of the PTX ISA.
//
// All of it is in inline namespace SAFETYCLF_ARCH: the emulation links several
// architectures' versions of it into one program. (Not unnamed: nvcc would put a hash of the path into the
// names.)
#pragma once

#include <stdint.h>

#include "kernels.hpp"

#if (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800) || SAFETYCLF_EMULATED == 75
#define SAFETYCLF_SM_75 1
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL) || SAFETYCLF_EMULATED == 90
#define SAFETYCLF_SM_90A 1
#endif

#ifdef __CUDACC__
#define SAFETYCLF_ARCH device
#elif defined(SAFETYCLF_SM_75)
#define SAFETYCLF_ARCH sm_75
#elif defined(SAFETYCLF_SM_90A)
#define SAFETYCLF_ARCH sm_90a
#else
#define SAFETYCLF_ARCH sm_80
#endif

#ifdef __CUDACC__

// A third number is the blocks that shall fit on a multiprocessor at once.
#define SAFETYCLF_KERNEL(name, Args, ...)                     \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__) \
        safetyclf_##name(const __grid_constant__ Args args)

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(1024) uint8_t dynamic_shared_bytes[];
    return reinterpret_cast<T*>(dynamic_shared_bytes);
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four matrices of 8 rows of 16 bytes: lane 8 i + j gives row j of matrix i.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

#ifndef SAFETYCLF_SM_75

// Copies that only copies_wait makes visible, and only to the thread itself; zeros if not valid.
__device__ __forceinline__ void copy16_async(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void copy4_async(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 4 : 0)
                 : "memory");
}
__device__ __forceinline__ void copies_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits for all groups but the newest `left`.
template <int left>
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

#define SAFETYCLF_MMA(name, a_type)                                                                      \
    __device__ __forceinline__ void name(int32_t(&c)[4], const uint32_t(&a)[4], const uint32_t(&b)[2]) { \
        asm("mma.sync.aligned.m16n8k32.row.col.s32." a_type                                              \
            ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                    \
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                             \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                         \
    }
#else
#define SAFETYCLF_MMA(name, a_type)                                                                  \
    __device__ __forceinline__ void name(int32_t* c, uint32_t a, uint32_t b) {                       \
        asm("mma.sync.aligned.m8n8k16.row.col.s32." a_type ".s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" \
            : "+r"(c[0]), "+r"(c[1])                                                                 \
            : "r"(a), "r"(b));                                                                       \
    }
#endif

SAFETYCLF_MMA(mma_s8, "s8")
SAFETYCLF_MMA(mma_u8, "u8")
#undef SAFETYCLF_MMA

#ifdef SAFETYCLF_SM_90A

// Shared memory that a thread wrote becomes visible to wgmma.
__device__ __forceinline__ void fence_async_proxy() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

#define SAFETYCLF_4(c, i) "+r"(c[i]), "+r"(c[i + 1]), "+r"(c[i + 2]), "+r"(c[i + 3])
#define SAFETYCLF_16(c, i) \
    SAFETYCLF_4(c, i), SAFETYCLF_4(c, i + 4), SAFETYCLF_4(c, i + 8), SAFETYCLF_4(c, i + 12)
#define SAFETYCLF_64(c) SAFETYCLF_16(c, 0), SAFETYCLF_16(c, 16), SAFETYCLF_16(c, 32), SAFETYCLF_16(c, 48)

// Both matrices by descriptors of shared memory. The sums may be read after wgmma_wait, which names them so
// that the compiler moves no reading of them before it.
__device__ __forceinline__ void wgmma_m64n128k32(int32_t (&c)[64], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
        "%21, "
        "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
        "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
        "%62, %63}, %64, %65, 1;"
        : SAFETYCLF_64(c)
        : "l"(a), "l"(b)
        : "memory");
}
__device__ __forceinline__ void wgmma_wait(int32_t (&c)[64]) {
    asm volatile("wgmma.wait_group.sync.aligned 0;" : SAFETYCLF_64(c)::"memory");
}

#undef SAFETYCLF_64
#undef SAFETYCLF_16
#undef SAFETYCLF_4

#endif

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda

#else
#include "emulation.hpp"
#endif

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

#ifdef SAFETYCLF_SM_75

__device__ __forceinline__ void copy16_async(void* shared, const void* global, bool valid) {
    *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
}
__device__ __forceinline__ void copy4_async(void* shared, const void* global, bool valid) {
    *static_cast<uint32_t*>(shared) = valid ? *static_cast<const uint32_t*>(global) : 0;
}
__device__ __forceinline__ void copies_commit() {}
template <int left>
__device__ __forceinline__ void copies_wait() {}

// m16n8k32 from its quarters: a[0], a[1] are rows 0-7 and 8-15 of the first 16 bytes, a[2], a[3] of the next.
#define SAFETYCLF_MMA(name)                                                                              \
    __device__ __forceinline__ void name(int32_t(&c)[4], const uint32_t(&a)[4], const uint32_t(&b)[2]) { \
        name(c, a[0], b[0]);                                                                             \
        name(c + 2, a[1], b[0]);                                                                         \
        name(c, a[2], b[1]);                                                                             \
        name(c + 2, a[3], b[1]);                                                                         \
    }
SAFETYCLF_MMA(mma_s8)
SAFETYCLF_MMA(mma_u8)
#undef SAFETYCLF_MMA

#endif

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
