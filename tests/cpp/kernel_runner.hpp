// Calls one entry of a kernel table on plain vectors. Buffers have exactly the alignment and the slack that
// abi.h demands and no more: around them lie guard bytes, poisoned under AddressSanitizer and compared after
// the call. Used by the C++ test, the fuzz target and the Python test module.
//
// Activations are signed here; the runner adds and removes the table's activation_offset. All matrices are
// row-major. `shift` displaces every buffer that need not be aligned by that many elements.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "abi.h"
#include "asan.hpp"

namespace safetyclf::kernel_runner {

using kernels::kAlignment;
using kernels::KernelTable;
using kernels::kReadSlack;
using kernels::kRowTile;

// `count` elements, then `slack` bytes of garbage that may be read (and, where the caller says so, written).
template <class T>
class Guarded {
public:
    explicit Guarded(std::size_t count, std::size_t slack = 0, std::size_t shift = 0)
        : used_(count * sizeof(T) + slack) {
        const std::size_t displacement = shift * sizeof(T);
        const std::size_t total = kGuard + displacement + used_ + kGuard;
        block_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, round_up(total, kAlignment))));
        if (block_ == nullptr) std::abort();
        std::memset(block_.get(), kPattern, total);
        begin_ = block_.get() + kGuard + displacement;
        poison(true);
    }
    explicit Guarded(std::span<const T> values, std::size_t slack = 0, std::size_t shift = 0)
        : Guarded(values.size(), slack, shift) {
        if (!values.empty()) std::memcpy(begin_, values.data(), values.size_bytes());
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() { poison(false); }

    [[nodiscard]] T* data() { return reinterpret_cast<T*>(begin_); }

    // The first `count` elements. Aborts when a guard byte was written.
    [[nodiscard]] std::vector<T> take(std::size_t count) {
        poison(false);
        check(block_.get(), begin_);
        check(begin_ + used_, begin_ + used_ + kGuard);
        poison(true);
        std::vector<T> values(count);
        if (count != 0) std::memcpy(values.data(), begin_, count * sizeof(T));
        return values;
    }

private:
    static constexpr std::size_t kGuard = 256;
    static constexpr int kPattern = 0xA5;
    struct Free {
        void operator()(std::uint8_t* p) const { std::free(p); }
    };

    static std::size_t round_up(std::size_t x, std::size_t to) { return (x + to - 1) / to * to; }
    static void check(const std::uint8_t* p, const std::uint8_t* end) {
        for (; p < end; ++p) {
            if (*p == kPattern) continue;
            std::fprintf(stderr, "a kernel wrote outside its buffer\n");
            std::abort();
        }
    }
    void poison([[maybe_unused]] bool on) {
#ifdef SAFETYCLF_ASAN
        const auto set = [on](void* p, std::size_t n) {
            on ? __asan_poison_memory_region(p, n) : __asan_unpoison_memory_region(p, n);
        };
        set(block_.get(), static_cast<std::size_t>(begin_ - block_.get()));
        set(begin_ + used_, kGuard);
#endif
    }

    std::size_t used_;
    std::unique_ptr<std::uint8_t, Free> block_;
    std::uint8_t* begin_ = nullptr;
};

template <class T>
Guarded(const std::vector<T>&, std::size_t = 0, std::size_t = 0) -> Guarded<T>;

using Ints = std::vector<std::int32_t>;
using Bytes = std::vector<std::int8_t>;
using Floats = std::vector<float>;

struct Quantized {
    Bytes q;
    Floats scale;
    bool operator==(const Quantized&) const = default;
};

struct Qkv {
    Quantized q, k;
    Floats v;
};

struct LinearData {
    Floats column_scale, bias;
};

struct NormData {
    Floats gamma, beta;
    float epsilon;
};

// Bytes behind `rows` rows that kernels may touch.
inline std::size_t tile_slack(std::size_t rows, std::size_t row_bytes) {
    return ((rows + kRowTile - 1) / kRowTile * kRowTile - rows) * row_bytes + kReadSlack;
}

