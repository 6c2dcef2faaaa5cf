// Embedding, norm and quantisation of rows against the scalar CPU kernels, bit by bit.
#include "windows.hpp"

using namespace safetyclf;
using namespace safetyclf::windows;

namespace {

const kernels::KernelTable& table = kernels::find("scalar");

// Rows that end within a block, within a warp, or fill it.
constexpr uint32_t kRows[] = {0, 1, 2, 7, 8, 9, 21, 64};
constexpr uint32_t kSlack = 5;  // rows that the buffers have beyond those left

uint32_t blocks(uint32_t rows) {
    return (rows + cuda::kRowsPerBlock - 1) / cuda::kRowsPerBlock + 1;
}

struct NormInput {
    explicit NormInput(size_t hidden)
        : data{reals(hidden, 2.0f), rows_of_all_kinds(1, hidden), 1e-12f},
          gamma(data.gamma),
          beta(data.beta) {}
    cuda::Norm args() { return {gamma.data(), beta.data(), data.epsilon}; }

    kernel_runner::NormData data;
    Guarded<float> gamma, beta;
};

// Where rows of int8 go, and what they should be.
struct Output {
    Output(uint32_t rows, size_t columns)
        : size(rows + kSlack), values(size * columns), scale(size), columns(columns) {}
    cuda::Quantized args() { return {values.data(), scale.data()}; }
    void check(const kernel_runner::Quantized& want) {
        check_buffer(values, size * columns, want.q);
        check_buffer(scale, size, want.scale);
    }

    size_t size;
    Guarded<int8_t> values;
    Guarded<float> scale;
    size_t columns;
};

void test_embed(const Way& way, uint32_t rows, uint32_t hidden) {
    constexpr uint32_t kVocabulary = 9, kPositions = 70;
    Ints ids(rows);
    Words position(rows);
    for (uint32_t r = 0; r < rows; ++r) {
        ids[r] = static_cast<int32_t>(below(kVocabulary));
        position[r] = below(kPositions);
    }
    Bytes words(kVocabulary * size_t{hidden});
    for (int8_t& w : words) w = static_cast<int8_t>(static_cast<int>(below(255)) - 127);
    const Floats word_scale = positives(kVocabulary, 0.05f), smooth = positives(hidden, 2.0f);
    const Floats positions = rows_of_all_kinds(kPositions, hidden);
    NormInput norm(hidden);
    const Floats want = kernel_runner::embed(table, ids, position, words, word_scale, positions, norm.data);

    Device device({rows});
    const std::vector<uint16_t> short_position(position.begin(), position.end());
    Guarded ids_in(ids);
    Guarded words_in(words);
    Guarded word_scale_in(word_scale), positions_in(positions), smooth_in(smooth);
    Guarded position_in(short_position);
    Guarded<float> x((rows + kSlack) * size_t{hidden});
    Output out(rows, hidden);
    launch(way, "safetyclf_embed",
           cuda::EmbedArgs{device.batch(), ids_in.data(), position_in.data(), words_in.data(),
                           word_scale_in.data(), positions_in.data(), norm.args(), smooth_in.data(), hidden,
                           x.data(), out.args()},
           {blocks(rows)});
    check_buffer(x, (rows + kSlack) * size_t{hidden}, want);
    out.check(kernel_runner::quantize(table, want, smooth));
}

void test_norm(const Way& way, uint32_t rows, uint32_t hidden, bool quantized) {
    const Floats in = rows_of_all_kinds(rows, hidden), smooth = positives(hidden, 2.0f);
    NormInput norm(hidden);
    // The CPU's kernel adds a linear layer's output first: here -0, which changes nothing, not even a -0.
    const kernel_runner::LinearData nothing{Floats(hidden, -1.0f), Floats(hidden, -0.0f)};
    const Floats want =
        kernel_runner::add_norm(table, in, Ints(in.size()), Floats(rows, 1.0f), nothing, norm.data);

    Device device({rows});
    Guarded smooth_in(smooth);
    Guarded<float> x((rows + kSlack) * size_t{hidden});
    if (rows != 0) std::memcpy(x.data(), in.data(), in.size() * sizeof(float));
    Output out(rows, hidden);
    launch(way, "safetyclf_norm",
           cuda::NormArgs{device.batch(), x.data(), norm.args(), quantized ? smooth_in.data() : nullptr,
                          hidden, out.args()},
           {blocks(rows)});
    check_buffer(x, (rows + kSlack) * size_t{hidden}, want);
    out.check(quantized ? kernel_runner::quantize(table, want, smooth) : kernel_runner::Quantized{});
}

void test_quantize(const Way& way, uint32_t rows, uint32_t k) {
    const Floats in = rows_of_all_kinds(rows, k), smooth = rows_of_all_kinds(1, k);
    Device device({rows});
    Guarded x(in), smooth_in(smooth);
    Output out(rows, k);
    launch(way, "safetyclf_quantize",
           cuda::QuantizeArgs{device.batch(), x.data(), smooth_in.data(), k, out.args()}, {blocks(rows)});
    out.check(kernel_runner::quantize(table, in, smooth));
}

}  // namespace

int main() {
    each_way([](const Way& way) {
        for (const uint32_t rows : kRows) {
            for (const uint32_t hidden : {64u, 128u, 192u, 384u}) {
                test_embed(way, rows, hidden);
                test_norm(way, rows, hidden, true);
                test_norm(way, rows, hidden, false);
            }
            // What stays in registers, 512 and 1,536 values, and more.
            for (const uint32_t k : {64u, 320u, 512u, 576u, 1536u, 1600u, 3072u}) test_quantize(way, rows, k);
        }
    });
}
