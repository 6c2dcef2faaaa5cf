// AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds pairs into int16 with saturation. It gets the
// magnitudes of the activations, and the weights inverted (~w = -w - 1) where the activation is not negative.
// So a pair is at most 2 * 128 * 127 = 32512 < 2^15, and nothing saturates: exact. (Probabilities are stored
// as p - 128; as plain unsigned bytes a pair of them would reach 2 * 255 * 127.) vpmaddwd multiplies by -1
// while it adds the pairs, which makes a product a * w again, plus a where a is positive: that part depends
// on the row alone and is taken out beforehand. vpsignb would need no correction, but takes a port of the
// multiplies.
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

// 12 accumulators, the minus ones, magnitudes and signs of a row and 1 temporary are the 16 registers;
// weights are operands in memory. Magnitudes and signs are work for each row, whatever the width: hence wide
// and low.
constexpr size_t kRowBlock = 64;
constexpr int kTileBlocks = 3;

struct Row {
    __m256i magnitude_u8x32, not_negative, minus_ones;
};

inline Row spread(__m256i a_i8x32) {
    __m256i minus_ones = _mm256_set1_epi8(-1);
    __asm__("" : "+x"(minus_ones));  // or g++ 12 makes it anew for each row
    return {_mm256_abs_epi8(a_i8x32), _mm256_shuffle_epi8(minus_ones, a_i8x32), minus_ones};
}

inline __m256i multiply_add(__m256i acc_i32x8, const Row& row, __m256i w_i8x32) {
    const __m256i pairs_i16x16 =
        _mm256_maddubs_epi16(row.magnitude_u8x32, _mm256_xor_si256(w_i8x32, row.not_negative));
    return _mm256_add_epi32(acc_i32x8, _mm256_madd_epi16(pairs_i16x16, row.minus_ones));
}

// Minus the sum of the positive bytes.
inline int32_t row_start(const uint8_t* a, size_t k) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum_u64x4 = zero;
    const auto add_bytes = [&sum_u64x4, zero](__m256i a_i8x32) {
        sum_u64x4 = _mm256_add_epi64(sum_u64x4, _mm256_sad_epu8(_mm256_max_epi8(a_i8x32, zero), zero));
    };
    size_t l = 0;
    for (; l + 32 <= k; l += 32) add_bytes(_mm256_loadu_si256((const __m256i*)(a + l)));
    for (; l < k; l += 4) {
        int32_t four;
        __builtin_memcpy(&four, a + l, 4);
        add_bytes(_mm256_zextsi128_si256(_mm_cvtsi32_si128(four)));
    }
    return -lane_sum_int({sum_u64x4, zero});
}

#include "tile256.inc"

constexpr auto gemm_activation = gemm_blocks;
constexpr auto gemm_probability = gemm_blocks;

#include "attention.inc"

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    gemm_blocks(a, k, m, packed, n / 16, k, c, n);
}

}  // namespace

const KernelTable kAvx2 = {
    .isa = "avx2",
    .activation_offset = kActivationOffset,
    .row_block = kRowBlock,
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
