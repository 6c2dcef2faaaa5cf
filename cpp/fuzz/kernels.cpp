// Differential: each entry of each kernel table this CPU can run against the scalar reference, bit for bit,
// inside guarded buffers. Input: entry, sizes and a pointer shift in the first bytes, then the operands; what
// is missing reads as zero.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../tests/cpp/kernel_runner.hpp"
#include "dispatch.hpp"

using namespace safetyclf::kernel_runner;
using safetyclf::kernels::KernelTable;

namespace {

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t byte() {
        if (size_ == 0) return 0;
        const std::size_t round = next_ / size_;
        return static_cast<std::uint8_t>(data_[next_++ % size_] + 37 * round);
    }
    std::size_t size(std::size_t low, std::size_t high) { return low + byte() % (high - low + 1); }
    // Kernels take [-127, 127] only; the model's loader refuses -128.
    Bytes bytes(std::size_t count) {
        Bytes out(count);
        for (std::int8_t& x : out) {
            x = static_cast<std::int8_t>(byte());
            if (x == -128) x = -127;
        }
        return out;
    }
    // A byte gives a mantissa, and one byte per row its exponent: finite, and of very different sizes.
    Floats reals(std::size_t rows, std::size_t columns) {
        Floats out(rows * columns);
        for (std::size_t r = 0; r < rows; ++r) {
            const int exponent = static_cast<std::int8_t>(byte()) / 2;
            for (std::size_t i = 0; i < columns; ++i)
                out[r * columns + i] =
                    std::ldexp(static_cast<float>(static_cast<std::int8_t>(byte())), exponent / 4 - 7);
        }
        return out;
    }
    Floats scales(std::size_t count) {
        Floats out(count);
        for (float& x : out) x = static_cast<float>(byte() + 1) * 0x1p-12f;
        return out;
    }
    Ints accumulators(std::size_t count) {
        Ints out(count);
        for (std::int32_t& x : out) {
            const int shift = byte() % 24;
            x = static_cast<std::int8_t>(byte()) * (1 << shift);
        }
        return out;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_, next_ = 0;
};

template <class T>
void append(std::vector<std::uint8_t>& out, const std::vector<T>& values) {
    const auto* p = reinterpret_cast<const std::uint8_t*>(values.data());
    out.insert(out.end(), p, p + values.size() * sizeof(T));
}

void append(std::vector<std::uint8_t>& out, const Quantized& x) {
    append(out, x.q);
    append(out, x.scale);
}

std::vector<std::uint8_t> run(const KernelTable& table, Input in) {
    std::vector<std::uint8_t> out;
    const std::size_t entry = in.size(0, 7), shift = in.size(0, 3), hidden = 64 * in.size(1, 2);
    switch (entry) {
        case 0: {
            const std::size_t m = in.size(1, 40), n = 16 * in.size(1, 4);
            const Bytes a = in.bytes(m * hidden);
            append(out, gemm(table, a, in.bytes(n * hidden), m, n, hidden, shift));
            break;
        }
        case 1: {
            const std::size_t rows = in.size(1, 9);
            const Floats smooth = in.scales(hidden);
            append(out, quantize(table, in.reals(rows, hidden), smooth, shift));
            break;
        }
        case 2: {
            const std::size_t rows = in.size(1, 9), head_size = in.byte() % 2 == 0 ? 32 : 64;
            const LinearData linear{in.scales(3 * hidden), in.reals(1, 3 * hidden)};
            const Floats row_scale = in.scales(rows);
            const Qkv qkv = split_qkv(table, in.accumulators(rows * 3 * hidden), row_scale, linear,
                                      hidden / head_size, shift);
            append(out, qkv.q);
            append(out, qkv.k);
            append(out, qkv.v);
            break;
        }
        case 3: {
            const std::size_t length = in.size(1, 70), head_size = in.byte() % 2 == 0 ? 32 : 64,
                              heads = in.size(1, 2);
            const std::size_t count = length * heads * head_size;
            const bool in_place = in.byte() % 2 == 0;
            const Floats q_scale = in.scales(length * heads), k_scale = in.scales(length * heads);
            const Bytes q = in.bytes(count), k = in.bytes(count);
            const Qkv qkv{{q, q_scale}, {k, k_scale}, in.reals(length, heads * head_size)};
            append(out, attention(table, qkv, heads, head_size, in_place, shift));
            break;
        }
        case 4: {
            const std::size_t rows = in.size(1, 9);
            const LinearData linear{in.scales(hidden), in.reals(1, hidden)};
            const NormData norm{in.reals(1, hidden), in.reals(1, hidden), 1e-12f};
            const Floats row_scale = in.scales(rows);
            const Ints acc = in.accumulators(rows * hidden);
            append(out, add_norm(table, in.reals(rows, hidden), acc, row_scale, linear, norm, shift));
            break;
        }
        case 5: {
            const std::size_t rows = in.size(1, 9);
            const LinearData linear{in.scales(hidden), in.reals(1, hidden)};
            const Floats row_scale = in.scales(rows), smooth = in.scales(hidden);
            append(out,
                   gelu_quantize(table, in.accumulators(rows * hidden), row_scale, linear, smooth, shift));
            break;
        }
        case 6: {
            const std::size_t rows = in.size(1, 9), classes = in.size(1, 9);
            const Floats x = in.reals(rows, hidden);
            append(out, mean_rows(table, x, hidden, shift));
            append(out, dot_rows(table, x, in.reals(classes, hidden), hidden, shift));
            break;
        }
        default: {
            const std::size_t rows = in.size(1, 9);
            Ints ids(rows);
            std::vector<std::uint32_t> position(rows);
            for (std::int32_t& id : ids) id = in.byte() % 3;
            for (std::uint32_t& p : position) p = in.byte() % 3;
            const NormData norm{in.reals(1, hidden), in.reals(1, hidden), 1e-12f};
            const Floats word_scale = in.scales(3), positions = in.reals(3, hidden);
            append(out,
                   embed(table, ids, position, in.bytes(3 * hidden), word_scale, positions, norm, shift));
            break;
        }
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<std::string> names = safetyclf::kernels::supported();
    const std::vector<std::uint8_t> expected = run(safetyclf::kernels::find("scalar"), {data, size});
    for (const std::string& isa : names) {
        if (run(safetyclf::kernels::find(isa), {data, size}) == expected) continue;
        std::fprintf(stderr, "%s differs from scalar\n", isa.c_str());
        std::abort();
    }
    return 0;
}
