// Speed of every kernel of every instruction set this CPU can run, on one core, against the peak of that
// set's multiply measured here on registers alone. Usage: bench_kernels [ISA...]; without names, all. Prints
// tables; times are medians, "best" is the shortest.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dispatch.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace safetyclf::kernels;

namespace {

struct Time {
    double median, best;  // seconds per call
};

// CPU time of this thread: kernels neither wait nor share, and other programs on the machine should not
// count.
double now() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

template <class Call>
double seconds(std::size_t calls, Call&& call) {
    const double start = now();
    for (std::size_t i = 0; i < calls; ++i) call();
    return now() - start;
}

// Enough calls per repeat for the clock to be exact, enough repeats for a median to mean something on a noisy
// machine.
template <class Call>
Time measure(Call&& call) {
    constexpr double kRepeat = 4e-3;
    std::size_t calls = 1;
    while (seconds(calls, call) < kRepeat) calls *= 2;
    const std::size_t repeats = calls > 1 ? 15 : 5;
    std::vector<double> times;
    for (std::size_t i = 0; i < repeats; ++i)
        times.push_back(seconds(calls, call) / static_cast<double>(calls));
    std::sort(times.begin(), times.end());
    return {times[repeats / 2], times.front()};
}

// Multiply-accumulates per call of a loop that touches registers only.
struct Peak {
    double macs;
    void (*loop)();
};

#if defined(__x86_64__)
constexpr int kPeakIterations = 1 << 14;
volatile int sink;

__attribute__((target("avx2"))) void peak_avx2() {
    __m256i acc[6];
#pragma GCC unroll 24
    for (__m256i& x : acc) x = _mm256_setzero_si256();
    __m256i a = _mm256_set1_epi32(sink), w = _mm256_set1_epi32(sink + 1), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < kPeakIterations; ++i) {
#pragma GCC unroll 6
        for (__m256i& x : acc) {
            x = _mm256_add_epi32(x, _mm256_madd_epi16(_mm256_maddubs_epi16(a, _mm256_xor_si256(w, a)), ones));
            // Or the compiler would see that all accumulators get the same product.
            __asm__ volatile("" : "+x"(w));
        }
    }
#pragma GCC unroll 24
    for (const __m256i x : acc) sink = sink + _mm256_extract_epi32(x, 0);
}

__attribute__((target("avx2,avxvnni"))) void peak_avxvnni() {
    __m256i acc[12];
#pragma GCC unroll 12
    for (__m256i& x : acc) x = _mm256_setzero_si256();
    const __m256i a = _mm256_set1_epi32(sink), w = _mm256_set1_epi32(sink + 1);
    for (int i = 0; i < kPeakIterations; ++i) {
        // Written out for the reasons below.
#pragma GCC unroll 12
        for (__m256i& x : acc) __asm__ volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(x) : "x"(a), "x"(w));
    }
#pragma GCC unroll 12
    for (const __m256i x : acc) sink = sink + _mm256_extract_epi32(x, 0);
}

__attribute__((target("avx512f,avx512vnni"))) void peak_avx512vnni() {
    __m512i acc[24];
    // All loops are unrolled, and the multiply is written out: g++ 12 would keep the array in memory, or see
    // that all accumulators are equal and keep one.
#pragma GCC unroll 24
    for (__m512i& x : acc) x = _mm512_setzero_si512();
    const __m512i a = _mm512_set1_epi32(sink), w = _mm512_set1_epi32(sink + 1);
    for (int i = 0; i < kPeakIterations; ++i) {
#pragma GCC unroll 24
        for (__m512i& x : acc) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(x) : "v"(a), "v"(w));
    }
#pragma GCC unroll 24
    for (const __m512i x : acc) sink = sink + _mm512_cvtsi512_si32(x);
}

__attribute__((target("amx-tile,amx-int8"))) void peak_avx512amx() {
    // Palette 1; then, for 8 tiles, 64 bytes a row and 16 rows.
    alignas(64) static constexpr std::uint8_t config[64] = {
        1,  0,  0,  0,  0,  0,  0,  0, 0,  0, 0,  0, 0,  0, 0,  0,  //
        64, 0,  64, 0,  64, 0,  64, 0, 64, 0, 64, 0, 64, 0, 64, 0,  //
        0,  0,  0,  0,  0,  0,  0,  0, 0,  0, 0,  0, 0,  0, 0,  0,  //
        16, 16, 16, 16, 16, 16, 16, 16};
    _tile_loadconfig(config);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int i = 0; i < kPeakIterations / 16; ++i) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
}

Peak peak_of(std::string_view isa) {
    if (isa == "avx2") return {6.0 * 32 * kPeakIterations, peak_avx2};
    if (isa == "avxvnni") return {12.0 * 32 * kPeakIterations, peak_avxvnni};
    if (isa == "avx512vnni") return {24.0 * 64 * kPeakIterations, peak_avx512vnni};
    if (isa == "avx512amx") return {4.0 * 16 * 16 * 64 * (kPeakIterations / 16), peak_avx512amx};
    return {0, nullptr};
}
#else
Peak peak_of(std::string_view) {
    return {0, nullptr};
}
#endif

