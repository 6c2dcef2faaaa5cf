// ARMv8.6 with the int8 matrix-multiply extension (Neoverse V1 and N2, Cortex-A510 and later): smmla
// multiplies 2 x 8 by 8 x 2 signed bytes into 2 x 2 int32, twice the work of sdot, exact. The weights have a
// layout of their own: for each 8 columns, for each 8 consecutive k, 4 pairs of columns, each 8 bytes of the
// one and 8 of the other. Attention uses sdot on the dot-4 layout.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

#include "simd_neon.inc"

constexpr int32_t kActivationOffset = 0;
constexpr size_t kReductionTile = 16;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0x80;
constexpr int32_t kValueCompensation = 128;

#include "dot4.inc"
#include "rows.inc"
#include "sdot.inc"

// Probabilities are stored as p - 128, so that both products are of signed bytes.
constexpr auto gemm_activation = sdot_blocks;
constexpr auto gemm_probability = sdot_blocks;

#include "attention.inc"

size_t packed_size(size_t n, size_t k) {
    return n * k;
}

void pack_weights(const int8_t* w, size_t n, size_t k, int8_t* packed) {
    for (size_t column = 0; column < n; column += 8)
        for (size_t l = 0; l < k; l += 8)
            for (size_t j = 0; j < 8; ++j, packed += 8) __builtin_memcpy(packed, w + (column + j) * k + l, 8);
}

// 2 * pairs rows x 8 columns of c in registers: 4 pairs of rows need 16 accumulators, 4 registers of rows and
// 4 of weights of the 32.
template <int pairs>
inline void tile(const uint8_t* a, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    int32x4_t acc_i32x4[pairs][4];  // two columns of the even row, then of the odd row
    for (int i = 0; i < pairs; ++i)
        for (int j = 0; j < 4; ++j) acc_i32x4[i][j] = vdupq_n_s32(0);
    for (size_t l = 0; l < k; l += 8, packed += 64) {
        int8x16_t a_i8x16[pairs];
        for (int i = 0; i < pairs; ++i) {
            const int8_t* even = (const int8_t*)a + (size_t)(2 * i) * k + l;
            a_i8x16[i] = vcombine_s8(vld1_s8(even), vld1_s8(even + k));
        }
        for (int j = 0; j < 4; ++j) {
            const int8x16_t w_i8x16 = vld1q_s8(packed + 16 * j);
            for (int i = 0; i < pairs; ++i)
                acc_i32x4[i][j] = vmmlaq_s32(acc_i32x4[i][j], a_i8x16[i], w_i8x16);
        }
    }
    for (int i = 0; i < pairs; ++i)
        for (int j = 0; j < 4; j += 2) {
            const int64x2_t left = vreinterpretq_s64_s32(acc_i32x4[i][j]);
            const int64x2_t right = vreinterpretq_s64_s32(acc_i32x4[i][j + 1]);
            int32_t* even = c + (size_t)(2 * i) * n + 2 * j;
            vst1q_s32(even, vreinterpretq_s32_s64(vzip1q_s64(left, right)));
            vst1q_s32(even + n, vreinterpretq_s32_s64(vzip2q_s64(left, right)));
        }
}

// Whole pairs of rows only: with odd m, row m of a is read and of c written (abi.h, kRowTile).
void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    for (size_t column = 0; column < n; column += 8, packed += 8 * k) {
        size_t r = 0;
        for (; r + 8 <= m; r += 8) tile<4>(a + r * k, packed, n, k, c + r * n + column);
        for (; r < m; r += 2) tile<1>(a + r * k, packed, n, k, c + r * n + column);
    }
}

}  // namespace

const KernelTable kNeonI8mm = {
    .isa = "neon_i8mm",
    .activation_offset = kActivationOffset,
    .row_block = 64,
    .packed_size = packed_size,
    .pack_weights = pack_weights,
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
