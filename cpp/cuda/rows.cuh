// Row operations, docs/numerics.md sections 4 and 5: as cpp/kernels/rows.inc, the sixteen lanes of a sum
// being half a warp.
#pragma once

#include "device.cuh"

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {
constexpr uint32_t kAllLanes = 0xFFFFFFFF;

// Below this a row counts as zero; keeps 127 / maximum finite.
constexpr float kSmallestMaximum = 1e-30f;

struct RowScale {
    float inverse;  // 127 / maximum
    float scale;    // maximum / 127
};

__device__ __forceinline__ RowScale row_scale(float maximum_magnitude) {
    const float m = fmaxf(maximum_magnitude, kSmallestMaximum);
    return {127.0f / m, m * (1.0f / 127.0f)};
}

// For |x| < 2^22: x rounded to the nearest integer, ties to even, stands in the low bits of x + kRounding.
constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23
constexpr uint32_t kRoundingBits = 0x4B400000;

__device__ __forceinline__ uint32_t rounded_bits(float x) {
    return __float_as_uint(x + kRounding);
}

// The low bytes of four values, the first lowest.
__device__ __forceinline__ uint32_t low_bytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return (a & 0xFF) | (b & 0xFF) << 8 | (c & 0xFF) << 16 | d << 24;
}

__device__ __forceinline__ uint32_t quantized(float4 y, float inverse) {
    return low_bytes(rounded_bits(y.x * inverse), rounded_bits(y.y * inverse), rounded_bits(y.z * inverse),
                     rounded_bits(y.w * inverse));
}

__device__ __forceinline__ float4 product(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

// Over the sixteen lanes of half a warp, in all of them.
__device__ __forceinline__ float lane_sum(float x) {
    for (uint32_t apart = 8; apart > 0; apart /= 2) x += __shfl_xor_sync(kAllLanes, x, apart);
    return x;
}

// Over `lanes` lanes, in all of them.
template <uint32_t lanes>
__device__ __forceinline__ float lane_max(float x) {
    for (uint32_t apart = lanes / 2; apart > 0; apart /= 2)
        x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, apart));
    return x;
}

// A row of half a warp. Both halves meet in the sums, so one without a row goes along with no columns.
struct HalfRow {
    uint32_t lane, row, hidden;
    bool exists;

    __device__ HalfRow(const Batch& batch, uint32_t columns)
        : lane(threadIdx.x % 16), row(blockIdx.x * kRowsPerBlock + threadIdx.x / 16) {
        exists = row < batch.size[1];
        hidden = exists ? columns : 0;
    }
};

// Normalises a row in place, given each lane's running sum; then quantises it unless inverse_smooth is null.
__device__ __forceinline__ void normalize(const HalfRow& at, float* x, float sum, const Norm& norm,
                                          uint32_t columns, const float* inverse_smooth,
                                          const Quantized& out) {
    const float inverse_hidden = 1.0f / static_cast<float>(columns);
    const float mean = lane_sum(sum) * inverse_hidden;
    float squares = 0.0f;
    for (uint32_t i = at.lane; i < at.hidden; i += 64) {
        float d[4];
        for (uint32_t c = 0; c < 4; ++c) d[c] = x[i + 16 * c] - mean;
        for (uint32_t c = 0; c < 4; ++c) squares += d[c] * d[c];
    }
    const float variance = lane_sum(squares) * inverse_hidden;
    const float inverse_deviation = 1.0f / sqrtf(variance + norm.epsilon);
    float largest = 0.0f;
    for (uint32_t i = at.lane; i < at.hidden; i += 64) {
        float y[4];
        for (uint32_t c = 0; c < 4; ++c)
            y[c] =
                (x[i + 16 * c] - mean) * inverse_deviation * norm.gamma[i + 16 * c] + norm.beta[i + 16 * c];
        if (inverse_smooth != nullptr)
            for (uint32_t c = 0; c < 4; ++c)
                largest = fmaxf(largest, fabsf(y[c] * inverse_smooth[i + 16 * c]));
        for (uint32_t c = 0; c < 4; ++c) x[i + 16 * c] = y[c];
    }
    if (inverse_smooth == nullptr) return;
    const RowScale s = row_scale(lane_max<16>(largest));
    __syncwarp();  // from here on a lane has four columns side by side, which others wrote
    for (uint32_t i = 4 * at.lane; i < at.hidden; i += 64) {
        const float4 y = product(*reinterpret_cast<const float4*>(x + i),
                                 *reinterpret_cast<const float4*>(inverse_smooth + i));
        *reinterpret_cast<uint32_t*>(out.values + static_cast<size_t>(at.row) * columns + i) =
            quantized(y, s.inverse);
    }
    if (at.exists && at.lane == 0) out.scale[at.row] = s.scale;
}

