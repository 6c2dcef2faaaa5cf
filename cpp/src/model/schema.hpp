// What a container must hold to be a model file: sections 2 to 5 of docs/model-format.md. After these checks
// every pointer that the Model takes is in bounds and every value in range.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/container.hpp"
#include "model/model.hpp"

namespace safetyclf::model {

enum class Stage : std::uint8_t { encoder, heads, complete };

struct Schema {
    std::string name, version;
    Architecture architecture{};
    text::TokenizerConfig tokenizer;  // with the vocabulary
    std::vector<Category> scored;
    Stage stage = Stage::encoder;
    bool exits = false;  // of a complete file: whether it has rules for leaving early
};

// Checks metadata, tensor set, dtypes, shapes, hashes and values, in this order. Throws Error(model_format).
[[nodiscard]] Schema check_schema(const Container& container);

// Names and shapes of the linear layers, in the order in which a layer runs them.
struct LinearSpec {
    std::string_view name;
    std::uint64_t n, k;
};
[[nodiscard]] std::vector<LinearSpec> linear_specs(const Architecture& architecture);
[[nodiscard]] std::string layer_prefix(std::uint32_t layer);  // "encoder.layers.0."

}  // namespace safetyclf::model
