// For the tests of kernels that work on a batch of windows: batches as they stand in device memory, inputs of
// all magnitudes, and launches in several orders of the threads with more blocks than there is work.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"
#include "dispatch.hpp"
#include "emulation.hpp"
#include "kernel_runner.hpp"
#include "kernels.hpp"

namespace safetyclf::windows {

using emulation::Arch;
using emulation::Dim3;
using emulation::Order;
using kernel_runner::Bytes;
using kernel_runner::Floats;
using kernel_runner::Guarded;
using kernel_runner::Ints;
using Words = std::vector<uint32_t>;

inline std::mt19937 rng(7);

inline uint32_t below(uint32_t limit) {
    return static_cast<uint32_t>(rng() % limit);
}
inline float real(float magnitude) {
    return std::uniform_real_distribution<float>(-magnitude, magnitude)(rng);
}
inline Floats reals(size_t count, float magnitude) {
    Floats x(count);
    for (float& value : x) value = real(magnitude);
    return x;
}
inline Floats positives(size_t count, float magnitude) {
    Floats x = reals(count, magnitude);
    for (float& value : x) value = std::fabs(value) + magnitude * 0x1p-10f;
    return x;
}

// Rows of every kind: usual, all equal, zero, subnormal, below the smallest maximum, huge, with one outlier.
inline Floats rows_of_all_kinds(size_t rows, size_t columns) {
    Floats x;
    for (size_t r = 0; r < rows; ++r) {
        constexpr float kMagnitudes[] = {2.0f, 2.0f, 0.0f, 0x1p-130f, 0x1p-104f, 0x1p20f, 2.0f, 2.0f};
        const uint32_t kind = below(8);
        Floats row = reals(columns, kMagnitudes[kind]);
        if (kind == 1) row.assign(columns, row[0]);
        if (kind == 6) row[below(static_cast<uint32_t>(columns))] = -0x1p10f;
        x.insert(x.end(), row.begin(), row.end());
    }
    return x;
}

template <class T>
std::vector<T> slice(const std::vector<T>& of, size_t begin, size_t end) {
    return {of.begin() + static_cast<ptrdiff_t>(begin), of.begin() + static_cast<ptrdiff_t>(end)};
}

// The first values of a buffer are `want`, bit by bit, and the rest was never written.
template <class T>
void check_buffer(Guarded<T>& buffer, size_t size, const std::vector<T>& want) {
    CHECK(want.size() <= size);
    const std::vector<T> got = buffer.take(size);
    CHECK(want.empty() || std::memcmp(got.data(), want.data(), want.size() * sizeof(T)) == 0);
    const auto* const rest = reinterpret_cast<const uint8_t*>(got.data() + want.size());
    for (size_t i = 0; i < (size - want.size()) * sizeof(T); ++i) CHECK(rest[i] == 0xA5);
}

// What cuda::Batch points to.
class Device {
public:
    explicit Device(const Words& lengths) : size_(2), begins_(lengths.size() + 1) {
        uint32_t rows = 0;
        begins_.data()[0] = 0;
        for (size_t w = 0; w < lengths.size(); ++w) begins_.data()[w + 1] = rows += lengths[w];
        size_.data()[0] = static_cast<uint32_t>(lengths.size());
        size_.data()[1] = rows;
    }
    cuda::Batch batch() { return {size_.data(), begins_.data()}; }

private:
    Guarded<uint32_t> size_, begins_;
};

inline Words begins(const Words& lengths) {
    Words at = {0};
    for (const uint32_t length : lengths) at.push_back(at.back() + length);
    return at;
}

// How a kernel is compiled and run; `beyond`: blocks too many in the first direction.
struct Way {
    Arch arch;
    Order order;
    uint32_t beyond;
};

template <class Test>
void each_way(Test test) {
    test(Way{Arch::sm_80, Order::random, 0});
    test(Way{Arch::sm_80, Order::forward, 3});
    test(Way{Arch::sm_75, Order::backward, 1});
    test(Way{Arch::sm_90a, Order::random, 0});
}

template <class Args>
void launch(const Way& way, const char* name, const Args& args, Dim3 grid, uint32_t shared = 0,
            uint32_t threads = 0) {
    const emulation::Kernel* const kernel = emulation::find(way.arch, name);
    CHECK(kernel != nullptr && kernel->args_size == sizeof(Args) && threads <= kernel->threads);
    grid.x += way.beyond;
    emulation::launch([&] { kernel->run(&args); }, grid, {threads == 0 ? kernel->threads : threads}, shared,
                      {way.order, rng(), 1});
}

}  // namespace safetyclf::windows
