// The table of kernels that every instruction set fills, and the contract of each entry. docs/numerics.md
// defines the arithmetic; this file defines layouts and bounds. Plain C types only: a kernel file may include
// nothing heavier.
//
// Rules for all entries: noexcept, no allocation, no global state, no locks. Results are bit-identical on
// every instruction set. Rows are independent: a row's result does not depend on which or how many rows are
// passed along with it.
//
// Names: H hidden size, F intermediate size, D head size, L tokens in a window; "row" is a token. H, F are
// multiples of 64.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace safetyclf::kernels {

// Changes whenever any kernel could give other bits than before: calibration is tied to it.
inline constexpr uint32_t kNumericsRevision = 1;

// Most values summed into one int32 without overflow: the worst term is 255 * 127 (docs/numerics.md).
inline constexpr size_t kMaxReduction = 66311;

// Slack that callers leave behind every activation, accumulator and attention buffer: kernels work in whole
// tiles and may read (and for accumulators write) rows up to the next multiple of kRowTile, and read
// kReadSlack bytes past the last row.
inline constexpr size_t kRowTile = 32;
inline constexpr size_t kReadSlack = 128;
inline constexpr size_t kAlignment = 64;

// Linear layer: packed int8 weights [n, k] with one scale per output channel.
struct Linear {
    const int8_t* packed;         // from pack_weights
    const float* column_scale;    // [n] scale of each output channel
    const float* bias;            // [n]
    const float* inverse_smooth;  // [k] the input is multiplied by this before quantisation
    size_t n, k;
};

struct Norm {
    const float* gamma;  // [H]
    const float* beta;   // [H]
    float epsilon;
};

// One attention head of one window. Rows of q, k are `stride` bytes apart, rows of v and out `stride` floats
// apart, scales `heads` floats apart. `out` may be `v`: it is written after v was read.
struct AttentionHead {
    const uint8_t* q;      // [L, D] stored activations (activation_offset applied)
    const float* q_scale;  // [L]
    const int8_t* k;       // [L, D] signed
    const float* k_scale;  // [L]
    const float* v;        // [L, D]
    float* out;            // [L, D]
    size_t length, head_size, stride, heads;
    float logit_scale;  // log2(e) / sqrt(D)
    void* scratch;      // attention_scratch(L, D) bytes, kAlignment-aligned
};

struct KernelTable {
    const char* isa;  // "scalar", "avx2", "avxvnni", "avx512vnni", "avx512amx", "neon_dotprod", "neon_i8mm"

    // Activations are stored as signed int8 plus this (0 or 128), whatever suits the instruction set's
    // multiply.
    uint32_t activation_offset;
    // Rows per GEMM call at which the weights' traffic stops to matter: the engine cuts its work into such
    // blocks.
    size_t row_block;

    // Weights. packed: packed_size(n, k) bytes, kAlignment-aligned; w row-major [n, k], values in [-127,
    // 127].
    size_t (*packed_size)(size_t n, size_t k);
    void (*pack_weights)(const int8_t* w, size_t n, size_t k, int8_t* packed);

    // c[i, j] = sum_l a[i, l] * w[j, l], exact; a: stored activations, row stride k; c: row stride n, [round
    // up(m, kRowTile), n]. n a multiple of 16, k a multiple of 64.
    void (*gemm)(const uint8_t* a, size_t m, const int8_t* packed, size_t n, size_t k, int32_t* c);

    // x[i] = layer_norm(words[ids[i]] * word_scale[ids[i]] + positions[position[i]]); words int8 [V, H],
    // positions float [P, H].
    void (*embed)(const int32_t* ids, const uint32_t* position, size_t rows, const int8_t* words,
                  const float* word_scale, const float* positions, const Norm* norm, size_t hidden, float* x);

    // q[i, :] = stored activations of x[i, :] * inverse_smooth, scale[i] the row's scale. Row stride k for
    // both.
    void (*quantize)(const float* x, size_t rows, const float* inverse_smooth, size_t k, uint8_t* q,
                     float* scale);

    // Query, key and value from the accumulator of the joint layer, n = 3 H: q, k quantised with one scale
    // per row and head.
    void (*split_qkv)(const int32_t* acc, size_t rows, const float* row_scale, const Linear* layer,
                      size_t heads, uint8_t* q, float* q_scale, int8_t* k, float* k_scale, float* v);

    size_t (*attention_scratch)(size_t length, size_t head_size);
    void (*attention)(const AttentionHead* head);

    // x[i] = layer_norm(x[i] + dequantised acc[i]), n = H.
    void (*add_norm)(const int32_t* acc, size_t rows, const float* row_scale, const Linear* layer,
                     const Norm* norm, float* x);

    // q[i, :], scale[i] = quantize(gelu(dequantised acc[i]) * inverse_smooth); n = F, row: float [n] scratch,
    // scale may be row_scale.
    void (*gelu_quantize)(const int32_t* acc, size_t rows, const float* row_scale, const Linear* layer,
                          const float* inverse_smooth, float* row, uint8_t* q, float* scale);

    // mean[H] over rows, summed in row order.
    void (*mean_rows)(const float* x, size_t rows, size_t hidden, float* mean);

    // out[i, c] = dot(x[i, :], w[c, :]); w row-major [classes, H]; out row stride classes.
    void (*dot_rows)(const float* x, size_t rows, const float* w, size_t classes, size_t hidden, float* out);
};

}  // namespace safetyclf::kernels
