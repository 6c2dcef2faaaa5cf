// What host and device agree on: the kernels' names, their arguments and how they are launched. Plain
// structs, each passed by value as a kernel's only parameter. docs/numerics.md defines the arithmetic; the
// kernels give the bits of cpp/kernels/scalar.cpp.
//
// Names: H hidden size, F intermediate size, D head size (32 or 64), C categories; "row" is a token. H and F
// are multiples of 64. All buffers are 256-byte aligned (cuMemAlloc).
//
// Exits shrink a batch on the device without asking the host. So how much is left stands in device memory,
// and grids are launched for what the batch was at first: a block beyond what is left returns at once. The
// same launches therefore serve every batch up to a capacity, which lets a CUDA graph hold them.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace safetyclf::cuda {

// What stands in device memory about the windows that are left.
struct Batch {
    const uint32_t* size;    // [2] windows, rows
    const uint32_t* begins;  // [windows + 1] where each window's rows begin; begins[0] is 0
};

struct Linear {            // as kernels::Linear, but the weights as the model file has them
    const int8_t* weight;  // [n, k] row-major, in [-127, 127]
    const float* scale;    // [n] of each output channel
    const float* bias;     // [n]
    uint32_t n, k;
};

struct Norm {
    const float* gamma;  // [H]
    const float* beta;   // [H]
    float epsilon;
};

struct Quantized {   // rows of int8 with a scale each
    int8_t* values;  // [rows, k], in [-127, 127]
    float* scale;    // [rows]
};

// --- Rows ------------------------------------------------------------------------------------------------

// x = norm(word embedding + position); then quantised for the first layer.
struct EmbedArgs {
    Batch batch;
    const int32_t* ids;        // [rows]
    const uint16_t* position;  // [rows] within its window
    const int8_t* words;       // [V, H]
    const float* word_scale;   // [V]
    const float* positions;    // [P, H]
    Norm norm;
    const float* inverse_smooth;  // [H]
    uint32_t hidden;
    float* x;  // [rows, H]
    Quantized out;
};

// x = norm(x) in place; then quantised for the next linear layer unless inverse_smooth is null.
struct NormArgs {
    Batch batch;
    float* x;  // [rows, H]
    Norm norm;
    const float* inverse_smooth;  // [H] or null
    uint32_t hidden;
    Quantized out;
};

struct QuantizeArgs {
    Batch batch;
    const float* x;               // [rows, k]
    const float* inverse_smooth;  // [k]
    uint32_t k;
    Quantized out;
};

// --- Linear layers: int8 products on tensor cores, what follows per value fused --------------------------

// The joint layer of attention, n = 3 H: queries and keys quantised with a scale per row and head.
struct QkvArgs {
    Batch batch;
    Quantized in;
    Linear linear;
    uint32_t hidden, head_size;
    int8_t* q;       // [rows, H]
    float* q_scale;  // [rows, H / D]
    int8_t* k;       // [rows, H]
    float* k_scale;  // [rows, H / D]
    float* v;        // [rows, H]
};

// x += linear(in): attention's output and the end of the feed-forward block, before their norms.
struct AddArgs {
    Batch batch;
    Quantized in;
    Linear linear;
    float* x;  // [rows, n]
};

// y = gelu(linear(in)): not yet smoothed, as QuantizeArgs expects.
struct GeluArgs {
    Batch batch;
    Quantized in;
    Linear linear;
    float* y;  // [rows, n]
};

// --- Attention -------------------------------------------------------------------------------------------

// Values quantised with a scale per channel of a window, four tokens to a word: the bytes of token 4 g + i of
// its window are those at 8 i of word [g of the window, channel], zero past the last token.
struct ValueArgs {
    Batch batch;
    const float* v;  // [rows, H]
    uint32_t hidden, head_size;
    uint32_t* values;  // [value_groups(rows, windows), H]
    float* scale;      // [windows, H]
};

// A window's groups of four tokens begin here; so those of different windows never overlap.
constexpr uint32_t value_group(uint32_t window, uint32_t begin) {
    return begin / 4 + window;
}
constexpr uint32_t value_groups(uint32_t rows, uint32_t windows) {
    return value_group(windows, rows);
}

// A kernel for each head size.
struct AttentionArgs {
    Batch batch;
    const int8_t* q;
    const float* q_scale;
    const int8_t* k;
    const float* k_scale;
    const uint32_t* values;    // from ValueArgs
    const float* value_scale;  // [windows, H]
    uint32_t hidden;
    float logit_scale;  // log2(e) / sqrt(D)
    float* out;         // [rows, H]; may be the v of ValueArgs
};

// --- Heads and exits -------------------------------------------------------------------------------------

