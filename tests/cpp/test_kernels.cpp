// Every entry of every kernel table this CPU can run against the scalar reference, bit for bit, over shapes
// that straddle tiles, with shifted pointers, guard bytes and extreme values. The inputs are fixed, and so is
// the checksum of all results: equal checksums on different machines prove equal results across
// architectures. Run as `test_kernels NAME` it also asserts that dispatch chooses NAME.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "check.hpp"
#include "dispatch.hpp"
#include "kernel_runner.hpp"
#include "safetyclf/error.hpp"

using namespace safetyclf;
using namespace safetyclf::kernel_runner;

namespace {

// Of all results on all inputs below. Changes with kNumericsRevision or with the inputs; the program prints
// what it found.
constexpr std::uint64_t kChecksum = 0xE6450CB8ADA9EBCEu;

class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}

    std::uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    // In [low, high].
    std::int32_t integer(std::int32_t low, std::int32_t high) {
        return low + static_cast<std::int32_t>((next() >> 33) %
                                               static_cast<std::uint64_t>(std::int64_t{high} - low + 1));
    }
    // In [-magnitude, magnitude); exact for powers of two, so equal on every machine.
    float real(float magnitude) {
        return static_cast<float>(integer(-(1 << 23), (1 << 23) - 1)) * 0x1p-23f * magnitude;
    }
    float positive(float magnitude) { return (std::fabs(real(1.0f)) + 0x1p-10f) * magnitude; }

private:
    std::uint64_t state_;
};

enum class Fill { random, all_high, all_low, alternating, zero, one_hot };
constexpr Fill kFills[] = {Fill::random,      Fill::all_high, Fill::all_low,
                           Fill::alternating, Fill::zero,     Fill::one_hot};

Bytes bytes(Random& random, std::size_t count, Fill fill) {
    Bytes out(count);
    for (std::size_t i = 0; i < count; ++i) {
        switch (fill) {
            case Fill::random:
                out[i] = static_cast<std::int8_t>(random.integer(-127, 127));
                break;
            case Fill::all_high:
                out[i] = 127;
                break;
            case Fill::all_low:
                out[i] = -127;
                break;
            case Fill::alternating:
                out[i] = i % 2 == 0 ? 127 : -127;
                break;
            case Fill::zero:
            case Fill::one_hot:
                out[i] = 0;
                break;
        }
    }
    if (fill == Fill::one_hot && count != 0) out[random.next() % count] = -127;
    return out;
}

// Real values as rows of activations have them: small, some rows with outliers, some zero, some too small to
// count.
Floats reals(Random& random, std::size_t rows, std::size_t columns) {
    Floats out(rows * columns);
    for (std::size_t r = 0; r < rows; ++r) {
        const std::int32_t kind = random.integer(0, 7);
        const float magnitude = kind == 0   ? 0.0f
                                : kind == 1 ? 0x1p-120f
                                : kind == 2 ? 0x1p-140f
                                : kind == 3 ? 0x1p12f
                                            : 4.0f;
        for (std::size_t i = 0; i < columns; ++i) out[r * columns + i] = random.real(magnitude);
        if (kind == 4) out[r * columns + random.next() % columns] = -100.0f;
    }
    return out;
}

Floats positives(Random& random, std::size_t count, float magnitude) {
    Floats out(count);
    for (float& x : out) x = random.positive(magnitude);
    return out;
}

Ints accumulators(Random& random, std::size_t rows, std::size_t columns) {
    Ints out(rows * columns);
    for (std::size_t r = 0; r < rows; ++r) {
        const std::int32_t limit =
            random.integer(0, 4) == 0 ? (random.integer(0, 1) == 0 ? 0 : 1 << 30) : 1 << 20;
        for (std::size_t i = 0; i < columns; ++i) out[r * columns + i] = random.integer(-limit, limit);
    }
    return out;
}

LinearData linear(Random& random, std::size_t n) {
    return {positives(random, n, 0x1p-7f), reals(random, 1, n)};
}

NormData norm(Random& random, std::size_t hidden) {
    return {positives(random, hidden, 2.0f), reals(random, 1, hidden), 1e-12f};
}

