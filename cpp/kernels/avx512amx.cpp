// AVX-512 rows with AMX int8 tiles: one instruction multiplies 16 x 64 by 64 x 16 signed bytes, exact in
// int32. The dot-4 layout is the layout of a tile: sixteen rows of 64 bytes, each four consecutive k of
// sixteen columns.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

#include "simd512.inc"

constexpr int32_t kActivationOffset = 0;
constexpr size_t kReductionTile = 64;

#include "dot4.inc"
#include "rows.inc"

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// In static storage: g++ takes _tile_loadconfig to read the first 8 bytes only and may drop stores to the
// rest of a local.
constexpr TileConfig kTileConfig;

// Tiles 0-3 accumulate 32 x 32 of c; 4, 5 hold rows of a; 6, 7 hold columns of w.
inline void tile_32x32(const uint8_t* a, size_t lda, const int8_t* w, size_t block, size_t k, int32_t* c,
                       size_t ldc) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t l = 0; l < k; l += 64) {
        _tile_loadd(4, a + l, lda);
        _tile_loadd(6, w + l * 16, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, w + block + l * 16, 64);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(5, a + 16 * lda + l, lda);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + 16, ldc * 4);
    _tile_stored(2, c + 16 * ldc, ldc * 4);
    _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
}

inline void tile_16x32(const uint8_t* a, size_t lda, const int8_t* w, size_t block, size_t k, int32_t* c,
                       size_t ldc) {
    _tile_zero(0);
    _tile_zero(1);
    for (size_t l = 0; l < k; l += 64) {
        _tile_loadd(4, a + l, lda);
        _tile_loadd(6, w + l * 16, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, w + block + l * 16, 64);
        _tile_dpbssd(1, 4, 7);
    }
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + 16, ldc * 4);
}

inline void tile_16x16(const uint8_t* a, size_t lda, const int8_t* w, size_t k, int32_t* c, size_t ldc) {
    _tile_zero(0);
    for (size_t l = 0; l < k; l += 64) {
        _tile_loadd(4, a + l, lda);
        _tile_loadd(6, w + l * 16, 64);
        _tile_dpbssd(0, 4, 6);
    }
    _tile_stored(0, c, ldc * 4);
}

// Whole tiles only: rows of a past m are read and rows of c past m written, up to a multiple of 16 (abi.h,
// kRowTile).
void gemm_blocks(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                 int32_t* c, size_t ldc) {
    _tile_loadconfig(&kTileConfig);
    // g++ does not know that _tile_loadd reads memory: whatever the caller stored must be stored by now.
    __asm__ volatile("" ::: "memory");
    const size_t block = dot4_block(k);
    for (; blocks >= 2; blocks -= 2, packed += 2 * block, c += 32) {
        size_t r = 0;
        for (; m - r > 16; r += 32 < m - r ? 32 : m - r)
            tile_32x32(a + r * lda, lda, packed + 64, block, k, c + r * ldc, ldc);
        if (r < m) tile_16x32(a + r * lda, lda, packed + 64, block, k, c + r * ldc, ldc);
    }
    if (blocks == 1)
        for (size_t r = 0; r < m; r += 16) tile_16x16(a + r * lda, lda, packed + 64, k, c + r * ldc, ldc);
    _tile_release();
}

void gemm(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c) {
    gemm_blocks(a, k, m, packed, n / 16, k, c, n);
}

// Attention's products are too small for tiles: a head has half the columns that a tile takes, and what comes
// out of tiles has to go through memory.
namespace products {

constexpr int32_t kActivationOffset = 128;
constexpr size_t kReductionTile = 4;
constexpr size_t kRowsPerStep = 16;
constexpr int32_t kProbabilityFlip = 0;
constexpr int32_t kValueCompensation = 0;

#include "vnni512.inc"

// Queries are signed bytes here: they get their offset of 128 on the way.
void gemm_activation(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                     int32_t* c, size_t ldc) {
    alignas(64) uint8_t unsigned_a[kRowsPerStep * 64];
    for (size_t r = 0; r < m; ++r)
        for (size_t i = 0; i < k; i += 16)
            _mm_store_si128(
                (__m128i*)(unsigned_a + r * k + i),
                _mm_xor_si128(_mm_loadu_si128((const __m128i*)(a + r * lda + i)), _mm_set1_epi8((char)0x80)));
    gemm_blocks(unsigned_a, k, m, packed, blocks, k, c, ldc);
}
void gemm_probability(const uint8_t* a, size_t lda, size_t m, const int8_t* packed, size_t blocks, size_t k,
                      int32_t* c, size_t ldc) {
    gemm_blocks(a, lda, m, packed, blocks, k, c, ldc);
}

#include "attention.inc"

}  // namespace products

}  // namespace

const KernelTable kAvx512Amx = {
    .isa = "avx512amx",
    .activation_offset = kActivationOffset,
    .row_block = 64,
    .packed_size = dot4_size,
    .pack_weights = dot4_pack,
    .gemm = gemm,
    .embed = embed,
    .quantize = quantize,
    .split_qkv = split_qkv,
    .attention_scratch = products::attention_scratch,
    .attention = products::attention,
    .add_norm = add_norm,
    .gelu_quantize = gelu_quantize,
    .mean_rows = mean_rows,
    .dot_rows = dot_rows,
};

}  // namespace safetyclf::kernels