// Adds nothing up that the host could read cheaper: means over a window's rows in row order, logits of all
// heads at this depth, and of these the ones that read here.
struct ScoreArgs {
    Batch batch;
    const float* x;              // [rows, H]
    const float* head_weight;    // [C, H] of this depth
    const float* head_bias;      // [C]
    const uint32_t* head_depth;  // [C]
    uint32_t hidden, classes, depth;
    float* logits;  // [windows, C]; only columns with head_depth == depth are written
};

// Whether a window leaves at this depth (docs/adaptive-depth.md). One that leaves, or all of them at the last
// depth, gets its row of logits and its depth written where it stood in the batch as it came.
struct ExitArgs {
    Batch batch;
    const float* x;
    const float* head_weight;                 // [C, H] of this depth
    const float* head_bias;                   // [C]
    const float* exit_weight;                 // [H] of this depth; null at the last depth
    const float* floor_logit;                 // [C]
    float bias, lexical, highest, threshold;  // of this depth and level
    uint32_t hidden, classes, depth;
    const uint32_t* number;    // [windows] in the batch as it came
    const float* lexical_sum;  // [windows], by number
    float* logits;             // [windows, C], by number
    uint32_t* left_at;         // [windows], by number: depth
    uint32_t* keep;            // [windows] 1 if it goes on, 0 for all at the last depth
    uint32_t* not_finite;      // set to 1 if any logit is not finite
};

// Numbers what goes on: one block. Reads and writes different buffers.
struct CompactArgs {
    Batch batch;
    const uint32_t* keep;    // [windows]
    const uint32_t* number;  // [windows]
    uint32_t* new_size;      // [2]
    uint32_t* new_begins;    // [windows + 1]
    uint32_t* new_number;    // [windows]
    uint32_t* source;        // [windows] old row at which each window that goes on begins
};

// Moves the rows of what goes on together. `batch` is the new one.
struct GatherArgs {
    Batch batch;
    const uint32_t* source;  // from CompactArgs
    uint32_t hidden;
    const float* x;
    Quantized in;
    float* new_x;
    Quantized out;
};

// Sum of a window's lexicon weights (docs/adaptive-depth.md), over the root of its length.
struct LexicalArgs {
    Batch batch;
    const int32_t* ids;
    const int8_t* lexicon;  // [V + pairs]
    uint32_t vocabulary, pairs;
    float lexicon_scale;
    float* sum;        // [windows]
    uint32_t* number;  // [windows] = 0, 1, 2, ...
};

// --- Launching -------------------------------------------------------------------------------------------

// X(name of the kernel, its arguments, threads of a block, what the grid is cut into)
//   rows_8: blocks of 8 rows; windows: a block each; tiles: x = tiles of kTileN columns, y = of kTileM rows;
//   heads: x = windows, y = heads; attention: the same, and among z blocks a window's rows are dealt out: at
//   most ceil(longest window / attention_rows(threads)), and 1 where there are windows enough; one: one
//   block.
#define SAFETYCLF_CUDA_KERNELS(X)                  \
    X(embed, EmbedArgs, 128, rows_8)               \
    X(norm, NormArgs, 128, rows_8)                 \
    X(quantize, QuantizeArgs, 256, rows_8)         \
    X(linear_qkv, QkvArgs, 256, tiles)             \
    X(linear_add, AddArgs, 256, tiles)             \
    X(linear_gelu, GeluArgs, 256, tiles)           \
    X(quantize_values, ValueArgs, 128, heads)      \
    X(attention_32, AttentionArgs, 128, attention) \
    X(attention_64, AttentionArgs, 128, attention) \
    X(score, ScoreArgs, 384, windows)              \
    X(exits, ExitArgs, 384, windows)               \
    X(compact, CompactArgs, 1024, one)             \
    X(gather, GatherArgs, 128, windows)            \
    X(lexical, LexicalArgs, 128, windows)

constexpr uint32_t kTileM = 128, kTileN = 128;
constexpr uint32_t kRowsPerBlock = 8;
// Dynamic shared memory of score and exits: a mean and its products with the heads and the exit's weights.
constexpr uint32_t head_shared(uint32_t hidden, uint32_t classes) {
    return 4 * (hidden + classes + 1);
}
// A block of attention may have 1 to 4 warps, each for 16 rows: no more than the longest window needs.
constexpr uint32_t attention_threads(uint32_t longest) {
    return longest > 48 ? 128 : (longest + 15) / 16 * 32;
}
constexpr uint32_t attention_rows(uint32_t threads) {
    return threads / 2;
}
// Dynamic shared memory of attention: two tiles of 32 keys, as they stand in attention.cuh.
constexpr uint32_t attention_shared(uint32_t head_size) {
    return 2 * (32 * head_size + 8 * 4 * (head_size + 8) + 32 * 4);
}
// Dynamic shared memory of the linear layers: stages of kTileM + kTileN rows of kTileK bytes.
constexpr uint32_t kTileK = 128, kStages = 2;
constexpr uint32_t kLinearShared = kStages * (kTileM + kTileN) * kTileK;  // sm_75 has 64 KiB

}  // namespace safetyclf::cuda
