// Attention over integers, docs/numerics.md section 6: as cpp/kernels/attention.inc.
#pragma once

#include "rows.cuh"

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

// A block for the D channels of a head, its warps taking turns at the groups of four tokens.
SAFETYCLF_KERNEL(quantize_values, ValueArgs, 128) {
    const uint32_t window = blockIdx.x, size = args.head_size;
    if (window >= args.batch.size[0]) return;
    __shared__ uint32_t largest_of[64];  // bits of floats that are not negative, which order as integers
    const uint32_t begin = args.batch.begins[window], length = args.batch.begins[window + 1] - begin;
    const uint32_t channel = threadIdx.x % size, turn = threadIdx.x / size, turns = blockDim.x / size;
    const size_t hidden = args.hidden, column = blockIdx.y * size + channel;
    const float* const v = args.v + begin * hidden + column;
    uint32_t* const values = args.values + value_group(window, begin) * hidden + column;
    if (turn == 0) largest_of[channel] = 0;
    __syncthreads();
    const auto load = [=](uint32_t token) { return token < length ? __ldg(v + token * hidden) : 0.0f; };
    float largest = 0.0f;
#pragma unroll 4
    for (uint32_t j = 4 * turn; j < length; j += 4 * turns)
        for (uint32_t i = 0; i < 4; ++i) largest = fmaxf(largest, fabsf(load(j + i)));
    atomicMax(&largest_of[channel], __float_as_uint(largest));
    __syncthreads();
    const RowScale s = row_scale(__uint_as_float(largest_of[channel]));
#pragma unroll 4
    for (uint32_t j = 4 * turn; j < length; j += 4 * turns)
        values[j / 4 * hidden] =
            quantized(make_float4(load(j), load(j + 1), load(j + 2), load(j + 3)), s.inverse);
    if (turn == 0) args.scale[window * hidden + column] = s.scale;
}

// Keys and values of 32 tokens in shared memory: one step of a product with probabilities.
constexpr uint32_t kTile = 32;

template <uint32_t D>
struct KeyTile {
    alignas(16) int8_t keys[kTile * D];             // see key_place
    alignas(16) uint32_t values[kTile / 4][D + 8];  // four tokens a word; 8 more for other banks
    alignas(16) float scale[kTile];
};
static_assert(2 * sizeof(KeyTile<32>) == attention_shared(32) &&
              2 * sizeof(KeyTile<64>) == attention_shared(64));

// Where 16 bytes of a key stand. Of 16 tokens, those of even and odd pairs make up one tile of a product
// each: so a thread, which gets two neighbouring columns of every tile, has four tokens in a row, the bytes
// that it multiplies by a word of values. Pieces of 16 bytes change places so that eight rows lie in
// different banks.
template <uint32_t D>
__device__ __forceinline__ uint32_t key_place(uint32_t row, uint32_t piece) {
    return row * D + 16 * (piece ^ (row / (128 / D)) % (D / 16));
}
__device__ __forceinline__ uint32_t key_row(uint32_t token) {
    return (token & ~15u) + (token / 2 % 2) * 8 + (token / 4 % 4) * 2 + token % 2;
}

// 255 * 2^x, rounded, in the low byte; x in [-20, 0].
__device__ __forceinline__ uint32_t probability_bits(float x) {
    const float shifted = x + kRounding;
    const float f = x - (shifted - kRounding);
    float p = 0x1.3997e8p-7f;
    p = p * f + 0x1.ca1406p-5f;
    p = p * f + 0x1.ec06d8p-3f;
    p = p * f + 0x1.62e0dcp-1f;
    p = p * f + 1.0f;
    // Of the bits of kRounding itself none is left after the shift.
    return rounded_bits(__uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23)) * 255.0f);
}

// What a warp does: 16 rows. Of each tile of a product a thread has columns 2 * quad and the next, in two
// rows that are 8 apart.
template <uint32_t D>
class Attention {
public:
    // `first`: the block's first row in its window, which begins at row `begin`.
    __device__ Attention(const AttentionArgs& args, uint32_t begin, uint32_t length, uint32_t first)
        : args_(args),
          begin_(begin),
          length_(length),
          column_(blockIdx.y * D),
          first_(first + threadIdx.x / 32 * 16) {}

