// Runs CUDA kernels on the CPU: the same source, compiled by g++ or clang. What the kernels may use is
// declared here under CUDA's own names; cpp/cuda/device.cuh includes this file where no CUDA compiler is at
// work.
//
// The threads of a block are fibers of one OS thread. A fiber runs until it must wait: at __syncthreads for
// its block, at a collective (shuffle, ballot, mma, ldmatrix, wgmma) for the lanes that the mask names. The
// last to come computes for all. Which fiber runs next is the caller's choice (Order), so that a result that
// depends on a barrier which is not there differs between orders. What the hardware leaves undefined fails
// here: lanes that wait for one another at different places, asynchronous data read too early, misaligned
// addresses.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <span>
#include <string_view>
#include <type_traits>

namespace safetyclf::emulation {

struct Dim3 {
    uint32_t x = 1, y = 1, z = 1;
};

// Which of the fibers that can run does: the first, the last, or any. The first two keep to one warp as long
// as they can.
enum class Order { forward, backward, random };

struct Options {
    Order order = Order::forward;
    uint64_t seed = 1;     // of the random order
    unsigned workers = 1;  // OS threads; each block runs on one
};

// Runs `thread` once for every thread of the grid, with `shared_bytes` of dynamic shared memory for each
// block. Throws std::runtime_error when the kernel does what a GPU does not define. No block may wait for
// another.
void launch(const std::function<void()>& thread, Dim3 grid, Dim3 block, size_t shared_bytes,
            const Options& options = {});

// What kernels are compiled as for: the smaller mma and no asynchronous copies; both; wgmma.
enum class Arch { sm_75 = 75, sm_80 = 80, sm_90a = 90 };

struct Kernel {
    std::string_view name;  // as in the module: "safetyclf_embed"
    size_t args_size;
    uint32_t threads;
    void (*run)(const void* args);
};

// Those of cpp/cuda/kernels.hpp.
template <Arch>
[[nodiscard]] std::span<const Kernel> kernels_of();
[[nodiscard]] std::span<const Kernel> kernels(Arch arch);
[[nodiscard]] const Kernel* find(Arch arch, std::string_view name);  // null if there is none

inline void launch(const Kernel& kernel, const void* args, Dim3 grid, size_t shared_bytes,
                   const Options& options = {}) {
    launch([&] { kernel.run(args); }, grid, {kernel.threads}, shared_bytes, options);
}

// --- For the kernels ---------------------------------------------------------------------------------------

struct Site {
    const char* file = "";
    int line = 0;
    bool operator==(const Site&) const = default;
};

void block_barrier(Site site);

// Waits for the lanes of `mask`, of which the last calls `compute` with what each lane gave (null for
// others).
using Compute = void (*)(void* const (&lanes)[32]);
void collective(uint32_t mask, Compute compute, void* argument, Site site);

struct Shuffle {
    uint64_t value, result;
    uint32_t from;
};
void shuffle(void* const (&lanes)[32]);

template <class T>
T shuffled(uint32_t mask, T value, uint32_t from, Site site) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    Shuffle s{0, 0, from};
    memcpy(&s.value, &value, sizeof value);
    collective(mask, shuffle, &s, site);
    memcpy(&value, &s.result, sizeof value);
    return value;
}

struct Ballot {
    uint32_t predicate, result;
};
void ballot(void* const (&lanes)[32]);
void nothing(void* const (&lanes)[32]);

void* dynamic_shared();
uint32_t shared_address(const void* p);
void load_matrix_x4(uint32_t (&r)[4], const void* row, Site site);
void mma_m16n8k32(bool is_signed, int32_t* c, const uint32_t* a, const uint32_t* b, Site site);
void mma_m8n8k16(bool is_signed, int32_t* c, uint32_t a, uint32_t b, Site site);
void copy_async(void* shared, const void* global, bool valid, uint32_t bytes);
void copies_commit();
void copies_wait(uint32_t left);
void fence_async_proxy();
void wgmma_fence();
void wgmma_m64n128k32(int32_t (&c)[64], uint64_t a, uint64_t b, Site site);
void wgmma_commit(Site site);
void wgmma_wait(Site site);

}  // namespace safetyclf::emulation

// --- CUDA's names ------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __align__(n) alignas(n)
#define SAFETYCLF_KERNEL(name, Args, ...) [[maybe_unused]] static void safetyclf_##name(const Args& args)
#define SAFETYCLF_SITE ::safetyclf::emulation::Site site = {__builtin_FILE(), __builtin_LINE()}

