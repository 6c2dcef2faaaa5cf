// The emulation that the tests of the CUDA kernels stand on: collectives against plain loops, and that what a
// GPU leaves undefined is found.
#define SAFETYCLF_EMULATED 90
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "device.cuh"

using namespace safetyclf;
using namespace safetyclf::cuda;
using emulation::Options;
using emulation::Order;

namespace {

std::mt19937 rng(7);

std::vector<uint32_t> words(size_t count) {
    std::vector<uint32_t> w(count);
    for (uint32_t& x : w) x = static_cast<uint32_t>(rng());
    return w;
}

// A launch's failure, or "".
template <class Thread>
std::string failure(Thread thread, uint32_t threads, size_t shared = 0, Options options = {}) {
    try {
        emulation::launch(thread, {}, {threads}, shared, options);
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "";
}
bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

constexpr Options kOrders[] = {{Order::forward}, {Order::backward}, {Order::random, 3}, {Order::random, 4}};

void test_threads_and_blocks() {
    for (const Options& order : kOrders)
        for (const unsigned workers : {1u, 3u}) {
            Options options = order;
            options.workers = workers;
            std::vector<uint32_t> seen(3 * 2 * 2 * 100);
            emulation::launch(
                [&] {
                    const uint32_t at = (blockIdx.z * 2 + blockIdx.y) * 3 + blockIdx.x;
                    CHECK(gridDim.x == 3 && blockDim.x == 100);
                    __syncthreads();
                    seen[at * 100 + threadIdx.x]++;
                },
                {3, 2, 2}, {100}, 0, options);
            for (const uint32_t x : seen) CHECK(x == 1);
        }
}

void test_shuffles() {
    for (const Options& options : kOrders) {
        uint32_t sums[64] = {}, half[64] = {}, ballots[64] = {}, first[64] = {};
        emulation::launch(
            [&] {
                const uint32_t t = threadIdx.x;
                uint32_t sum = t;
                for (uint32_t d = 16; d != 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
                sums[t] = sum;
                uint32_t h = t;
                const uint32_t mask = 0xFFFFu << (t / 16 % 2 * 16);
                for (uint32_t d = 8; d != 0; d /= 2) h += __shfl_xor_sync(mask, h, d);
                half[t] = h;
                ballots[t] = __ballot_sync(~0u, t % 3 == 0);
                first[t] = static_cast<uint32_t>(__shfl_sync(~0u, 0.5f + static_cast<float>(t), 5, 16));
            },
            {}, {64}, 0, options);
        for (uint32_t t = 0; t < 64; ++t) {
            CHECK(sums[t] == (t < 32 ? 496 : 496 + 1024));
            CHECK(half[t] == 120 + t / 16 * 256);
            CHECK(first[t] == t / 16 * 16 + 5);
            for (uint32_t i = 0; i < 32; ++i) CHECK((ballots[t] >> i & 1) == ((t / 32 * 32 + i) % 3 == 0));
        }
    }
}

// ldmatrix and mma together: a row-major a[16][32] and b[8][32] in shared memory.
template <bool is_signed>
void test_mma() {
    const std::vector<uint32_t> a = words(128), b = words(128);
    int32_t c[16][8], smaller[16][8];
    emulation::launch(
        [&] {
            const uint32_t lane = threadIdx.x;
            uint8_t* const shared = dynamic_shared<uint8_t>();
            if (lane == 0) {
                memcpy(shared, a.data(), 512);
                memcpy(shared + 512, b.data(), 512);
            }
            __syncthreads();
            uint32_t fa[4], fb[4];
            load_matrix_x4(fa, shared + lane % 16 * 32 + lane / 16 * 16);
            load_matrix_x4(fb, shared + 512 + lane % 8 * 32 + lane / 8 % 2 * 16);
            int32_t sum[4] = {1, 2, 3, 4}, four[4] = {1, 2, 3, 4};
            const uint32_t pair[2] = {fb[0], fb[1]};
            is_signed ? mma_s8(sum, fa, pair) : mma_u8(sum, fa, pair);
            for (uint32_t i = 0; i < 4; ++i)
                emulation::mma_m8n8k16(is_signed, four + i % 2 * 2, fa[i], fb[i / 2], {});
            for (uint32_t i = 0; i < 4; ++i) {
                c[i / 2 * 8 + lane / 4][lane % 4 * 2 + i % 2] = sum[i] - static_cast<int32_t>(i + 1);
                smaller[i / 2 * 8 + lane / 4][lane % 4 * 2 + i % 2] = four[i] - static_cast<int32_t>(i + 1);
            }
        },
        {}, {32}, 1024, {Order::random});
    const auto* const pa = reinterpret_cast<const uint8_t*>(a.data());
    const auto* const pb = reinterpret_cast<const int8_t*>(b.data());
    for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 8; ++j) {
            int32_t sum = 0;
            for (size_t l = 0; l < 32; ++l) {
                const uint8_t x = pa[i * 32 + l];
                sum += (is_signed ? static_cast<int8_t>(x) : x) * pb[j * 32 + l];
            }
            CHECK(c[i][j] == sum);
            CHECK(smaller[i][j] == sum);
        }
}

// 64 rows of a and 128 of b, 128 bytes each, as linear.cuh lays them out: 16 bytes move by the row.
struct Operands {
    static constexpr uint32_t kRows = 64 + 128;
    std::vector<uint32_t> bytes = words(kRows * 32);

    int32_t product(size_t i, size_t j, size_t begin) const {
        const auto* const p = reinterpret_cast<const int8_t*>(bytes.data());
        int32_t sum = 0;
        for (size_t l = begin; l < begin + 32; ++l) sum += p[i * 128 + l] * p[(64 + j) * 128 + l];
        return sum;
    }
    void copy(bool fence) const {
        for (uint32_t i = threadIdx.x; i < kRows * 8; i += 128)
            copy16_async(dynamic_shared<uint8_t>() + i / 8 * 128 + (i % 8 ^ i / 8 % 8) * 16, &bytes[i * 4],
                         true);
        copies_commit();
        copies_wait<0>();
        if (fence) fence_async_proxy();
        __syncthreads();
    }
    static uint64_t descriptor(uint32_t row) {
        return shared_address(dynamic_shared<uint8_t>() + row * 128) / 16 | uint64_t{64} << 32 |
               uint64_t{1} << 62;
    }
};

void test_wgmma() {
    const Operands operands;
    for (const uint32_t begin : {0u, 96u}) {
        int32_t c[64][128];
        emulation::launch(
            [&] {
                operands.copy(true);
                int32_t sum[64] = {};
                wgmma_fence();
                wgmma_m64n128k32(sum, Operands::descriptor(0) + begin / 16,
                                 Operands::descriptor(64) + begin / 16);
                wgmma_commit();
                wgmma_wait(sum);
                for (uint32_t i = 0; i < 64; ++i) {
                    const uint32_t row = threadIdx.x / 32 * 16 + i / 2 % 2 * 8 + threadIdx.x % 32 / 4;
                    c[row][i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2] = sum[i];
                }
            },
            {}, {128}, Operands::kRows * 128, {Order::random});
        for (size_t i = 0; i < 64; ++i)
            for (size_t j = 0; j < 128; ++j) CHECK(c[i][j] == operands.product(i, j, begin));
    }
}

void test_wrong_wgmma_is_found() {
    const Operands operands;
    enum class Wrong { nothing, no_proxy_fence, no_fence, no_commit, swizzle, outside, overwritten };
    const auto with = [&](Wrong wrong) {
        return failure(
            [&] {
                operands.copy(wrong != Wrong::no_proxy_fence);
                int32_t sum[64] = {};
                if (wrong != Wrong::no_fence) wgmma_fence();
                const uint64_t b = Operands::descriptor(wrong == Wrong::outside ? 72 : 64);
                wgmma_m64n128k32(
                    sum, Operands::descriptor(0) ^ (wrong == Wrong::swizzle ? uint64_t{3} << 62 : 0), b);
                if (wrong != Wrong::no_commit) wgmma_commit();
                if (wrong == Wrong::overwritten && threadIdx.x == 0) dynamic_shared<uint8_t>()[64 * 128] ^= 1;
                wgmma_wait(sum);
            },
            128, Operands::kRows * 128);
    };
    CHECK(with(Wrong::nothing).empty());
    CHECK(contains(with(Wrong::no_proxy_fence), "fence.proxy.async"));
    CHECK(contains(with(Wrong::no_fence), "wgmma.fence"));
    CHECK(contains(with(Wrong::no_commit), "committed"));
    CHECK(contains(with(Wrong::swizzle), "128-byte swizzles"));
    CHECK(contains(with(Wrong::outside), "outside"));
    CHECK(contains(with(Wrong::overwritten), "changed"));
}

void test_divergence_is_found() {
    CHECK(contains(failure(
                       [] {
                           if (threadIdx.x < 32) __syncthreads();
                       },
                       64),
                   "ended"));
    const auto two_places = [] {
        if (threadIdx.x < 7) {
            __syncthreads();
        } else {
            __syncthreads();
        }
    };
    CHECK(contains(failure(two_places, 64), "different barriers"));
    CHECK(contains(failure(
                       [] {
                           if (threadIdx.x != 3) __syncwarp();
                       },
                       32),
                   "wait for one another"));
    CHECK(contains(failure(
                       [] {
                           if (threadIdx.x == 3)
                               __syncthreads();
                           else
                               __syncwarp();
                       },
                       32),
                   "barrier at"));
    CHECK(contains(failure([] { __syncwarp(2); }, 1), "mask"));
    CHECK(contains(failure(
                       [] {
                           if (threadIdx.x < 4) __shfl_xor_sync(0xFu, 1, 4);
                       },
                       32),
                   "not in the mask"));
    CHECK(failure([] { __syncthreads(); }, 64).empty());  // and the next launch is as ever
}

// Warp 0 writes, warp 1 reads. With the barrier every order agrees.
void test_missing_barrier_is_found() {
    for (const bool barrier : {true, false}) {
        bool wrong = false;
        for (const Options& options : kOrders) {
            emulation::launch(
                [&] {
                    uint32_t* const shared = dynamic_shared<uint32_t>();
                    if (threadIdx.x < 32) shared[threadIdx.x] = threadIdx.x;
                    if (barrier) __syncthreads();
                    if (threadIdx.x >= 32 && shared[63 - threadIdx.x] != 63 - threadIdx.x) wrong = true;
                },
                {}, {64}, 128, options);
        }
        CHECK(wrong != barrier);
    }
}

void test_copies_land_when_waited_for() {
    const std::vector<uint32_t> from = words(8);
    std::vector<uint32_t> early(8), partly(8), landed(8);
    emulation::launch(
        [&] {
            uint32_t* const shared = dynamic_shared<uint32_t>();
            memset(shared, 0, 32);
            copy16_async(shared, from.data(), true);
            copies_commit();
            copy16_async(shared + 4, nullptr, false);
            copies_commit();
            memcpy(early.data(), shared, 32);
            copies_wait<1>();
            memcpy(partly.data(), shared, 32);
            copies_wait<0>();
            memcpy(landed.data(), shared, 32);
        },
        {}, {1}, 32);
    for (size_t i = 0; i < 8; ++i) {
        CHECK(early[i] == 0xA5A5A5A5);
        CHECK(partly[i] == (i < 4 ? from[i] : 0xA5A5A5A5));
        CHECK(landed[i] == (i < 4 ? from[i] : 0));
    }
    CHECK(contains(failure([&] { copy16_async(dynamic_shared<char>() + 8, from.data(), true); }, 1, 32),
                   "aligned"));
}

void test_guard_bytes() {
    CHECK(contains(failure([] { dynamic_shared<uint8_t>()[64] = 1; }, 1, 64),
                   "behind its dynamic shared memory"));
    CHECK(failure([] { dynamic_shared<uint8_t>()[63] = 1; }, 1, 64).empty());
}

}  // namespace

int main() {
    test_threads_and_blocks();
    test_shuffles();
    test_mma<true>();
    test_mma<false>();
    test_wgmma();
    test_wrong_wgmma_is_found();
    test_divergence_is_found();
    test_missing_barrier_is_found();
    test_copies_land_when_waited_for();
    test_guard_bytes();
}
