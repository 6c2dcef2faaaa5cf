// The reference: plain loops for the oldest CPU of the ABI. Every other instruction set is compared with this
// file, bit for bit.
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

struct F32x16 {
    float lane[16];
};
struct I32x16 {
    int32_t lane[16];
};

template <class V, class Op>
inline V each(Op op) {
    V r;
    for (int i = 0; i < 16; ++i) r.lane[i] = op(i);
    return r;
}

inline F32x16 load(const float* p) {
    return each<F32x16>([p](int i) { return p[i]; });
}
inline void store(float* p, F32x16 v) {
    __builtin_memcpy(p, v.lane, sizeof v.lane);
}
inline F32x16 splat(float x) {
    return each<F32x16>([x](int) { return x; });
}
inline F32x16 add(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F32x16 sub(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F32x16 mul(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F32x16 div(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline F32x16 minimum(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 maximum(F32x16 a, F32x16 b) {
    return each<F32x16>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 absolute(F32x16 a) {
    return each<F32x16>([&](int i) { return __builtin_fabsf(a.lane[i]); });
}

inline I32x16 load_int(const int32_t* p) {
    return each<I32x16>([p](int i) { return p[i]; });
}
inline void store_int(int32_t* p, I32x16 v) {
    __builtin_memcpy(p, v.lane, sizeof v.lane);
}
inline I32x16 splat_int(int32_t x) {
    return each<I32x16>([x](int) { return x; });
}
// Lanes wrap, as in vector registers: unsigned arithmetic keeps that defined.
inline I32x16 add_int(I32x16 a, I32x16 b) {
    return each<I32x16>([&](int i) { return (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]); });
}
inline I32x16 sub_int(I32x16 a, I32x16 b) {
    return each<I32x16>([&](int i) { return (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i]); });
}
inline I32x16 and_int(I32x16 a, I32x16 b) {
    return each<I32x16>([&](int i) { return a.lane[i] & b.lane[i]; });
}
inline I32x16 or_int(I32x16 a, I32x16 b) {
    return each<I32x16>([&](int i) { return a.lane[i] | b.lane[i]; });
}
template <int n>
inline I32x16 shift_left(I32x16 a) {
    return each<I32x16>([&](int i) { return (int32_t)((uint32_t)a.lane[i] << n); });
}

template <int n>
inline I32x16 shift_right(I32x16 a) {
    return each<I32x16>([&](int i) { return a.lane[i] >> n; });
}

inline F32x16 to_float(I32x16 a) {
    return each<F32x16>([&](int i) { return (float)a.lane[i]; });
}
inline I32x16 bits(F32x16 a) {
    I32x16 r;
    __builtin_memcpy(&r, &a, sizeof r);
    return r;
}
// Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
inline I32x16 to_int(F32x16 a) {
    const float magic = 12582912.0f;
    return sub_int(bits(add(a, splat(magic))), bits(splat(magic)));
}
inline F32x16 from_bits(I32x16 a) {
    F32x16 r;
    __builtin_memcpy(&r, &a, sizeof r);
    return r;
}
inline I32x16 widen(const int8_t* p) {
    return each<I32x16>([p](int i) { return (int32_t)p[i]; });
}
inline void store_low_bytes(void* p, I32x16 v) {
    for (int i = 0; i < 16; ++i) ((uint8_t*)p)[i] = (uint8_t)v.lane[i];
}

inline float lane_sum(F32x16 v) {
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) v.lane[i] += v.lane[i + width];
    return v.lane[0];
}
inline int32_t lane_sum_int(I32x16 v) {
    uint32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += (uint32_t)v.lane[i];
    return (int32_t)sum;
}
inline float lane_max(F32x16 v) {
    float largest = v.lane[0];
    for (int i = 1; i < 16; ++i) largest = v.lane[i] > largest ? v.lane[i] : largest;
    return largest;
}

#include "lanes.inc"

constexpr int32_t kActivationOffset = 0;
constexpr size_t kReductionTile = 4;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0;
constexpr int32_t kValueCompensation = 0;

#include "dot4.inc"
#include "rows.inc"

template <class Byte>
void gemm_blocks(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                 int32_t* c, size_t ldc) {
    for (size_t block = 0; block < blocks; ++block, packed += dot4_block(k)) {
        for (size_t r = 0; r < m; ++r) {
            const Byte* row = (const Byte*)(a + r * lda);
            int32_t sum[16];
            __builtin_memcpy(sum, packed, sizeof sum);
            const int8_t* w = packed + 64;
            for (size_t l = 0; l < k; l += 4, w += 64)
                for (size_t j = 0; j < 16; ++j)
                    for (size_t b = 0; b < 4; ++b) sum[j] += (int32_t)row[l + b] * (int32_t)w[j * 4 + b];
            __builtin_memcpy(c + r * ldc + block * 16, sum, sizeof sum);
        }
    }
}

void gemm_activation(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                     int32_t* c, size_t ldc) {
    gemm_blocks<int8_t>(a, lda, m, packed, blocks, k, c, ldc);
}
void gemm_probability(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                      int32_t* c, size_t ldc) {
    gemm_blocks<uint8_t>(a, lda, m, packed, blocks, k, c, ldc);
}

#include "attention.inc"

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    gemm_activation(a, k, m, packed, n / 16, k, c, n);
}

}  // namespace

const KernelTable kScalar = {
    .isa = "scalar",
    .activation_offset = kActivationOffset,
    .row_block = 32,
    .packed_size = dot4_size,
    .pack_weights = dot4_pack,
    .gemm = gemm,
    .embed = embed,
    .quantize = quantize,
    .split_qkv = split_qkv,
    .attention_scratch = attention_scratch,
    .attention = attention,
    .add_norm = add_norm,
    .gelu_quantize = gelu_quantize,
    .mean_rows = mean_rows,
    .dot_rows = dot_rows,
};

}  // namespace safetyclf::kernels