    __device__ void run() {
        KeyTile<D>* const buffers = dynamic_shared<KeyTile<D>>();
        // First all keys for each row's largest logit; then, from the last tile on, which is at hand, back to
        // the first for probabilities. A warp without rows helps to load.
        const uint32_t tiles = (length_ + kTile - 1) / kTile, steps = 2 * tiles - 1;
        const auto token_of = [=](uint32_t step) {
            return (step < tiles ? step : 2 * tiles - 2 - step) * kTile;
        };
        const auto load = [&](uint32_t step) {
            load_tile(buffers[step % 2], token_of(step), step + 1 >= tiles);
            copies_commit();
        };
        load(0);
        load_queries();
        for (uint32_t step = 0; step < steps; ++step) {
            copies_wait<0>();
            __syncthreads();
            if (step + 1 < steps) load(step + 1);
            if (first_ >= length_) continue;
            const KeyTile<D>& tile = buffers[step % 2];
            const uint32_t left = length_ - token_of(step), keys = left < kTile ? left : kTile;
            logits(tile, keys);
            if (step < tiles) find_peaks(keys);
            if (step + 1 == tiles)
                for (float& peak : peak_) peak = lane_max<4>(peak);
            if (step + 1 >= tiles) mix(tile, keys);
        }
        if (first_ < length_) store();
    }

private:
    // The two rows of which a thread has results.
    __device__ uint32_t row(uint32_t high) const { return first_ + threadIdx.x % 32 / 4 + 8 * high; }
    __device__ static uint32_t quad() { return threadIdx.x % 4; }

    __device__ void load_tile(KeyTile<D>& tile, uint32_t token, bool with_values) const {
        const uint32_t hidden = args_.hidden, left = length_ - token;
        const int8_t* const keys = args_.k + static_cast<size_t>(begin_ + token) * hidden + column_;
        constexpr uint32_t pieces = D / 16;
        for (uint32_t i = threadIdx.x; i < kTile * pieces; i += blockDim.x) {
            const uint32_t j = i / pieces, piece = i % pieces;
            copy16_async(tile.keys + key_place<D>(key_row(j), piece),
                         keys + static_cast<size_t>(j) * hidden + 16 * piece, j < left);
        }
        const uint32_t heads = hidden / D;
        if (threadIdx.x < kTile)
            copy4_async(
                tile.scale + threadIdx.x,
                args_.k_scale + static_cast<size_t>(begin_ + token + threadIdx.x) * heads + blockIdx.y,
                threadIdx.x < left);
        if (!with_values) return;
        const uint32_t* const values =
            args_.values + static_cast<size_t>(value_group(blockIdx.x, begin_) + token / 4) * hidden +
            column_;
        for (uint32_t i = threadIdx.x; i < kTile / 4 * (D / 4); i += blockDim.x) {
            const uint32_t group = i / (D / 4), word = i % (D / 4) * 4;
            copy16_async(&tile.values[group][word], values + static_cast<size_t>(group) * hidden + word,
                         4 * group < left);
        }
    }

    __device__ void load_queries() {
        const uint32_t heads = args_.hidden / D;
        for (uint32_t r = 0; r < 2; ++r) {
            peak_[r] = -kHuge;
            const bool exists = row(r) < length_;
            const size_t at = begin_ + row(r);
            scale_[r] = exists ? args_.q_scale[at * heads + blockIdx.y] * args_.logit_scale : 0.0f;
            const int8_t* const q = args_.q + at * args_.hidden + column_ + 4 * quad();
            for (uint32_t i = 0; i < D / 16; ++i)
                query_[i / 2][i % 2 * 2 + r] = exists ? *reinterpret_cast<const uint32_t*>(q + 16 * i) : 0;
        }
    }

