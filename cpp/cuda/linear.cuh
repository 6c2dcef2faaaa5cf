// Linear layers, docs/numerics.md sections 3 to 5: what cpp/kernels/rows.inc does with the sums of products,
// value by value, before they leave the registers.
#pragma once

#include "products.cuh"
#include "rows.cuh"

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

__device__ inline float4 load4(const float* p) {
    return *reinterpret_cast<const float4*>(p);
}
// Of what no thread writes meanwhile: such loads need not wait for stores.
__device__ inline float4 load_constant4(const float* p) {
    return __ldg(reinterpret_cast<const float4*>(p));
}
__device__ inline void store4(float* p, float4 x) {
    *reinterpret_cast<float4*>(p) = x;
}

__device__ inline float4 no_load(size_t) {
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

struct Columns {
    float4 scale, bias;
};
__device__ inline Columns load_columns(const Linear& linear, uint32_t column) {
    return {load_constant4(linear.scale + column), load_constant4(linear.bias + column)};
}

// A lane's rows of a part: 16 m + 8 half + lane / 4. Its columns: 16 n + 4 (lane % 4) and three more.
__device__ inline uint32_t lane_row(const Part& part, uint32_t m, uint32_t half) {
    return part.row + 16 * m + 8 * half + threadIdx.x % 32 / 4;
}

__device__ inline float4 dequantised(const Part& part, uint32_t m, uint32_t half, uint32_t n, float row_scale,
                                     const Columns& c) {
    const int32_t* const low = part.sum[m][2 * n] + 2 * half;
    const int32_t* const high = part.sum[m][2 * n + 1] + 2 * half;
    const auto value = [row_scale](int32_t sum, float scale, float bias) {
        return static_cast<float>(sum) * row_scale * scale + bias;
    };
    return make_float4(value(low[0], c.scale.x, c.bias.x), value(low[1], c.scale.y, c.bias.y),
                       value(high[0], c.scale.z, c.bias.z), value(high[1], c.scale.w, c.bias.w));
}

// A matrix whose rows begin with column `skipped` of the layer's.
struct Place {
    uint32_t width, skipped;
};

// For columns [16 begin, 16 end) of the part: store(at, y, load(at)), y being the values of four columns, of
// which the first is element `at` of the matrix. The compiler may not move a load before a store, and each
// would be waited for: so those of 16 kAhead columns, as many as there are registers for, come before the
// stores.
template <uint32_t begin, uint32_t end, class Load, class Store>
__device__ inline void each_four(const Part& part, const Quantized& in, const Linear& linear, Place place,
                                 Load load, Store store) {
    constexpr uint32_t kRows = kPartM / 8, kAhead = 4 / kRows;
    static_assert((end - begin) % kAhead == 0);
#pragma unroll
    for (uint32_t first = begin; first < end; first += kAhead) {
        const uint32_t column = part.column + 16 * first + threadIdx.x % 4 * 4;
        if (column >= linear.n) return;
        const size_t base = static_cast<size_t>(part.row) * place.width + column - place.skipped;
        float4 loaded[kAhead][kRows];
        const auto each = [&](auto use) {
#pragma unroll
            for (uint32_t i = 0; i < kAhead; ++i)
#pragma unroll
                for (uint32_t r = 0; r < kRows; ++r) {
                    const uint32_t row = lane_row(part, r / 2, r % 2);
                    if (row < part.rows) use(i, r, base + ((row - part.row) * place.width + 16 * i));
                }
        };
        each([&](uint32_t i, uint32_t r, size_t at) { loaded[i][r] = load(at); });
        each([&](uint32_t i, uint32_t r, size_t at) {
            const Columns c = load_columns(linear, column + 16 * i);
            store(
                at,
                dequantised(part, r / 2, r % 2, first + i, __ldg(in.scale + lane_row(part, r / 2, r % 2)), c),
                loaded[i][r]);
        });
    }
}

// Quantises the head of D columns that begins with column 16 begin of the part, given where it stands in a
// row of q or k.
template <uint32_t D, uint32_t begin>
__device__ inline void quantise_head(const Part& part, const QkvArgs& args, int8_t* to, float* scales,
                                     uint32_t at) {
    constexpr uint32_t kFours = D / 16;
    const uint32_t lane = threadIdx.x % 4 * 4, heads = args.hidden / D;
#pragma unroll
    for (uint32_t m = 0; m < kPartM / 16; ++m)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t row = lane_row(part, m, half);
            const bool exists = row < part.rows;
            const float row_scale_in = exists ? __ldg(args.in.scale + row) : 0.0f;
            float4 y[kFours];
            float largest = 0.0f;
#pragma unroll
            for (uint32_t i = 0; i < kFours; ++i) {
                const uint32_t column = part.column + 16 * (begin + i) + lane;
                y[i] = dequantised(part, m, half, begin + i, row_scale_in, load_columns(args.linear, column));
                largest = fmaxf(
                    largest, fmaxf(fmaxf(fabsf(y[i].x), fabsf(y[i].y)), fmaxf(fabsf(y[i].z), fabsf(y[i].w))));
            }
            const RowScale s = row_scale(lane_max<4>(largest));
            if (!exists) continue;
            int8_t* const out = to + static_cast<size_t>(row) * args.hidden + at + lane;
#pragma unroll
            for (uint32_t i = 0; i < kFours; ++i)
                *reinterpret_cast<uint32_t*>(out + 16 * i) = quantized(y[i], s.inverse);
            if (lane == 0) scales[static_cast<size_t>(row) * heads + at / D] = s.scale;
        }
}

