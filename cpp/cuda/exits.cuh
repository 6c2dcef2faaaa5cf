// What ends a window: pooling, heads, the rules for leaving early, and putting together what goes on. As
// cpp/src/engine/exits.cpp; docs/adaptive-depth.md.
#pragma once

#include "rows.cuh"

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {
// The window's mean over its rows, in shared memory, and behind it the logits of all heads; then, unless
// exit_weight is null, the product of the exit's weights.
__device__ __forceinline__ const float* head_logits(const Batch& batch, const float* x,
                                                    const float* head_weight, const float* head_bias,
                                                    const float* exit_weight, uint32_t hidden,
                                                    uint32_t classes) {
    float* const mean = dynamic_shared<float>();
    float* const logits = mean + hidden;
    const uint32_t begin = batch.begins[blockIdx.x];
    const uint32_t rows = batch.begins[blockIdx.x + 1] - begin;
    for (uint32_t column = threadIdx.x; column < hidden; column += blockDim.x) {
        const float* const at = x + static_cast<size_t>(begin) * hidden + column;
        float sum = 0.0f;
        // Sixteen loads at a time, past the end the last row again: the sum waits for memory, not memory for
        // the sum.
        for (uint32_t r = 0; r < rows; r += 16) {
            float y[16];
#pragma unroll
            for (uint32_t i = 0; i < 16; ++i)
                y[i] = at[(r + i < rows ? r + i : rows - 1) * static_cast<size_t>(hidden)];
#pragma unroll
            for (uint32_t i = 0; i < 16; ++i)
                if (r + i < rows) sum += y[i];
        }
        mean[column] = sum / static_cast<float>(rows);
    }
    __syncthreads();
    const uint32_t lane = threadIdx.x % 16, outputs = classes + (exit_weight != nullptr ? 1 : 0);
    // Half a warp for each product; all go round equally often because a warp's halves meet in lane_sum.
    for (uint32_t first = 0; first < outputs; first += blockDim.x / 16) {
        const uint32_t c = first + threadIdx.x / 16;
        const float* const weight = c < classes ? head_weight + c * static_cast<size_t>(hidden) : exit_weight;
        float sum = 0.0f;
#pragma unroll 2
        for (uint32_t i = lane; i < (c < outputs ? hidden : 0); i += 64) {
            float w[4];
            for (uint32_t step = 0; step < 4; ++step) w[step] = weight[i + 16 * step];
            for (uint32_t step = 0; step < 4; ++step) sum += mean[i + 16 * step] * w[step];
        }
        sum = lane_sum(sum);
        if (lane == 0 && c < outputs) logits[c] = c < classes ? sum + head_bias[c] : sum;
    }
    __syncthreads();
    return logits;
}

SAFETYCLF_KERNEL(score, ScoreArgs, 384, 2) {
    if (blockIdx.x >= args.batch.size[0]) return;
    const float* const logits =
        head_logits(args.batch, args.x, args.head_weight, args.head_bias, nullptr, args.hidden, args.classes);
    for (uint32_t c = threadIdx.x; c < args.classes; c += blockDim.x)
        if (args.head_depth[c] == args.depth)
            args.logits[blockIdx.x * static_cast<size_t>(args.classes) + c] = logits[c];
}

SAFETYCLF_KERNEL(exits, ExitArgs, 384, 2) {
    if (blockIdx.x >= args.batch.size[0]) return;
    const float* const logits = head_logits(args.batch, args.x, args.head_weight, args.head_bias,
                                            args.exit_weight, args.hidden, args.classes);
    const uint32_t lane = threadIdx.x;
    if (lane >= 32) return;
    float highest = -INFINITY;
    for (uint32_t c = lane; c < args.classes; c += 32) {
        if (!(fabsf(logits[c]) < INFINITY)) atomicOr(args.not_finite, 1u);
        highest = fmaxf(highest, logits[c] - args.floor_logit[c]);
    }
    highest = lane_max<32>(highest);
    const uint32_t number = args.number[blockIdx.x];
    bool leaves = true;
    if (args.exit_weight != nullptr) {
        const float score = logits[args.classes] + args.bias + args.lexical * args.lexical_sum[number] +
                            args.highest * highest;
        leaves = score < args.threshold;  // a score that is not a number stays
    }
    if (leaves)
        for (uint32_t c = lane; c < args.classes; c += 32)
            args.logits[number * static_cast<size_t>(args.classes) + c] = logits[c];
    if (lane != 0) return;
    if (leaves) args.left_at[number] = args.depth;
    args.keep[blockIdx.x] = leaves ? 0 : 1;
}

// Sum over this lane and those before it.
__device__ __forceinline__ uint32_t running_sum(uint32_t x) {
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t apart = 1; apart < 32; apart *= 2) {
        const uint32_t before = __shfl_sync(kAllLanes, x, (lane - apart) % 32);
        if (lane >= apart) x += before;
    }
    return x;
}