struct Free {
    void operator()(void* p) const { std::free(p); }
};

// Aligned, with the slack that abi.h demands, filled with small values.
template <class T>
std::unique_ptr<T[], Free> buffer(std::size_t rows, std::size_t columns) {
    const std::size_t padded = (rows + kRowTile - 1) / kRowTile * kRowTile;
    const std::size_t bytes =
        (padded * columns * sizeof(T) + kReadSlack + kAlignment - 1) / kAlignment * kAlignment;
    T* p = static_cast<T*>(std::aligned_alloc(kAlignment, bytes));
    if (p == nullptr) std::abort();
    std::memset(p, 0, bytes);
    for (std::size_t i = 0; i < rows * columns; ++i) {
        const int value = static_cast<int>((i * 2654435761u >> 16) % 255) - 127;
        if constexpr (std::is_floating_point_v<T>)
            p[i] = static_cast<T>(value) * 0x1p-6f;
        else
            p[i] = static_cast<T>(value);
    }
    return std::unique_ptr<T[], Free>(p);
}

constexpr std::size_t kHidden = 384, kIntermediate = 1536, kHeads = 12, kHeadSize = 32, kLayers = 6;

struct Shape {
    std::size_t n, k;
};
constexpr Shape kShapes[] = {
    {3 * kHidden, kHidden}, {kHidden, kHidden}, {kIntermediate, kHidden}, {kHidden, kIntermediate}};
constexpr std::size_t kRows[] = {1, 8, 16, 32, 64, 128, 256, 512};

std::unique_ptr<std::int8_t[], Free> packed_weights(const KernelTable& table, Shape shape) {
    const auto w = buffer<std::int8_t>(shape.n, shape.k);
    auto packed = buffer<std::int8_t>(1, table.packed_size(shape.n, shape.k));
    table.pack_weights(w.get(), shape.n, shape.k, packed.get());
    return packed;
}

void print_rate(double macs, Time time, double peak) {
    std::printf("  %8.1f", macs / time.median * 1e-9);
    if (peak > 0) std::printf(" (%3.0f%%)", 100 * macs / time.best / peak);
}

void bench_gemm(const KernelTable& table) {
    const Peak loop = peak_of(table.isa);
    const double peak = loop.loop != nullptr ? loop.macs / measure(loop.loop).best : 0;
    if (peak > 0) std::printf("peak %.0f GMAC/s\n", peak * 1e-9);
    std::printf("gemm, GMAC/s (best, of peak)\n     m");
    for (const Shape s : kShapes) std::printf("  n %4zu k %4zu    ", s.n, s.k);
    std::printf("  %zu layers\n", kLayers);
    std::vector<std::unique_ptr<std::int8_t[], Free>> weights;
    for (std::size_t layer = 0; layer < kLayers; ++layer)
        for (const Shape s : kShapes) weights.push_back(packed_weights(table, s));
    constexpr std::size_t kShapeCount = std::size(kShapes);
    for (const std::size_t m : kRows) {
        const auto a = buffer<std::uint8_t>(m, kIntermediate);
        const auto c = buffer<std::int32_t>(m, kIntermediate);
        std::printf("%6zu", m);
        double total = 0;
        for (std::size_t i = 0; i < kShapeCount; ++i) {
            const Shape s = kShapes[i];
            const double macs = static_cast<double>(m * s.n * s.k);
            total += macs;
            print_rate(macs, measure([&] { table.gemm(a.get(), m, weights[i].get(), s.n, s.k, c.get()); }),
                       peak);
        }
        // All matrices of the model in the engine's order: each layer's come from beyond L2 for its first row
        // block.
        const auto run = [&](std::size_t layer, std::size_t first, std::size_t last) {
            for (std::size_t r = 0; r < m; r += table.row_block)
                for (std::size_t i = first; i < last; ++i) {
                    const Shape s = kShapes[i];
                    table.gemm(a.get(), std::min(m - r, table.row_block),
                               weights[layer * kShapeCount + i].get(), s.n, s.k, c.get());
                }
        };
        const Time encoder = measure([&] {
            for (std::size_t layer = 0; layer < kLayers; ++layer) {
                run(layer, 0, 1);
                run(layer, 1, kShapeCount);
            }
        });
        print_rate(total * kLayers, encoder, peak);
        std::printf("\n");
    }
}

