// AVX-512 with VNNI: vpdpbusd multiplies unsigned by signed bytes and adds groups of four into int32 without
// saturation, so activations are stored with an offset of 128, which the compensation in the packed weights
// takes out again: exact.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

#include "simd512.inc"

constexpr int32_t kActivationOffset = 128;
constexpr size_t kReductionTile = 4;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0;
constexpr int32_t kValueCompensation = 0;

#include "dot4.inc"
#include "rows.inc"

// rows x (16 * blocks) of c in registers: 8 x 3 needs 24 accumulators, 3 weights and 1 broadcast of the 32
// registers, and 11 loads for 24 multiplies, so the multiplies are the bottleneck.
// The loops over the tile are unrolled by pragma: left alone, g++ 12 keeps the accumulators in memory, which
// takes twice as long.
template <int rows, int blocks>
inline void tile(const uint8_t* a, size_t lda, const int8_t* packed, size_t k, int32_t* c, size_t ldc) {
    const size_t block = dot4_block(k);
    __m512i acc_i32x16[rows][blocks];
#pragma GCC unroll 8
    for (int j = 0; j < blocks; ++j) {
        const __m512i compensation_i32x16 = _mm512_loadu_si512(packed + (size_t)j * block);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) acc_i32x16[i][j] = compensation_i32x16;
    }
    const int8_t* w = packed + 64;
    for (size_t l = 0; l < k; l += 4, w += 64) {
        __m512i w_i8x64[blocks];
#pragma GCC unroll 8
        for (int j = 0; j < blocks; ++j) w_i8x64[j] = _mm512_loadu_si512(w + (size_t)j * block);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
            int32_t four;
            __builtin_memcpy(&four, a + (size_t)i * lda + l, 4);
            const __m512i a_u8x64 = _mm512_set1_epi32(four);
#pragma GCC unroll 8
            for (int j = 0; j < blocks; ++j)
                acc_i32x16[i][j] = _mm512_dpbusd_epi32(acc_i32x16[i][j], a_u8x64, w_i8x64[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < blocks; ++j) _mm512_storeu_si512(c + (size_t)i * ldc + j * 16, acc_i32x16[i][j]);
}

template <int blocks>
void column(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t k, int32_t* c, size_t ldc) {
    for (; m >= 8; m -= 8, a += 8 * lda, c += 8 * ldc) tile<8, blocks>(a, lda, packed, k, c, ldc);
    switch (m) {
        case 7:
            return tile<7, blocks>(a, lda, packed, k, c, ldc);
        case 6:
            return tile<6, blocks>(a, lda, packed, k, c, ldc);
        case 5:
            return tile<5, blocks>(a, lda, packed, k, c, ldc);
        case 4:
            return tile<4, blocks>(a, lda, packed, k, c, ldc);
        case 3:
            return tile<3, blocks>(a, lda, packed, k, c, ldc);
        case 2:
            return tile<2, blocks>(a, lda, packed, k, c, ldc);
        case 1:
            return tile<1, blocks>(a, lda, packed, k, c, ldc);
        default:
            return;
    }
}

void gemm_blocks(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                 int32_t* c, size_t ldc) {
    const size_t block = dot4_block(k);
    for (; blocks >= 3; blocks -= 3, packed += 3 * block, c += 48) column<3>(a, lda, m, packed, k, c, ldc);
    if (blocks == 2) column<2>(a, lda, m, packed, k, c, ldc);
    if (blocks == 1) column<1>(a, lda, m, packed, k, c, ldc);
}

// Keys carry the compensation for the offset of the queries, values none: probabilities are unsigned by
// nature.
void gemm_activation(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                     int32_t* c, size_t ldc) {
    gemm_blocks(a, lda, m, packed, blocks, k, c, ldc);
}
void gemm_probability(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                      int32_t* c, size_t ldc) {
    gemm_blocks(a, lda, m, packed, blocks, k, c, ldc);
}

#include "attention.inc"

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    gemm_blocks(a, k, m, packed, n / 16, k, c, n);
}

}  // namespace

const KernelTable kAvx512Vnni = {
    .isa = "avx512vnni",
    .activation_offset = kActivationOffset,
    .row_block = 64,
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