SAFETYCLF_KERNEL(embed, EmbedArgs, 128) {
    const HalfRow at(args.batch, args.hidden);
    if ((at.row & ~1u) >= args.batch.size[1]) return;
    float* const x = args.x + static_cast<size_t>(at.row) * args.hidden;
    float sum = 0.0f;
    if (at.exists) {
        const size_t id = static_cast<size_t>(args.ids[at.row]);
        const int8_t* const word = args.words + id * args.hidden;
        const float* const place = args.positions + static_cast<size_t>(args.position[at.row]) * args.hidden;
        const float scale = args.word_scale[id];
        for (uint32_t i = at.lane; i < at.hidden; i += 64) {
            float y[4];
            for (uint32_t c = 0; c < 4; ++c)
                y[c] = static_cast<float>(word[i + 16 * c]) * scale + place[i + 16 * c];
            for (uint32_t c = 0; c < 4; ++c) {
                sum += y[c];
                x[i + 16 * c] = y[c];
            }
        }
    }
    normalize(at, x, sum, args.norm, args.hidden, args.inverse_smooth, args.out);
}

SAFETYCLF_KERNEL(norm, NormArgs, 128) {
    const HalfRow at(args.batch, args.hidden);
    if ((at.row & ~1u) >= args.batch.size[1]) return;
    float* const x = args.x + static_cast<size_t>(at.row) * args.hidden;
    float sum = 0.0f;
#pragma unroll 2
    for (uint32_t i = at.lane; i < at.hidden; i += 64) {
        float y[4];
        for (uint32_t c = 0; c < 4; ++c) y[c] = x[i + 16 * c];
        for (uint32_t c = 0; c < 4; ++c) sum += y[c];
    }
    normalize(at, x, sum, args.norm, args.hidden, args.inverse_smooth, args.out);
}

// A warp a row. The first `kept` times 128 values stay in registers between the search for the largest and
// the quantisation; what goes beyond is read twice.
template <uint32_t kept>
__device__ __forceinline__ void quantize_row(const QuantizeArgs& args, uint32_t row) {
    const uint32_t k = args.k, lane = threadIdx.x % 32;
    const float* const x = args.x + static_cast<size_t>(row) * k;
    const float* const inverse_smooth = args.inverse_smooth;
    int8_t* const q = args.out.values + static_cast<size_t>(row) * k;
    const auto smoothed = [=](uint32_t i) {
        return product(*reinterpret_cast<const float4*>(x + i),
                       *reinterpret_cast<const float4*>(inverse_smooth + i));
    };
    const auto magnitude = [](float4 y) {
        return fmaxf(fmaxf(fabsf(y.x), fabsf(y.y)), fmaxf(fabsf(y.z), fabsf(y.w)));
    };
    float4 y[kept];
    float largest = 0.0f;
#pragma unroll
    for (uint32_t s = 0; s < kept; ++s) {
        const uint32_t i = 128 * s + 4 * lane;
        y[s] = i < k ? smoothed(i) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
#pragma unroll
    for (uint32_t s = 0; s < kept; ++s) largest = fmaxf(largest, magnitude(y[s]));
    for (uint32_t i = 128 * kept + 4 * lane; i < k; i += 128)
        largest = fmaxf(largest, magnitude(smoothed(i)));
    const RowScale s = row_scale(lane_max<32>(largest));
    const auto store = [=](uint32_t i, float4 value) {
        *reinterpret_cast<uint32_t*>(q + i) = quantized(value, s.inverse);
    };
#pragma unroll
    for (uint32_t step = 0; step < kept; ++step)
        if (128 * step + 4 * lane < k) store(128 * step + 4 * lane, y[step]);
    for (uint32_t i = 128 * kept + 4 * lane; i < k; i += 128) store(i, smoothed(i));
    if (lane == 0) args.out.scale[row] = s.scale;
}

SAFETYCLF_KERNEL(quantize, QuantizeArgs, 256) {
    const uint32_t row = blockIdx.x * kRowsPerBlock + threadIdx.x / 32;
    if (row >= args.batch.size[1]) return;
    if (args.k <= 512) {
        quantize_row<4>(args, row);
    } else {
        quantize_row<12>(args, row);
    }
}

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