// Columns [16 begin, 16 begin + 64) of the part: all of q, of k or of v (or past it), and whole heads, since
// H is a multiple of 64.
template <uint32_t begin>
__device__ inline void split_qkv(const Part& part, const QkvArgs& args) {
    const uint32_t column = part.column + 16 * begin, hidden = args.hidden;
    if (column >= 2 * hidden) {
        each_four<begin, begin + 4>(part, args.in, args.linear, {hidden, 2 * hidden}, no_load,
                                    [&](size_t at, float4 y, float4) { store4(args.v + at, y); });
        return;
    }
    const bool is_key = column >= hidden;
    int8_t* const to = is_key ? args.k : args.q;
    float* const scales = is_key ? args.k_scale : args.q_scale;
    const uint32_t at = is_key ? column - hidden : column;
    if (args.head_size == 64) {
        quantise_head<64, begin>(part, args, to, scales, at);
    } else {
        quantise_head<32, begin>(part, args, to, scales, at);
        quantise_head<32, begin + 2>(part, args, to, scales, at + 32);
    }
}

SAFETYCLF_KERNEL(linear_qkv, QkvArgs, 256, kBlocks) {
    Part part;
    if (!multiply(args.batch, args.in, args.linear, part)) return;
    split_qkv<0>(part, args);
    if constexpr (kPartN == 128) split_qkv<4>(part, args);
}

SAFETYCLF_KERNEL(linear_add, AddArgs, 256, kBlocks) {
    Part part;
    if (!multiply(args.batch, args.in, args.linear, part)) return;
    each_four<0, kPartN / 16>(
        part, args.in, args.linear, {args.linear.n, 0}, [&](size_t at) { return load4(args.x + at); },
        [&](size_t at, float4 y, float4 x) {
            store4(args.x + at, make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w));
        });
}

// As rows.inc: gelu(x) = x * (1/2 + y), y = c * P(c * c), c = x clamped.
__device__ inline float gelu(float x) {
    constexpr float kClamp = 4.5f;
    constexpr float kGelu[10] = {0x1.9874fep-2f,  -0x1.0fb770p-4f,  0x1.4236aep-7f,  -0x1.264d86p-10f,
                                 0x1.9a801cp-14f, -0x1.ab296ap-18f, 0x1.3db4a0p-22f, -0x1.3be3c2p-27f,
                                 0x1.753bbcp-33f, -0x1.8a12f8p-40f};
    const float c = fminf(fmaxf(x, -kClamp), kClamp), t = c * c;
    float p = kGelu[9];
#pragma unroll
    for (int i = 8; i >= 0; --i) p = p * t + kGelu[i];
    return x * (c * p + 0.5f);
}

SAFETYCLF_KERNEL(linear_gelu, GeluArgs, 256, kBlocks) {
    Part part;
    if (!multiply(args.batch, args.in, args.linear, part)) return;
    each_four<0, kPartN / 16>(
        part, args.in, args.linear, {args.linear.n, 0}, no_load, [&](size_t at, float4 y, float4) {
            store4(args.y + at, make_float4(gelu(y.x), gelu(y.y), gelu(y.z), gelu(y.w)));
        });
}

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