void bench_attention(const KernelTable& table) {
    std::printf(
        "attention, all %zu heads of one layer, head size %zu\n     L    us/window    ns/token     GMAC/s\n",
        kHeads, kHeadSize);
    for (const std::size_t length : {8u, 16u, 32u, 64u, 128u, 256u, 512u}) {
        const auto q = buffer<std::uint8_t>(length, kHidden);
        const auto k = buffer<std::int8_t>(length, kHidden);
        const auto v = buffer<float>(length, kHidden);
        const auto out = buffer<float>(length, kHidden);
        const auto scale = buffer<float>(length, kHeads);
        for (std::size_t i = 0; i < length * kHeads; ++i) scale[i] = 0.02f;
        const auto scratch = buffer<std::uint8_t>(1, table.attention_scratch(length, kHeadSize));
        const Time time = measure([&] {
            for (std::size_t h = 0; h < kHeads; ++h) {
                const std::size_t at = h * kHeadSize;
                const AttentionHead head{
                    .q = q.get() + at,
                    .q_scale = scale.get() + h,
                    .k = k.get() + at,
                    .k_scale = scale.get() + h,
                    .v = v.get() + at,
                    .out = out.get() + at,
                    .length = length,
                    .head_size = kHeadSize,
                    .stride = kHidden,
                    .heads = kHeads,
                    .logit_scale = 1.442695041f / std::sqrt(static_cast<float>(kHeadSize)),
                    .scratch = scratch.get()};
                table.attention(&head);
            }
        });
        const double macs = 2.0 * static_cast<double>(length * length * kHidden);
        std::printf("%6zu %12.1f %11.1f %10.1f\n", length, time.median * 1e6,
                    time.median * 1e9 / static_cast<double>(length), macs / time.median * 1e-9);
    }
}

void bench_rows(const KernelTable& table) {
    constexpr std::size_t kCount = 64;
    const auto words = buffer<std::int8_t>(kCount, kHidden);
    const auto x = buffer<float>(kCount, kIntermediate);
    const auto scratch = buffer<float>(1, kIntermediate);
    const auto acc = buffer<std::int32_t>(kCount, kIntermediate);
    const auto q = buffer<std::uint8_t>(kCount, kIntermediate);
    const auto k = buffer<std::int8_t>(kCount, kHidden);
    const auto v = buffer<float>(kCount, kHidden);
    const auto out = buffer<float>(kCount, kHeads);
    const auto out2 = buffer<float>(kCount, kHeads);
    const auto column = buffer<float>(1, kIntermediate);
    std::vector<float> ones(kIntermediate, 1.0f), row_scale(kCount, 0.01f);
    std::vector<std::int32_t> ids(kCount);
    std::vector<std::uint32_t> position(kCount);
    for (std::size_t i = 0; i < kCount; ++i)
        position[i] = static_cast<std::uint32_t>(ids[i] = static_cast<std::int32_t>(i));
    const Norm norm{ones.data(), column.get(), 1e-12f};
    const Linear to_qkv{nullptr, ones.data(), column.get(), nullptr, 3 * kHidden, kHidden};
    const Linear to_hidden{nullptr, ones.data(), column.get(), nullptr, kHidden, kHidden};
    const Linear to_intermediate{nullptr, ones.data(), column.get(), nullptr, kIntermediate, kHidden};

    std::printf("rows, ns/row\n");
    const auto print = [](const char* name, Time time) {
        std::printf("  %-22s %8.1f\n", name, time.median * 1e9 / static_cast<double>(kCount));
    };
    print("embed", measure([&] {
              table.embed(ids.data(), position.data(), kCount, words.get(), ones.data(), x.get(), &norm,
                          kHidden, v.get());
          }));
    print("quantize 384",
          measure([&] { table.quantize(x.get(), kCount, ones.data(), kHidden, q.get(), out.get()); }));
    print("split_qkv 1152", measure([&] {
              table.split_qkv(acc.get(), kCount, row_scale.data(), &to_qkv, kHeads, q.get(), out.get(),
                              k.get(), out2.get(), v.get());
          }));
    print("add_norm 384",
          measure([&] { table.add_norm(acc.get(), kCount, row_scale.data(), &to_hidden, &norm, x.get()); }));
    print("gelu_quantize 1536", measure([&] {
              table.gelu_quantize(acc.get(), kCount, row_scale.data(), &to_intermediate, ones.data(),
                                  scratch.get(), q.get(), out.get());
          }));
    print("mean_rows 384", measure([&] { table.mean_rows(x.get(), kCount, kHidden, v.get()); }));
    // One row per text: heads run on pooled rows.
    constexpr std::size_t kClasses = 20;
    const auto logits = buffer<float>(kCount, kClasses);
    print("dot_rows 384 x 20",
          measure([&] { table.dot_rows(x.get(), kCount, v.get(), kClasses, kHidden, logits.get()); }));
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> names(argv + 1, argv + argc);
    if (names.empty()) names = supported();
    for (const std::string& name : names) {
        const KernelTable& table = find(name);
        std::printf("== %s\n", table.isa);
        bench_gemm(table);
        bench_attention(table);
        bench_rows(table);
    }
}
