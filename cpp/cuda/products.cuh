// Products of int8 matrices on tensor cores, summed exactly: y = a w^T, a tile of 128 rows (tokens) and 128
// columns (output channels) for each block, kTileK bytes of the sum at a time. While one stage in shared
// memory is multiplied, the next is copied. Blocks that run together are those of the same rows first (x of
// the grid), so these rows and the whole weight stay in the L2 cache.
#pragma once

#include "device.cuh"

namespace safetyclf::cuda {
inline namespace SAFETYCLF_ARCH {

// A warp's part of the tile. Every four lanes of a fragment hold some of a row, so a row's columns in a part,
// and with them whole heads, belong to four lanes.
#ifdef SAFETYCLF_SM_90A
constexpr uint32_t kPartM = 16, kPartN = 128;
#else
constexpr uint32_t kPartM = 32, kPartN = 64;
#endif

// Blocks whose shared memory fits on a multiprocessor.
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 750 || __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ == 1200)
constexpr int kBlocks = 1;
#else
constexpr int kBlocks = 2;
#endif

constexpr uint32_t kPartsN = kTileN / kPartN;
constexpr uint32_t kStageBytes = (kTileM + kTileN) * kTileK;
constexpr uint32_t kPieces = kTileK / 16;
static_assert(kTileK == 128 && kTileM % 64 == 0 && kStages >= 2);

// Where 16 bytes of a row stand in shared memory: moved by the row, so that eight rows' pieces lie in
// different banks. It is also the 128-byte swizzle that wgmma reads.
__device__ inline uint32_t tile_place(uint32_t row, uint32_t piece) {
    return row * kTileK + (piece ^ (row % 8)) * 16;
}

// Of 16 columns, the one whose weights stand in row `i` of shared memory: such that the two fragments of
// these columns give a lane four neighbours, 4 t and on for t = lane % 4.
__device__ inline uint32_t column_at(uint32_t i) {
    return i % 8 / 2 * 4 + i / 8 * 2 + i % 2;
}

struct Part {
    uint32_t rows;         // of the batch
    uint32_t row, column;  // its first
    int32_t sum[kPartM / 16][kPartN / 8][4];
};

// What a thread copies: one piece of every 32nd row of both matrices.
struct Copier {
    const int8_t *a, *b;
    uint32_t rows, columns;  // that exist from its first on
    uint32_t piece, k, place;

    __device__ Copier(const Quantized& in, const Linear& linear, uint32_t batch_rows)
        : piece(threadIdx.x % kPieces), k(linear.k) {
        const uint32_t row = threadIdx.x / kPieces;
        const uint32_t column = row / 16 * 16 + column_at(row % 16);
        const uint32_t first_row = blockIdx.y * kTileM + row, first_column = blockIdx.x * kTileN + column;
        a = in.values + static_cast<size_t>(first_row) * k + piece * 16;
        b = linear.weight + static_cast<size_t>(first_column) * k + piece * 16;
        rows = first_row < batch_rows ? batch_rows - first_row : 0;
        columns = first_column < linear.n ? linear.n - first_column : 0;
        place = tile_place(row, piece);
    }

    __device__ void copy(uint8_t* stage, uint32_t step) const {
        const uint32_t at = step * kTileK;
        const bool inside = at + piece * 16 < k;
#pragma unroll
        for (uint32_t i = 0; i < kTileM; i += 256 / kPieces)
            copy16_async(stage + i * kTileK + place, a + (i * k + at), inside && i < rows);
#pragma unroll
        for (uint32_t i = 0; i < kTileN; i += 256 / kPieces)
            copy16_async(stage + (kTileM + i) * kTileK + place, b + (i * k + at), inside && i < columns);
    }
};

#ifdef SAFETYCLF_SM_90A

__device__ inline uint64_t wgmma_operand(const uint8_t* tile) {
    constexpr uint64_t kEightRows = 8 * kTileK / 16, kSwizzle128 = 1;
    return (shared_address(tile) & 0x3FFFF) / 16 | kEightRows << 32 | kSwizzle128 << 62;
}

// A warpgroup multiplies 64 rows.
__device__ inline void multiply_stage(const uint8_t* stage, Part& part) {
    const uint64_t a = wgmma_operand(stage + threadIdx.x / 128 * 64 * kTileK);
    const uint64_t b = wgmma_operand(stage + kTileM * kTileK);
    auto& sum = reinterpret_cast<int32_t(&)[64]>(part.sum);
    wgmma_fence();
#pragma unroll
    for (uint32_t piece = 0; piece < kPieces; piece += 2) wgmma_m64n128k32(sum, a + piece, b + piece);
    wgmma_commit();
    wgmma_wait(sum);
}

#else

__device__ inline void multiply_stage(const uint8_t* stage, Part& part) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint8_t* const a = stage + warp / kPartsN * kPartM * kTileK;
    const uint8_t* const b = stage + (kTileM + warp % kPartsN * kPartN) * kTileK;
#pragma unroll
    for (uint32_t piece = 0; piece < kPieces; piece += 2) {
        uint32_t x[kPartM / 16][4], w[4];
#pragma unroll
        for (uint32_t m = 0; m < kPartM / 16; ++m)
            load_matrix_x4(x[m], a + tile_place(16 * m + lane % 16, piece + lane / 16));
#pragma unroll
        for (uint32_t n = 0; n < kPartN / 8; n += 2) {
            load_matrix_x4(w, b + tile_place(8 * n + lane / 16 * 8 + lane % 8, piece + lane / 8 % 2));
#pragma unroll
            for (uint32_t m = 0; m < kPartM / 16; ++m) {
                mma_s8(part.sum[m][n], x[m], {w[0], w[1]});
                mma_s8(part.sum[m][n + 1], x[m], {w[2], w[3]});
            }
        }
    }
}

#endif

// The sums of this warp's part of the block's tile. False if the block has no rows.
__device__ inline bool multiply(const Batch& batch, const Quantized& in, const Linear& linear, Part& part) {
    part.rows = batch.size[1];
    if (blockIdx.y * kTileM >= part.rows) return false;
    const uint32_t warp = threadIdx.x / 32;
    part.row = blockIdx.y * kTileM + warp / kPartsN * kPartM;
    part.column = blockIdx.x * kTileN + warp % kPartsN * kPartN;
#pragma unroll
    for (auto& rows : part.sum)
#pragma unroll
        for (auto& columns : rows)
#pragma unroll
            for (int32_t& sum : columns) sum = 0;

    uint8_t* const shared = dynamic_shared<uint8_t>();
    const Copier copier(in, linear, part.rows);
    const uint32_t steps = (linear.k + kTileK - 1) / kTileK;
    for (uint32_t i = 0; i < kStages - 1; ++i) {
        if (i < steps) copier.copy(shared + i * kStageBytes, i);
        copies_commit();
    }
    for (uint32_t step = 0; step < steps; ++step) {
        copies_wait<kStages - 2>();
#ifdef SAFETYCLF_SM_90A
        fence_async_proxy();
#endif
        __syncthreads();  // this stage is there, and the one before it is no longer read
        const uint32_t next = step + kStages - 1;
        if (next < steps) copier.copy(shared + next % kStages * kStageBytes, next);
        copies_commit();
        multiply_stage(shared + step % kStages * kStageBytes, part);
    }
    return true;
}

}  // namespace SAFETYCLF_ARCH
}  // namespace safetyclf::cuda