    // Products of the rows with the keys times the keys' scales.
    __device__ void logits(const KeyTile<D>& tile, uint32_t keys) {
        const uint32_t lane = threadIdx.x % 32;
#pragma unroll
        for (uint32_t g = 0; g < kTile / 16; ++g) {
            if (16 * g >= keys) break;
            // Sums that begin with the bits of kRounding are floats: kRounding plus the sum.
            int32_t sum[2][4];
            for (int32_t(&s)[4] : sum)
                for (int32_t& x : s) x = static_cast<int32_t>(kRoundingBits);
#pragma unroll
            for (uint32_t step = 0; step < D / 32; ++step) {
                uint32_t b[4];
                load_matrix_x4(
                    b, tile.keys + key_place<D>(16 * g + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
                const uint32_t even[2] = {b[0], b[1]}, odd[2] = {b[2], b[3]};
                mma_s8(sum[0], query_[step], even);
                mma_s8(sum[1], query_[step], odd);
            }
            const float4 scale = *reinterpret_cast<const float4*>(tile.scale + 16 * g + 4 * quad());
            const float of[4] = {scale.x, scale.y, scale.z, scale.w};
#pragma unroll
            for (uint32_t r = 0; r < 2; ++r)
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    const float t =
                        __uint_as_float(static_cast<uint32_t>(sum[i / 2][2 * r + i % 2])) - kRounding;
                    // Tokens past the end are pulled below every real logit.
                    logit_[g][r][i] = 16 * g + 4 * quad() + i < keys ? t * of[i] : -kHuge;
                }
        }
    }

    __device__ void find_peaks(uint32_t keys) {
#pragma unroll
        for (uint32_t g = 0; g < kTile / 16; ++g) {
            if (16 * g >= keys) break;
            for (uint32_t r = 0; r < 2; ++r)
                for (uint32_t i = 0; i < 4; ++i) peak_[r] = fmaxf(peak_[r], logit_[g][r][i]);
        }
    }

    // Four probabilities of a row.
    __device__ uint32_t probabilities(uint32_t r, const float (&logit)[4]) const {
        uint32_t p[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i)
            p[i] = probability_bits(fmaxf((logit[i] - peak_[r]) * scale_[r], -20.0f));
        return low_bytes(p[0], p[1], p[2], p[3]);
    }

    // Adds the values, weighted by probabilities, and the probabilities themselves.
    __device__ void mix(const KeyTile<D>& tile, uint32_t keys) {
        const uint32_t lane = threadIdx.x % 32;
        uint32_t p[4];
        for (uint32_t r = 0; r < 2; ++r) {
            p[r] = probabilities(r, logit_[0][r]);
            p[2 + r] = keys > 16 ? probabilities(r, logit_[1][r]) : 0;
        }
        const uint32_t ones[2] = {0x01010101, 0x01010101};
        mma_u8(total_, p, ones);
#pragma unroll
        for (uint32_t n = 0; n < D / 8; ++n) {
            const uint32_t b[2] = {tile.values[quad()][8 * n + lane / 4],
                                   tile.values[4 + quad()][8 * n + lane / 4]};
            mma_u8(mixed_[n], p, b);
        }
    }

    __device__ void store() const {
        const size_t hidden = args_.hidden;
        const float* const scale = args_.value_scale + blockIdx.x * hidden + column_ + 2 * quad();
        for (uint32_t r = 0; r < 2; ++r) {
            if (row(r) >= length_) continue;
            const float inverse = 1.0f / static_cast<float>(total_[2 * r]);
            float* const out = args_.out + (begin_ + row(r)) * hidden + column_ + 2 * quad();
#pragma unroll
            for (uint32_t n = 0; n < D / 8; ++n) {
                const float2 s = *reinterpret_cast<const float2*>(scale + 8 * n);
                *reinterpret_cast<float2*>(out + 8 * n) =
                    make_float2(static_cast<float>(mixed_[n][2 * r]) * inverse * s.x,
                                static_cast<float>(mixed_[n][2 * r + 1]) * inverse * s.y);
            }
        }
    }

    static constexpr float kHuge = 3e38f;

    const AttentionArgs& args_;
    const uint32_t begin_, length_, column_, first_;
    uint32_t query_[D / 32][4];
    float scale_[2], peak_[2];
    float logit_[kTile / 16][2][4];  // of a tile: 16 tokens, row, four tokens
    int32_t mixed_[D / 8][4] = {}, total_[4] = {};
};

template <uint32_t D>
__device__ __forceinline__ void attend(const AttentionArgs& args) {
    if (blockIdx.x >= args.batch.size[0]) return;
    const uint32_t begin = args.batch.begins[blockIdx.x], length = args.batch.begins[blockIdx.x + 1] - begin;
    const uint32_t rows = attention_rows(blockDim.x);
    for (uint32_t first = blockIdx.z * rows; first < length; first += gridDim.z * rows) {
        if (first >= gridDim.z * rows) __syncthreads();  // the buffers are free again
        Attention<D>(args, begin, length, first).run();
    }
}

SAFETYCLF_KERNEL(attention_32, AttentionArgs, 128, 6) {
    attend<32>(args);
}

SAFETYCLF_KERNEL(attention_64, AttentionArgs, 128, 4) {
    attend<64>(args);
}

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
