// Fuzzes the model file reader. The input is a file. Either it is refused with Error(model_format), or all
// that the model points to can be read, the tokenizer and the policy work, and reading it again gives the
// same id.
//
// Fuzzing builds do not compare hashes (cpp/src/model/schema.cpp): nearly every change would end there.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dispatch.hpp"
#include "model/model.hpp"
#include "safetyclf/error.hpp"

namespace {

using safetyclf::Error;
using safetyclf::ErrorCode;
using safetyclf::kernels::KernelTable;
using safetyclf::kernels::Linear;
using safetyclf::model::Model;

void require(bool condition) {
    if (!condition) std::abort();
}

const KernelTable& table() {
    static const KernelTable& scalar = safetyclf::kernels::find("scalar");
    return scalar;
}

std::shared_ptr<const Model> parse(std::span<const std::byte> bytes) {
    try {
        return Model::parse(bytes, "input", table());
    } catch (const Error& error) {
        require(error.code() == ErrorCode::model_format);
        require(std::string_view(error.what()).starts_with("input: "));
        return nullptr;
    }
}

// Reads each value, so that sanitizers see a pointer or a size that is wrong.
template <typename T>
void read_all(const T* values, std::size_t count, T above) {
    bool good = true;
    for (std::size_t i = 0; i < count; ++i) good = good && values[i] > above;
    require(good);
}

void read_floats(const float* values, std::size_t count) {
    read_all(values, count, -std::numeric_limits<float>::infinity());
}

void read_linear(const Linear& linear, std::size_t n, std::size_t k) {
    require(linear.n == n && linear.k == k);
    read_all(linear.column_scale, n, 0.0f);
    read_floats(linear.bias, n);
    read_all(linear.inverse_smooth, k, 0.0f);
    const std::vector<std::uint8_t> row(k, static_cast<std::uint8_t>(table().activation_offset));
    std::vector<std::int32_t> out(safetyclf::kernels::kRowTile * n);
    std::vector<std::uint8_t> rows(safetyclf::kernels::kRowTile * k + safetyclf::kernels::kReadSlack,
                                   row.front());
    table().gemm(rows.data(), 1, linear.packed, n, k, out.data());
    require(out.front() == 0);
}

void use(const Model& model) {
    const auto& a = model.architecture;
    const std::size_t hidden = a.hidden;
    read_all(model.words, std::size_t{a.vocabulary} * hidden, std::int8_t{-128});
    read_all(model.word_scale, a.vocabulary, 0.0f);
    read_floats(model.positions, std::size_t{a.positions} * hidden);
    require(model.layers.size() == a.layers);
    for (const auto& layer : model.layers) {
        read_linear(layer.qkv, 3 * hidden, hidden);
        read_linear(layer.attention_output, hidden, hidden);
        read_linear(layer.ffn_in, a.intermediate, hidden);
        read_linear(layer.ffn_out, hidden, a.intermediate);
        for (const auto* norm : {&layer.attention_norm, &layer.ffn_norm}) {
            read_floats(norm->gamma, hidden);
            read_floats(norm->beta, hidden);
        }
    }
    const std::size_t categories = model.categories.size();
    if (model.head_weight != nullptr) {
        read_floats(model.head_weight, (a.layers + 1) * categories * hidden);
        read_floats(model.head_bias, (a.layers + 1) * categories);
        require(model.head_depth.size() == categories);
        for (const std::uint32_t depth : model.head_depth) require(depth <= a.layers);
    }
    if (model.policy.categories() > 0) {
        require(model.policy.categories() == categories);
        const std::vector<float> logits(categories, 0.25f);
        std::vector<float> probabilities(categories);
        std::vector<std::uint8_t> flagged(categories);
        model.policy.calibrate(logits, probabilities);
        (void)model.policy.decide(probabilities, model.policy.thresholds(), flagged);
    }
    if (model.exits) {
        const auto& exits = *model.exits;
        require(std::has_single_bit(exits.pairs) && exits.lexicon_scale > 0.0f);
        read_all(exits.lexicon, a.vocabulary + exits.pairs, std::int8_t{-128});
        read_floats(exits.weight, a.layers * hidden);
        for (const auto* terms : {exits.bias, exits.lexical, exits.highest}) read_floats(terms, a.layers);
        read_floats(exits.threshold, exits.levels * a.layers);
        for (const auto* lines : {exits.slope, exits.shift}) read_floats(lines, a.layers * categories);
        read_floats(exits.floor_logit, categories);
        read_floats(exits.floor, exits.levels * categories);
    }
    safetyclf::text::RaggedBatch batch;
    const std::string_view text = "abc [CLS] b";
    model.tokenizer->encode({&text, 1}, true, batch);
    for (const std::int32_t id : batch.ids) require(id >= 0 && static_cast<std::uint32_t>(id) < a.vocabulary);
    for (std::size_t w = 0; w < batch.windows(); ++w) {
        require(batch.row_offsets[w + 1] - batch.row_offsets[w] <= a.positions);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
    const std::shared_ptr<const Model> model = parse(bytes);
    if (!model) return 0;
    use(*model);
    const std::shared_ptr<const Model> again = parse(bytes);
    require(again != nullptr && again->id == model->id);
    return 0;
}
