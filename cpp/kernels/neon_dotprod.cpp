// ARMv8.2 with the dot-product extension (Neoverse N1, Cortex-A76 and later).
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

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    sdot_blocks(a, k, m, packed, n / 16, k, c, n);
}

}  // namespace

const KernelTable kNeonDotprod = {
    .isa = "neon_dotprod",
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
