// The three linear layers as plain loops, for tests of the host that want many tokens: emulated tensor cores
// take most of the time. What these layers give is tested by test_cuda_linear.cpp.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/kernels.hpp"
#include "emulated_device.hpp"

namespace safetyclf::emulation {
namespace {

using namespace cuda;

// out[n] of one row.
void linear(const Quantized& in, const Linear& layer, std::size_t row, std::vector<float>& out) {
    out.resize(layer.n);
    const std::int8_t* const a = in.values + row * layer.k;
    for (std::size_t j = 0; j < layer.n; ++j) {
        const std::int8_t* const w = layer.weight + j * layer.k;
        std::int32_t sum = 0;
        for (std::size_t l = 0; l < layer.k; ++l) sum += a[l] * w[l];
        out[j] = static_cast<float>(sum) * in.scale[row] * layer.scale[j] + layer.bias[j];
    }
}

void quantize_head(const float* y, std::size_t size, std::int8_t* to, float& scale) {
    float largest = 1e-30f;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, std::fabs(y[i]));
    const float inverse = 127.0f / largest;
    for (std::size_t i = 0; i < size; ++i) to[i] = static_cast<std::int8_t>(std::rint(y[i] * inverse));
    scale = largest * (1.0f / 127.0f);
}

void qkv(const void* data) {
    const QkvArgs& args = *static_cast<const QkvArgs*>(data);
    const std::size_t hidden = args.hidden, heads = hidden / args.head_size;
    std::vector<float> y;
    for (std::size_t r = 0; r < args.batch.size[1]; ++r) {
        linear(args.in, args.linear, r, y);
        for (std::size_t h = 0; h < heads; ++h) {
            const std::size_t at = h * args.head_size, to = r * hidden + at;
            quantize_head(&y[at], args.head_size, args.q + to, args.q_scale[r * heads + h]);
            quantize_head(&y[hidden + at], args.head_size, args.k + to, args.k_scale[r * heads + h]);
        }
        std::copy_n(&y[2 * hidden], hidden, args.v + r * hidden);
    }
}

void add(const void* data) {
    const AddArgs& args = *static_cast<const AddArgs*>(data);
    std::vector<float> y;
    for (std::size_t r = 0; r < args.batch.size[1]; ++r) {
        linear(args.in, args.linear, r, y);
        for (std::size_t i = 0; i < y.size(); ++i) args.x[r * y.size() + i] += y[i];
    }
}

void gelu(const void* data) {
    constexpr float kPolynomial[10] = {0x1.9874fep-2f,  -0x1.0fb770p-4f,  0x1.4236aep-7f,  -0x1.264d86p-10f,
                                       0x1.9a801cp-14f, -0x1.ab296ap-18f, 0x1.3db4a0p-22f, -0x1.3be3c2p-27f,
                                       0x1.753bbcp-33f, -0x1.8a12f8p-40f};
    const GeluArgs& args = *static_cast<const GeluArgs*>(data);
    std::vector<float> y;
    for (std::size_t r = 0; r < args.batch.size[1]; ++r) {
        linear(args.in, args.linear, r, y);
        for (std::size_t i = 0; i < y.size(); ++i) {
            const float c = std::min(std::max(y[i], -4.5f), 4.5f), t = c * c;
            float p = kPolynomial[9];
            for (int term = 8; term >= 0; --term) p = p * t + kPolynomial[term];
            args.y[r * y.size() + i] = y[i] * (c * p + 0.5f);
        }
    }
}

}  // namespace

void (*plain_linear(std::string_view name))(const void*) {
    if (name == "safetyclf_linear_qkv") return qkv;
    if (name == "safetyclf_linear_add") return add;
    if (name == "safetyclf_linear_gelu") return gelu;
    return nullptr;
}

}  // namespace safetyclf::emulation