inline std::vector<std::uint8_t> stored(const KernelTable& table, std::span<const std::int8_t> q) {
    std::vector<std::uint8_t> out;
    out.reserve(q.size());
    for (const std::int8_t x : q)
        out.push_back(static_cast<std::uint8_t>(x + static_cast<int>(table.activation_offset)));
    return out;
}

inline Bytes signed_of(const KernelTable& table, std::span<const std::uint8_t> q) {
    Bytes out;
    out.reserve(q.size());
    for (const std::uint8_t x : q)
        out.push_back(static_cast<std::int8_t>(x - static_cast<int>(table.activation_offset)));
    return out;
}

// c[m, n] of a[m, k] and w[n, k].
inline Ints gemm(const KernelTable& table, const Bytes& a, const Bytes& w, std::size_t m, std::size_t n,
                 std::size_t k, std::size_t shift = 0) {
    Guarded<std::int8_t> packed(table.packed_size(n, k));
    table.pack_weights(w.data(), n, k, packed.data());
    Guarded stored_a(stored(table, a), tile_slack(m, k), shift);
    Guarded<std::int32_t> c(m * n, tile_slack(m, n * 4), shift);
    table.gemm(stored_a.data(), m, packed.data(), n, k, c.data());
    (void)packed.take(0);
    return c.take(m * n);
}

// x[rows, hidden]; words [V, hidden], positions [P, hidden].
inline Floats embed(const KernelTable& table, const Ints& ids, const std::vector<std::uint32_t>& position,
                    const Bytes& words, const Floats& word_scale, const Floats& positions,
                    const NormData& norm, std::size_t shift = 0) {
    const std::size_t hidden = norm.gamma.size();
    Guarded w(words, 0, shift);
    Guarded p(positions, 0, shift), gamma(norm.gamma, 0, shift), beta(norm.beta, 0, shift);
    const kernels::Norm n{gamma.data(), beta.data(), norm.epsilon};
    Guarded<float> x(ids.size() * hidden, 0, shift);
    table.embed(ids.data(), position.data(), ids.size(), w.data(), word_scale.data(), p.data(), &n, hidden,
                x.data());
    return x.take(ids.size() * hidden);
}

inline Quantized quantize(const KernelTable& table, const Floats& x, const Floats& inverse_smooth,
                          std::size_t shift = 0) {
    const std::size_t k = inverse_smooth.size();
    const std::size_t rows = x.size() / k;
    Guarded in(x, 0, shift), smooth(inverse_smooth, 0, shift);
    Guarded<std::uint8_t> q(rows * k, 0, shift);
    Guarded<float> scale(rows, 0, shift);
    table.quantize(in.data(), rows, smooth.data(), k, q.data(), scale.data());
    return {signed_of(table, q.take(rows * k)), scale.take(rows)};
}

inline Qkv split_qkv(const KernelTable& table, const Ints& acc, const Floats& row_scale,
                     const LinearData& linear, std::size_t heads, std::size_t shift = 0) {
    const std::size_t n = linear.bias.size(), hidden = n / 3, rows = row_scale.size();
    Guarded in(acc, 0, shift);
    Guarded row(row_scale, 0, shift), column(linear.column_scale, 0, shift), bias(linear.bias, 0, shift);
    const kernels::Linear layer{nullptr, column.data(), bias.data(), nullptr, n, hidden};
    Guarded<std::uint8_t> q(rows * hidden, 0, shift);
    Guarded<std::int8_t> k(rows * hidden, 0, shift);
    Guarded<float> q_scale(rows * heads, 0, shift), k_scale(rows * heads, 0, shift),
        v(rows * hidden, 0, shift);
    table.split_qkv(in.data(), rows, row.data(), &layer, heads, q.data(), q_scale.data(), k.data(),
                    k_scale.data(), v.data());
    return {{signed_of(table, q.take(rows * hidden)), q_scale.take(rows * heads)},
            {k.take(rows * hidden), k_scale.take(rows * heads)},
            v.take(rows * hidden)};
}

