// Attention, with the quantisation of its values, against the scalar CPU kernel, bit by bit.
#include "attention.cuh"
#include "windows.hpp"

using namespace safetyclf;
using namespace safetyclf::windows;

namespace {

const kernels::KernelTable& table = kernels::find("scalar");

// How queries, keys and their scales are: random; all of one value, so that all logits are equal or the
// products as large as they get; so unlike that almost all probabilities are 0; zero; as small as scales get.
enum class Kind { random, largest, peaked, zero, tiny };
constexpr Kind kKinds[] = {Kind::random, Kind::largest, Kind::peaked, Kind::zero, Kind::tiny};

kernel_runner::Quantized rows_of(Kind kind, size_t rows, size_t hidden, size_t heads) {
    kernel_runner::Quantized x{Bytes(rows * hidden), positives(rows * heads, 0.02f)};
    for (int8_t& q : x.q)
        q = static_cast<int8_t>(kind == Kind::largest ? (below(64) == 0 ? -127 : 127)
                                : kind == Kind::zero  ? 0
                                                      : static_cast<int>(below(255)) - 127);
    for (float& scale : x.scale)
        scale *= kind == Kind::peaked ? 0x1p12f : kind == Kind::tiny ? 0x1p-100f : 1.0f;
    return x;
}

struct Batch {
    Words lengths;
    uint32_t hidden, head_size;
    Words at = begins(lengths);
    uint32_t rows = at.back(), heads = hidden / head_size;
    kernel_runner::Qkv qkv{};
    Floats want{}, want_scale{};
    Words want_values{};

    void fill(Kind kind) {
        qkv = {rows_of(kind, rows, hidden, heads), rows_of(kind, rows, hidden, heads),
               rows_of_all_kinds(rows, hidden)};
        want.clear();
        want_scale.clear();
        want_values.assign(size_t{cuda::value_groups(rows, count())} * hidden, 0xA5A5A5A5);
        for (uint32_t w = 0; w < count(); ++w) {
            // Some channels are zero over the whole window, or tiny.
            for (uint32_t r = at[w]; r < at[w + 1]; ++r) {
                qkv.v[size_t{r} * hidden + w % hidden] = 0.0f;
                qkv.v[size_t{r} * hidden + (w + 7) % hidden] = 0x1p-140f;
            }
            const auto part = [&](const auto& of, size_t width) {
                return slice(of, at[w] * width, at[w + 1] * width);
            };
            const kernel_runner::Qkv window{{part(qkv.q.q, hidden), part(qkv.q.scale, heads)},
                                            {part(qkv.k.q, hidden), part(qkv.k.scale, heads)},
                                            part(qkv.v, hidden)};
            const Floats out = kernel_runner::attention(table, window, heads, head_size, false);
            want.insert(want.end(), out.begin(), out.end());
            quantize_values(w);
        }
    }
    uint32_t count() const { return static_cast<uint32_t>(lengths.size()); }

private:
    // A channel over the window's tokens is a row to the CPU's kernel.
    void quantize_values(uint32_t w) {
        const size_t padded = (lengths[w] + 63) / 64 * 64;
        uint32_t* const to = want_values.data() + size_t{cuda::value_group(w, at[w])} * hidden;
        for (size_t c = 0; c < hidden; ++c) {
            Floats channel(padded);
            for (size_t j = 0; j < lengths[w]; ++j) channel[j] = qkv.v[(at[w] + j) * hidden + c];
            const kernel_runner::Quantized q = kernel_runner::quantize(table, channel, Floats(padded, 1.0f));
            want_scale.push_back(q.scale[0]);
            for (size_t j = 0; j < lengths[w]; j += 4) std::memcpy(to + j / 4 * hidden + c, &q.q[j], 4);
        }
    }
};

void test(const Way& way, const Batch& batch, uint32_t longest, uint32_t threads) {
    const uint32_t hidden = batch.hidden, size = batch.head_size;
    const size_t values_size = batch.want_values.size(), out_size = batch.rows * size_t{hidden};
    Device device(batch.lengths);
    Guarded q(batch.qkv.q.q), k(batch.qkv.k.q);
    Guarded q_scale(batch.qkv.q.scale), k_scale(batch.qkv.k.scale), v(batch.qkv.v);
    Guarded<uint32_t> values(values_size);
    Guarded<float> scale(batch.count() * size_t{hidden});
    launch(way, "safetyclf_quantize_values",
           cuda::ValueArgs{device.batch(), v.data(), hidden, size, values.data(), scale.data()},
           {batch.count(), batch.heads});
    check_buffer(values, values_size, batch.want_values);
    check_buffer(scale, batch.want_scale.size(), batch.want_scale);
    // Blocks that take turns at a window's rows, or one for each turn and for some that do not exist.
    const uint32_t turns = way.order == Order::forward    ? 1
                           : way.order == Order::backward ? 2
                                                          : longest / cuda::attention_rows(threads) + 1;
    launch(way, size == 32 ? "safetyclf_attention_32" : "safetyclf_attention_64",
           cuda::AttentionArgs{device.batch(), q.data(), q_scale.data(), k.data(), k_scale.data(),
                               values.data(), scale.data(), hidden,
                               1.442695041f / std::sqrt(static_cast<float>(size)), v.data()},
           {batch.count(), batch.heads, turns}, cuda::attention_shared(size), threads);
    check_buffer(v, out_size, batch.want);
}

// docs/numerics.md, section 5, in its own words: a fused multiplication or a bit less in a coefficient
// changes a probability too rarely for the tests of whole windows.
uint32_t probability(float x) {
    const float n = std::rint(x), f = x - n;
    float p = 0x1.3997e8p-7f;
    for (const float e : {0x1.ca1406p-5f, 0x1.ec06d8p-3f, 0x1.62e0dcp-1f, 1.0f}) p = p * f + e;
    return static_cast<uint32_t>(std::rint(std::ldexp(p, static_cast<int>(n)) * 255.0f));
}

void test_probabilities() {
    for (uint32_t i = 0; i < 1 << 22; ++i) {
        const float x = i <= 80 ? -static_cast<float>(i) * 0.25f : -std::fabs(real(10.0f));
        CHECK((cuda::probability_bits(x) & 0xFF) == probability(x));
    }
}

}  // namespace

int main() {
    test_probabilities();
    Words every_length;
    for (uint32_t length = 1; length <= 70; ++length) every_length.push_back(length);
    const auto run = [](Batch batch, Kind kind, uint32_t longest) {
        batch.fill(kind);
        each_way([&](const Way& way) { test(way, batch, longest, cuda::attention_threads(longest)); });
    };
    for (const uint32_t size : {32u, 64u}) {
        for (const Kind kind : kKinds) {
            run({every_length, 64, size}, kind, 70);
            run({{3, 16, 1, 9}, 128, size}, kind, 16);  // blocks of one warp
            run({{40, 33, 2}, 64, size}, kind, 48);     // of three
        }
        run({{130, 5, 64, 129, 96}, 64, size}, Kind::random, 200);
        run({{510}, 64, size}, Kind::peaked, 510);
        run({{20, 12}, 384, size}, Kind::random, 20);
    }
}
