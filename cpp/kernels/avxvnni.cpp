// AVX2 with AVX-VNNI, the 256-bit vpdpbusd of CPUs without AVX-512: unsigned by signed bytes, groups of four
// added into int32 without saturation, activations stored with an offset of 128 as in avx512vnni.cpp: exact.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

#include "simd256.inc"

constexpr int32_t kActivationOffset = 128;
constexpr size_t kReductionTile = 4;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0;
constexpr int32_t kValueCompensation = 0;

#include "dot4.inc"
#include "rows.inc"

// 10 accumulators hide the latency of the multiply; 3 rows of 2 blocks need the fewest loads.
constexpr size_t kRowBlock = 64;
constexpr int kTileBlocks = 2;
using Row = __m256i;

inline Row spread(__m256i a_u8x32) {
    return a_u8x32;
}
inline __m256i multiply_add(__m256i acc_i32x8, Row row, __m256i w_i8x32) {
    return _mm256_dpbusd_avx_epi32(acc_i32x8, row, w_i8x32);
}
inline int32_t row_start(const uint8_t*, size_t) {
    return 0;
}

#include "tile256.inc"

constexpr auto gemm_activation = gemm_blocks;
constexpr auto gemm_probability = gemm_blocks;

#include "attention.inc"

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    gemm_blocks(a, k, m, packed, n / 16, k, c, n);
}

}  // namespace

const KernelTable kAvxVnni = {
    .isa = "avxvnni",
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