// All heads of one window. q, k: [length, hidden] with scales [length, heads]; v, out: [length, hidden].
inline Floats attention(const KernelTable& table, const Qkv& qkv, std::size_t heads, std::size_t head_size,
                        bool in_place, std::size_t shift = 0) {
    const std::size_t hidden = heads * head_size, length = qkv.v.size() / hidden;
    Guarded q(stored(table, qkv.q.q), tile_slack(length, hidden), shift);
    Guarded k(qkv.k.q, tile_slack(length, hidden), shift);
    Guarded q_scale(qkv.q.scale, 0, shift), k_scale(qkv.k.scale, 0, shift);
    Guarded v(qkv.v, tile_slack(length, hidden * 4), shift);
    Guarded<float> out(length * hidden, tile_slack(length, hidden * 4), shift);
    Guarded<std::uint8_t> scratch(table.attention_scratch(length, head_size));
    for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = h * head_size;
        const kernels::AttentionHead head{
            .q = q.data() + at,
            .q_scale = q_scale.data() + h,
            .k = k.data() + at,
            .k_scale = k_scale.data() + h,
            .v = v.data() + at,
            .out = (in_place ? v.data() : out.data()) + at,
            .length = length,
            .head_size = head_size,
            .stride = hidden,
            .heads = heads,
            .logit_scale = 1.442695041f / std::sqrt(static_cast<float>(head_size)),
            .scratch = scratch.data(),
        };
        table.attention(&head);
        (void)scratch.take(0);
    }
    return (in_place ? v : out).take(length * hidden);
}

inline Floats add_norm(const KernelTable& table, const Floats& x, const Ints& acc, const Floats& row_scale,
                       const LinearData& linear, const NormData& norm, std::size_t shift = 0) {
    Guarded in(acc, 0, shift);
    Guarded row(row_scale, 0, shift), column(linear.column_scale, 0, shift), bias(linear.bias, 0, shift);
    Guarded gamma(norm.gamma, 0, shift), beta(norm.beta, 0, shift), inout(x, 0, shift);
    const kernels::Linear layer{nullptr, column.data(), bias.data(), nullptr, linear.bias.size(), 0};
    const kernels::Norm n{gamma.data(), beta.data(), norm.epsilon};
    table.add_norm(in.data(), row_scale.size(), row.data(), &layer, &n, inout.data());
    return inout.take(x.size());
}

// `scale` is `row_scale`, as the engine has it.
inline Quantized gelu_quantize(const KernelTable& table, const Ints& acc, const Floats& row_scale,
                               const LinearData& linear, const Floats& inverse_smooth,
                               std::size_t shift = 0) {
    const std::size_t n = linear.bias.size(), rows = row_scale.size();
    Guarded in(acc, 0, shift);
    Guarded row(row_scale, 0, shift), column(linear.column_scale, 0, shift), bias(linear.bias, 0, shift);
    Guarded smooth(inverse_smooth, 0, shift);
    const kernels::Linear layer{nullptr, column.data(), bias.data(), nullptr, n, 0};
    Guarded<float> scratch(n, 0, shift);
    Guarded<std::uint8_t> q(rows * n, 0, shift);
    table.gelu_quantize(in.data(), rows, row.data(), &layer, smooth.data(), scratch.data(), q.data(),
                        row.data());
    (void)scratch.take(0);
    return {signed_of(table, q.take(rows * n)), row.take(rows)};
}

inline Floats mean_rows(const KernelTable& table, const Floats& x, std::size_t hidden,
                        std::size_t shift = 0) {
    Guarded in(x, 0, shift);
    Guarded<float> mean(hidden, 0, shift);
    table.mean_rows(in.data(), x.size() / hidden, hidden, mean.data());
    return mean.take(hidden);
}

// out[rows, classes] of x[rows, hidden] and w[classes, hidden].
inline Floats dot_rows(const KernelTable& table, const Floats& x, const Floats& w, std::size_t hidden,
                       std::size_t shift = 0) {
    const std::size_t rows = x.size() / hidden, classes = w.size() / hidden;
    Guarded in(x, 0, shift), weights(w, 0, shift);
    Guarded<float> out(rows * classes, 0, shift);
    table.dot_rows(in.data(), rows, weights.data(), classes, hidden, out.data());
    return out.take(rows * classes);
}

}  // namespace safetyclf::kernel_runner