SAFETYCLF_KERNEL(compact, CompactArgs, 1024) {
    __shared__ uint32_t kept_of_warp[32], rows_of_warp[32];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, windows = args.batch.size[0];
    uint32_t kept = 0, rows = 0;  // of the windows before this round's
    for (uint32_t first = 0; first < windows; first += 1024) {
        const uint32_t window = first + threadIdx.x;
        const bool keep = window < windows && args.keep[window] != 0;
        const uint32_t begin = keep ? args.batch.begins[window] : 0;
        const uint32_t length = keep ? args.batch.begins[window + 1] - begin : 0;
        const uint32_t kept_here = running_sum(keep ? 1 : 0), rows_here = running_sum(length);
        if (lane == 31) {
            kept_of_warp[warp] = kept_here;
            rows_of_warp[warp] = rows_here;
        }
        __syncthreads();
        const uint32_t kept_until = running_sum(kept_of_warp[lane]),
                       rows_until = running_sum(rows_of_warp[lane]);
        __syncthreads();  // before the next round writes these sums
        const uint32_t before = (warp - 1) % 32;
        const uint32_t kept_before = __shfl_sync(kAllLanes, kept_until, before);
        const uint32_t rows_before = __shfl_sync(kAllLanes, rows_until, before);
        if (keep) {
            const uint32_t to = kept + (warp == 0 ? 0 : kept_before) + kept_here - 1;
            args.new_begins[to] = rows + (warp == 0 ? 0 : rows_before) + rows_here - length;
            args.new_number[to] = args.number[window];
            args.source[to] = begin;
        }
        kept += __shfl_sync(kAllLanes, kept_until, 31);
        rows += __shfl_sync(kAllLanes, rows_until, 31);
    }
    if (threadIdx.x != 0) return;
    args.new_begins[kept] = rows;
    args.new_size[0] = kept;
    args.new_size[1] = rows;
}

// Bytes: a multiple of 16, as are both addresses.
__device__ __forceinline__ void copy(void* to, const void* from, size_t bytes) {
#pragma unroll 4
    for (size_t i = threadIdx.x; i < bytes / 16; i += blockDim.x)
        static_cast<uint4*>(to)[i] = static_cast<const uint4*>(from)[i];
}

SAFETYCLF_KERNEL(gather, GatherArgs, 128) {
    if (blockIdx.x >= args.batch.size[0]) return;
    const size_t to = args.batch.begins[blockIdx.x], from = args.source[blockIdx.x], hidden = args.hidden;
    const size_t rows = args.batch.begins[blockIdx.x + 1] - to;
    copy(args.new_x + to * hidden, args.x + from * hidden, rows * hidden * sizeof(float));
    copy(args.out.values + to * hidden, args.in.values + from * hidden, rows * hidden);
    for (size_t r = threadIdx.x; r < rows; r += blockDim.x) args.out.scale[to + r] = args.in.scale[from + r];
}

SAFETYCLF_KERNEL(lexical, LexicalArgs, 128) {
    if (blockIdx.x >= args.batch.size[0]) return;
    __shared__ uint32_t total;  // a sum of int32, which wraps as it
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    const uint32_t begin = args.batch.begins[blockIdx.x];
    const uint32_t length = args.batch.begins[blockIdx.x + 1] - begin;
    const int32_t* const ids = args.ids + begin;
    const int8_t* const pairs = args.lexicon + args.vocabulary;
    int32_t sum = 0;
    for (uint32_t i = threadIdx.x; i + 1 < length; i += blockDim.x) {
        const auto left = static_cast<uint32_t>(ids[i]), right = static_cast<uint32_t>(ids[i + 1]);
        uint32_t hash = left * 0x9E3779B1u ^ (right * 0x85EBCA77u + 0x61u);
        hash ^= hash >> 15;
        sum += pairs[hash & (args.pairs - 1)];
        if (i > 0) sum += args.lexicon[left];
    }
    if (sum != 0) atomicAdd(&total, static_cast<uint32_t>(sum));
    __syncthreads();
    if (threadIdx.x != 0) return;
    args.number[blockIdx.x] = blockIdx.x;
    args.sum[blockIdx.x] = static_cast<float>(static_cast<int32_t>(total)) * args.lexicon_scale /
                           sqrtf(static_cast<float>(length));
}

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
