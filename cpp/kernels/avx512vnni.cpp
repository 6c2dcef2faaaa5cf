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
#include "vnni512.inc"

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