// Collects results: equal to the scalar table's, and part of the checksum.
class Results {
public:
    template <class T>
    void add(const std::vector<T>& values) {
        static_assert(std::is_arithmetic_v<T>);
        // FNV-1a over whole elements: several times faster than over bytes, which matters under emulation.
        for (const T value : values) {
            std::uint32_t word = 0;
            std::memcpy(&word, &value, sizeof value);
            hash_ = (hash_ ^ word) * 0x100000001B3u;
        }
        marks_.push_back(hash_);
    }
    void add(const Quantized& x) {
        for (const std::int8_t q : x.q) CHECK(q >= -127);
        add(x.q);
        add(x.scale);
    }
    [[nodiscard]] std::uint64_t checksum() const { return hash_; }
    // Index of the first result that differs, or -1.
    [[nodiscard]] std::ptrdiff_t first_difference(const Results& other) const {
        const auto at = std::mismatch(marks_.begin(), marks_.end(), other.marks_.begin(), other.marks_.end());
        return at.first == marks_.end() && at.second == other.marks_.end() ? -1 : at.first - marks_.begin();
    }

private:
    std::uint64_t hash_ = 0xCBF29CE484222325u;
    std::vector<std::uint64_t> marks_;
};

void check_exact(const Ints& c, const Bytes& a, const Bytes& w, std::size_t m, std::size_t n, std::size_t k) {
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            std::int64_t sum = 0;
            for (std::size_t l = 0; l < k; ++l) sum += std::int64_t{a[i * k + l]} * w[j * k + l];
            CHECK(c[i * n + j] == sum);
        }
}

void run_gemm(const kernels::KernelTable& table, Results& results) {
    Random random(1);
    constexpr std::size_t kShapes[][2] = {{16, 64}, {32, 64}, {48, 128}, {64, 192}, {80, 64}, {112, 384}};
    constexpr std::size_t kRows[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  15,  16,  17, 23,
                                     31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 128, 129};
    std::size_t shift = 0;
    const auto one = [&](std::size_t m, std::size_t n, std::size_t k, Fill fill_a, Fill fill_w) {
        const Bytes a = bytes(random, m * k, fill_a), w = bytes(random, n * k, fill_w);
        const Ints c = gemm(table, a, w, m, n, k, shift++ % 4);
        if (m <= 9) check_exact(c, a, w, m, n, k);
        results.add(c);
    };
    for (const auto& [n, k] : kShapes)
        for (const std::size_t m : kRows) one(m, n, k, Fill::random, Fill::random);
    for (const Fill a : kFills)
        for (const Fill w : kFills) {
            one(5, 48, 64, a, w);
            one(33, 16, 1536, a, w);
        }
    one(3, 1152, 384, Fill::random, Fill::random);
    one(3, 384, 1536, Fill::random, Fill::random);
    // The longest reduction of abi.h that is a multiple of 64, at the largest products.
    constexpr std::size_t kLongest = kernels::kMaxReduction / 64 * 64;
    one(2, 16, kLongest, Fill::all_high, Fill::all_low);
    one(2, 16, kLongest, Fill::all_low, Fill::all_low);
}

void run_rows(const kernels::KernelTable& table, Results& results) {
    Random random(2);
    constexpr std::size_t kHidden[] = {64, 128, 384, 448};
    constexpr std::size_t kRows[] = {1, 2, 3, 5, 17};
    std::size_t shift = 0;
    for (const std::size_t hidden : kHidden)
        for (const std::size_t rows : kRows) {
            ++shift;
            Ints ids(rows);
            std::vector<std::uint32_t> position(rows);
            for (std::int32_t& id : ids) id = random.integer(0, 9);
            for (std::uint32_t& p : position) p = static_cast<std::uint32_t>(random.integer(0, 4));
            const Bytes words = bytes(random, 10 * hidden, Fill::random);
            const Floats word_scale = positives(random, 10, 0x1p-8f);
            const Floats positions = reals(random, 5, hidden);
            results.add(
                embed(table, ids, position, words, word_scale, positions, norm(random, hidden), shift % 4));

            const Floats x = reals(random, rows, hidden);
            results.add(quantize(table, x, positives(random, hidden, 2.0f), shift % 4));
            results.add(mean_rows(table, x, hidden, shift % 4));
            results.add(dot_rows(table, x, reals(random, 1 + shift % 5, hidden), hidden, shift % 4));

            const Floats row_scale = positives(random, rows, 0x1p-6f);
            const Ints acc = accumulators(random, rows, hidden);
            const LinearData layer = linear(random, hidden);
            results.add(add_norm(table, x, acc, row_scale, layer, norm(random, hidden), shift % 4));
            results.add(
                gelu_quantize(table, acc, row_scale, layer, positives(random, hidden, 2.0f), shift % 4));

            for (const std::size_t head_size : {std::size_t{32}, std::size_t{64}}) {
                const Ints acc3 = accumulators(random, rows, 3 * hidden);
                const Qkv qkv = split_qkv(table, acc3, row_scale, linear(random, 3 * hidden),
                                          hidden / head_size, shift % 4);
                results.add(qkv.q);
                results.add(qkv.k);
                results.add(qkv.v);
            }
        }
}

