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

// The checks, in this order; each throws Error(model_format). Hashes may be checked beside the content.
[[nodiscard]] Schema check_schema(const Container& container);   // metadata, tensor set, dtypes, shapes
void check_hashes(const Container& container);                   // every byte
void check_content(const Container& container, Schema& schema);  // values; fills in the vocabulary

// Names and shapes of the linear layers, in the order in which a layer runs them.
struct LinearSpec {
    std::string_view name;
    std::uint64_t n, k;
};
[[nodiscard]] std::vector<LinearSpec> linear_specs(const Architecture& architecture);
[[nodiscard]] std::string layer_prefix(std::uint32_t layer);  // "encoder.layers.0."

}  // namespace safetyclf::model
