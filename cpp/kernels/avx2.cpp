// AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds pairs into int16 with saturation. With the
// signs of the activations moved to the weights, a pair is at most 2 * 128 * 127 = 32512 < 2^15, so nothing
// saturates: exact. Probabilities go the same way, stored as p - 128; as plain unsigned bytes a pair of them
// would reach 2 * 255 * 127 and saturate.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

#include "simd256.inc"

constexpr int32_t kActivationOffset = 0;
constexpr size_t kReductionTile = 4;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0x80;
constexpr int32_t kValueCompensation = 128;

#include "dot4.inc"
#include "rows.inc"

// Eight columns of a block of sixteen.
inline __m256i half(const int8_t* block, int which) {
    return _mm256_loadu_si256((const __m256i*)block + which);
}

// rows x (16 * blocks) of c in registers: 2 x 2 needs 8 accumulators, 4 weights, the ones and 3 temporaries
// of the 16 registers. Taking the magnitude of a row's bytes is work for each row, whatever the width: hence
// wide and low.
template <int rows, int blocks>
inline void tile(const uint8_t* a, size_t lda, const int8_t* packed, size_t k, int32_t* c, size_t ldc) {
    const size_t block = dot4_block(k);
    const __m256i ones_i16x16 = _mm256_set1_epi16(1);
    __m256i acc_i32x8[rows][2 * blocks];
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < 2 * blocks; ++j) acc_i32x8[i][j] = half(packed + (size_t)(j / 2) * block, j % 2);
    const int8_t* w = packed + 64;
    for (size_t l = 0; l < k; l += 4, w += 64) {
        __m256i w_i8x32[2 * blocks];
        for (int j = 0; j < 2 * blocks; ++j) w_i8x32[j] = half(w + (size_t)(j / 2) * block, j % 2);
        for (int i = 0; i < rows; ++i) {
            int32_t four;
            __builtin_memcpy(&four, a + (size_t)i * lda + l, 4);
            const __m256i a_i8x32 = _mm256_set1_epi32(four);
            const __m256i magnitude_u8x32 = _mm256_abs_epi8(a_i8x32);
            for (int j = 0; j < 2 * blocks; ++j) {
                const __m256i pairs_i16x16 =
                    _mm256_maddubs_epi16(magnitude_u8x32, _mm256_sign_epi8(w_i8x32[j], a_i8x32));
                acc_i32x8[i][j] =
                    _mm256_add_epi32(acc_i32x8[i][j], _mm256_madd_epi16(pairs_i16x16, ones_i16x16));
            }
        }
    }
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < 2 * blocks; ++j)
            _mm256_storeu_si256((__m256i*)(c + (size_t)i * ldc) + j, acc_i32x8[i][j]);
}

void gemm_blocks(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                 int32_t* c, size_t ldc) {
    const size_t block = dot4_block(k);
    for (; blocks > 1; blocks -= 2, packed += 2 * block, c += 32) {
        size_t r = 0;
        for (; r + 2 <= m; r += 2) tile<2, 2>(a + r * lda, lda, packed, k, c + r * ldc, ldc);
        for (; r < m; ++r) tile<1, 2>(a + r * lda, lda, packed, k, c + r * ldc, ldc);
    }
    if (blocks == 1)
        for (size_t r = 0; r < m; ++r) tile<1, 1>(a + r * lda, lda, packed, k, c + r * ldc, ldc);
}

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

const KernelTable kAvx2 = {
    .isa = "avx2",
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