extern constinit thread_local safetyclf::emulation::Dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) int2 {
    int32_t x, y;
};
struct alignas(16) int4 {
    int32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) {
    return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
inline uint2 make_uint2(uint32_t x, uint32_t y) {
    return {x, y};
}
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return {x, y, z, w};
}

inline void __syncthreads(SAFETYCLF_SITE) {
    safetyclf::emulation::block_barrier(site);
}
inline void __syncwarp(uint32_t mask = ~0u, SAFETYCLF_SITE) {
    safetyclf::emulation::collective(mask, safetyclf::emulation::nothing, nullptr, site);
}
template <class T>
T __shfl_sync(uint32_t mask, T value, uint32_t lane, uint32_t width = 32, SAFETYCLF_SITE) {
    return safetyclf::emulation::shuffled(mask, value,
                                          (threadIdx.x % 32 & ~(width - 1)) | (lane & (width - 1)), site);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, uint32_t lanes, uint32_t width = 32, SAFETYCLF_SITE) {
    const uint32_t lane = threadIdx.x % 32, from = lane ^ lanes;
    return safetyclf::emulation::shuffled(mask, value, from / width == lane / width ? from : lane, site);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate, SAFETYCLF_SITE) {
    safetyclf::emulation::Ballot b{predicate != 0, 0};
    safetyclf::emulation::collective(mask, safetyclf::emulation::ballot, &b, site);
    return b.result;
}

inline int __popc(uint32_t x) {
    return __builtin_popcount(x);
}
inline int __float2int_rn(float x) {
    return static_cast<int>(__builtin_rintf(x));
}
inline float __int_as_float(int x) {
    return __builtin_bit_cast(float, x);
}
inline float __uint_as_float(uint32_t x) {
    return __builtin_bit_cast(float, x);
}
inline int __float_as_int(float x) {
    return __builtin_bit_cast(int, x);
}
inline uint32_t __float_as_uint(float x) {
    return __builtin_bit_cast(uint32_t, x);
}
template <class T>
T __ldg(const T* p) {
    return *p;
}

inline uint32_t atomicAdd(uint32_t* p, uint32_t x) {
    return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
inline uint32_t atomicOr(uint32_t* p, uint32_t x) {
    return __atomic_fetch_or(p, x, __ATOMIC_RELAXED);
}
inline uint32_t atomicMax(uint32_t* p, uint32_t x) {
    uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (old < x && !__atomic_compare_exchange_n(p, &old, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}

// --- What cpp/cuda/device.cuh has from PTX
// --------------------------------------------------------------------

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

template <class T>
T* dynamic_shared() {
    return static_cast<T*>(emulation::dynamic_shared());
}
using emulation::shared_address;  // of the dynamic part only
inline void load_matrix_x4(uint32_t (&r)[4], const void* row, SAFETYCLF_SITE) {
    emulation::load_matrix_x4(r, row, site);
}

#ifdef SAFETYCLF_SM_75
inline void mma_s8(int32_t* c, uint32_t a, uint32_t b, SAFETYCLF_SITE) {
    emulation::mma_m8n8k16(true, c, a, b, site);
}
inline void mma_u8(int32_t* c, uint32_t a, uint32_t b, SAFETYCLF_SITE) {
    emulation::mma_m8n8k16(false, c, a, b, site);
}
#else
inline void mma_s8(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SAFETYCLF_SITE) {
    emulation::mma_m16n8k32(true, c, a, b, site);
}
inline void mma_u8(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SAFETYCLF_SITE) {
    emulation::mma_m16n8k32(false, c, a, b, site);
}
inline void copy16_async(void* shared, const void* global, bool valid) {
    emulation::copy_async(shared, global, valid, 16);
}
inline void copy4_async(void* shared, const void* global, bool valid) {
    emulation::copy_async(shared, global, valid, 4);
}
using emulation::copies_commit;
template <int left>
void copies_wait() {
    emulation::copies_wait(left);
}
#endif

#ifdef SAFETYCLF_SM_90A
using emulation::fence_async_proxy;
using emulation::wgmma_fence;
inline void wgmma_m64n128k32(int32_t (&c)[64], uint64_t a, uint64_t b, SAFETYCLF_SITE) {
    emulation::wgmma_m64n128k32(c, a, b, site);
}
inline void wgmma_commit(SAFETYCLF_SITE) {
    emulation::wgmma_commit(site);
}
inline void wgmma_wait(int32_t (&)[64], SAFETYCLF_SITE) {
    emulation::wgmma_wait(site);
}
#endif

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