void run_attention(const kernels::KernelTable& table, Results& results) {
    Random random(3);
    std::vector<std::size_t> lengths;
    for (std::size_t length = 1; length <= 70; ++length) lengths.push_back(length);
    lengths.insert(lengths.end(), {127, 128, 129, 255, 511, 512});
    std::size_t number = 0;
    const auto one = [&](std::size_t length, std::size_t head_size, std::size_t heads, Fill fill,
                         float sharpness) {
        ++number;
        const std::size_t count = length * heads * head_size;
        const Qkv qkv = {{bytes(random, count, fill), positives(random, length * heads, sharpness)},
                         {bytes(random, count, fill), positives(random, length * heads, sharpness)},
                         reals(random, length, heads * head_size)};
        results.add(attention(table, qkv, heads, head_size, number % 2 == 0, number % 4));
    };
    for (const std::size_t head_size : {std::size_t{32}, std::size_t{64}}) {
        // From nearly flat to nearly one-hot probabilities.
        for (const std::size_t length : lengths)
            one(length, head_size, length < 128 ? 2 : 1, Fill::random, length % 3 == 0 ? 0x1p-9f : 0x1p-6f);
        for (const Fill fill : kFills)
            for (const std::size_t length : {1u, 7u, 33u}) one(length, head_size, 2, fill, 0x1p-4f);
    }
}

Results run(const kernels::KernelTable& table) {
    Results results;
    run_gemm(table, results);
    run_rows(table, results);
    run_attention(table, results);
    return results;
}

// Rows alone and rows in company give the same bits.
void check_rows_are_independent(const kernels::KernelTable& table) {
    Random random(4);
    constexpr std::size_t kRows = 37, kColumns = 48, kDepth = 128;
    const Bytes a = bytes(random, kRows * kDepth, Fill::random),
                w = bytes(random, kColumns * kDepth, Fill::random);
    const Ints c = gemm(table, a, w, kRows, kColumns, kDepth);
    for (std::size_t r = 0; r < kRows; ++r) {
        const std::span<const std::int8_t> one = std::span(a).subspan(r * kDepth, kDepth);
        const std::span<const std::int32_t> expected = std::span(c).subspan(r * kColumns, kColumns);
        const Ints row = gemm(table, Bytes(one.begin(), one.end()), w, 1, kColumns, kDepth);
        CHECK(std::equal(row.begin(), row.end(), expected.begin()));
    }
}

bool refused(std::string_view isa) {
    try {
        (void)kernels::find(isa);
    } catch (const Error& error) {
        return error.code() == ErrorCode::unsupported_isa;
    }
    return false;
}

void check_dispatch(const char* expected) {
    const std::vector<std::string> compiled = kernels::compiled(), supported = kernels::supported();
    CHECK(!supported.empty() && supported.back() == "scalar");
    CHECK(unsetenv("SAFETYCLF_ISA") == 0);
    CHECK(kernels::active().isa == supported.front());
    if (expected != nullptr) CHECK(supported.front() == expected);
    CHECK(refused("") && refused("AVX2") && refused("sse2"));
    for (const std::string& isa : compiled) {
        if (std::find(supported.begin(), supported.end(), isa) == supported.end()) {
            CHECK(refused(isa));
            continue;
        }
        CHECK(kernels::find(isa).isa == isa);
        CHECK(setenv("SAFETYCLF_ISA", isa.c_str(), 1) == 0);
        CHECK(kernels::active().isa == isa);
    }
    CHECK(setenv("SAFETYCLF_ISA", "sse2", 1) == 0);
    try {
        (void)kernels::active();
        CHECK(false);
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::unsupported_isa);
    }
}

}  // namespace

int main(int argc, char** argv) {
    check_dispatch(argc > 1 ? argv[1] : nullptr);
    const Results reference = run(kernels::find("scalar"));
    bool equal = true;
    for (const std::string& isa : kernels::supported()) {
        const kernels::KernelTable& table = kernels::find(isa);
        check_rows_are_independent(table);
        const Results results = run(table);
        const std::ptrdiff_t difference = results.first_difference(reference);
        equal &= difference < 0 && results.checksum() == kChecksum;
        std::printf("%s checksum %016" PRIx64, isa.c_str(), results.checksum());
        if (difference >= 0) std::printf(", differs from scalar first at result %td", difference);
        std::printf("\n");
    }
    if (!equal) std::printf("expected %016" PRIx64 "\n", kChecksum);
    return equal ? 0 : 1;
}
