// The linear layers of the CUDA core, emulated as for every kind of tensor core, against the scalar CPU
// kernels: the same bits, whatever the order of the threads.
#include <random>

#include "check.hpp"
#include "dispatch.hpp"
#include "emulation.hpp"
#include "kernel_runner.hpp"
#include "kernels.hpp"

using namespace safetyclf;
using emulation::Arch;
using emulation::Options;
using emulation::Order;
using kernel_runner::Bytes;
using kernel_runner::Floats;
using kernel_runner::Guarded;
using kernel_runner::Ints;

namespace {

constexpr Arch kArchs[] = {Arch::sm_75, Arch::sm_80, Arch::sm_90a};

std::mt19937 rng(9);

float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(rng);
}
Floats floats(size_t count, float low, float high) {
    Floats x(count);
    for (float& value : x) value = uniform(low, high);
    return x;
}
// Whole range of int8 but -128; rows of only the largest and of only zeros among them.
Bytes bytes(size_t rows, size_t k) {
    Bytes q(rows * k);
    std::uniform_int_distribution<int> any(-127, 127);
    for (size_t i = 0; i < q.size(); ++i) {
        const size_t row = i / k;
        q[i] = static_cast<int8_t>(row % 11 == 3 ? 127 : row % 11 == 7 ? 0 : any(rng));
    }
    return q;
}

// y[rows, n] = a w^T, and everything that scales it.
struct Layer {
    uint32_t rows, n, k;
    Bytes a = bytes(rows, k), w = bytes(n, k);
    Floats row_scale = floats(rows, 1e-4f, 2e-2f);
    kernel_runner::LinearData linear{floats(n, 1e-4f, 2e-2f), floats(n, -1.0f, 1.0f)};
    const kernels::KernelTable& table = kernels::find("scalar");
    Ints sums = kernel_runner::gemm(table, a, w, rows, n, k);
};

struct How {
    Arch arch;
    Options options;
    uint32_t launched;  // rows that the grid is for: at least those that are left
};

// Calls run(how) for every architecture, order and size of the grid that a shape is tried with.
template <class Run>
void each_way(uint32_t rows, bool every_order, Run run) {
    uint64_t seed = rows;
    for (const Arch arch : kArchs) {
        run(How{arch, {Order::random, ++seed}, rows});
        if (!every_order) continue;
        run(How{arch, {Order::forward}, rows + 1});
        run(How{arch, {Order::backward, 1, 2}, rows + 300});
    }
}

// Device memory of a layer, exactly as large as it must be.
class Device {
public:
    explicit Device(const Layer& layer)
        : layer_(layer),
          a_(layer.a),
          w_(layer.w),
          row_scale_(layer.row_scale),
          scale_(layer.linear.column_scale),
          bias_(layer.linear.bias) {}

    cuda::Batch batch() { return {size_, begins_}; }
    cuda::Quantized in() { return {a_.data(), row_scale_.data()}; }
    cuda::Linear linear() { return {w_.data(), scale_.data(), bias_.data(), layer_.n, layer_.k}; }

    template <class Args>
    void launch(const char* name, const Args& args, const How& how) {
        const emulation::Kernel* const kernel = emulation::find(how.arch, name);
        CHECK(kernel != nullptr && kernel->args_size == sizeof(Args));
        const auto tiles = [](uint32_t count, uint32_t tile) { return (count + tile - 1) / tile; };
        emulation::launch(*kernel, &args, {tiles(layer_.n, cuda::kTileN), tiles(how.launched, cuda::kTileM)},
                          cuda::kLinearShared, how.options);
    }

private:
    const Layer& layer_;
    uint32_t size_[2] = {1, layer_.rows}, begins_[2] = {0, layer_.rows};
    Guarded<int8_t> a_, w_;
    Guarded<float> row_scale_, scale_, bias_;
};

void test_qkv(uint32_t rows, uint32_t hidden, uint32_t head_size, bool every_order) {
    const Layer layer{rows, 3 * hidden, hidden};
    const uint32_t heads = hidden / head_size;
    const kernel_runner::Qkv want =
        kernel_runner::split_qkv(layer.table, layer.sums, layer.row_scale, layer.linear, heads);
    each_way(rows, every_order, [&](const How& how) {
        Device device(layer);
        const size_t size = size_t{rows} * hidden;
        Guarded<int8_t> q(size), k(size);
        Guarded<float> q_scale(size_t{rows} * heads), k_scale(size_t{rows} * heads), v(size);
        device.launch("safetyclf_linear_qkv",
                      cuda::QkvArgs{device.batch(), device.in(), device.linear(), hidden, head_size, q.data(),
                                    q_scale.data(), k.data(), k_scale.data(), v.data()},
                      how);
        CHECK(q.take(size) == want.q.q && q_scale.take(size_t{rows} * heads) == want.q.scale);
        CHECK(k.take(size) == want.k.q && k_scale.take(size_t{rows} * heads) == want.k.scale);
        CHECK(v.take(size) == want.v);
    });
}

void test_add(uint32_t rows, uint32_t n, uint32_t k, bool every_order) {
    const Layer layer{rows, n, k};
    const Floats x = floats(layer.sums.size(), -3.0f, 3.0f);
    Floats want = x;
    for (size_t i = 0; i < want.size(); ++i) {
        const float y = static_cast<float>(layer.sums[i]) * layer.row_scale[i / n];
        want[i] += y * layer.linear.column_scale[i % n] + layer.linear.bias[i % n];
    }
    each_way(rows, every_order, [&](const How& how) {
        Device device(layer);
        Guarded<float> inout(x);
        device.launch("safetyclf_linear_add",
                      cuda::AddArgs{device.batch(), device.in(), device.linear(), inout.data()}, how);
        CHECK(inout.take(x.size()) == want);
    });
}

void test_gelu(uint32_t rows, uint32_t n, uint32_t k, bool every_order) {
    const Layer layer{rows, n, k};
    // The kernel leaves a row's values, smoothed by 1, where it gathers them before it quantises them.
    const Floats ones(n, 1.0f);
    const kernels::Linear linear{
        nullptr, layer.linear.column_scale.data(), layer.linear.bias.data(), nullptr, n, k};
    Floats want(layer.sums.size());
    std::vector<uint8_t> q(n);
    for (size_t r = 0; r < rows; ++r) {
        float scale = layer.row_scale[r];
        layer.table.gelu_quantize(layer.sums.data() + r * n, 1, &scale, &linear, ones.data(),
                                  want.data() + r * n, q.data(), &scale);
    }
    each_way(rows, every_order, [&](const How& how) {
        Device device(layer);
        Guarded<float> y(want.size());
        device.launch("safetyclf_linear_gelu",
                      cuda::GeluArgs{device.batch(), device.in(), device.linear(), y.data()}, how);
        CHECK(y.take(want.size()) == want);
    });
}

// Nothing left of a batch: nothing is read or written.
void test_empty() {
    const uint32_t size[2] = {0, 0};
    for (const Arch arch : kArchs)
        for (const char* const name :
             {"safetyclf_linear_qkv", "safetyclf_linear_add", "safetyclf_linear_gelu"}) {
            alignas(16) uint8_t args[sizeof(cuda::QkvArgs)] = {};
            reinterpret_cast<cuda::Batch*>(args)->size = size;
            emulation::launch(*emulation::find(arch, name), args, {2, 2}, cuda::kLinearShared);
        }
}

}  // namespace

int main() {
    test_empty();
    for (const uint32_t rows : {1u, 7u, 128u, 129u}) {
        test_qkv(rows, 64, 32, true);
        test_qkv(rows, 64, 64, true);
        test_add(rows, 64, 64, true);
        test_gelu(rows, 64, 64, true);
    }
    for (const uint32_t hidden : {128u, 192u, 384u})
        for (const uint32_t head_size : {32u, 64u})
            test_qkv(17 + hidden / 4, hidden, head_size, hidden == 128);
    test_add(300, 192, 64, false);
    test_add(33, 384, 384, false);
    test_add(100, 384, 1536, false);
    test_add(65, 128, 192, true);
    test_gelu(300, 64, 192, false);
    test_gelu(65, 1536, 384, false);
    for (uint32_t i = 0; i < 8; ++i) {
        const uint32_t rows = 1 + static_cast<uint32_t>(rng() % 300);
        test_qkv(rows, 128, i % 2 == 0 ? 32 : 64, false);
        test_add(rows, 64, 320, false);
        test_gelu(rows, 192, 128, false);
    }
}
