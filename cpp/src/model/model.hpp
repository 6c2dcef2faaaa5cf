// The model file: a strict reader and the immutable Model that the engine runs. docs/model-format.md is the
// specification.
//
// A Model maps the file read-only, checks every rule before anything is used, and packs the weights for one
// kernel table. It is immutable and may be shared by any number of threads and classifiers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "abi.h"
#include "policy/policy.hpp"
#include "text/tokenizer.hpp"

namespace safetyclf::model {

struct Architecture {
    std::uint32_t hidden, layers, heads, intermediate, positions, vocabulary;
    float norm_epsilon;
    [[nodiscard]] std::uint32_t head_size() const { return hidden / heads; }
};

struct Layer {
    kernels::Linear qkv, attention_output, ffn_in, ffn_out;
    kernels::Norm attention_norm, ffn_norm;
    // The weights [n, k] as the file has them, in the order of the four above.
    const std::int8_t* weights[4];
};

// One scored category. Categories without coverage have no head and stand only in the metadata.
struct Category {
    std::string name;
    std::string coverage;  // "trained", "weak" or "derived"
};

// Rules by which a window leaves before the last layer (docs/adaptive-depth.md), one for each depth below it.
struct Exits {
    const std::int8_t* lexicon;  // [vocabulary + pairs] weights of tokens, then of hashed pairs of neighbours
    std::size_t pairs;           // a power of two
    float lexicon_scale;
    const float* weight;       // [layers, hidden] of the pooled hidden state
    const float* bias;         // [layers]
    const float* lexical;      // [layers] factor of the lexicon's sum
    const float* highest;      // [layers] factor of the largest logit above its floor
    std::size_t levels;        // each with floors of its own, and thresholds that keep to them
    const float* threshold;    // [levels, layers] a score below it leaves
    const float* slope;        // [layers, categories] logit at the last depth = slope * logit here + shift
    const float* shift;        // [layers, categories]
    const float* floor_logit;  // [categories] what `highest` counts from
    const float* floor;        // [levels, categories] what a window that leaves is said to stay below
};

class Model {
public:
    // Throws Error(model_io) when the file cannot be read and Error(model_format) when it breaks a rule; the
    // message names the file, the rule and, where there is one, the tensor.
    static std::shared_ptr<const Model> load(const std::string& path, const kernels::KernelTable& table);
    // The same from memory that outlives the model; `name` stands for the file in messages.
    static std::shared_ptr<const Model> parse(std::span<const std::byte> bytes, const std::string& name,
                                              const kernels::KernelTable& table);
    virtual ~Model() = default;

    const kernels::KernelTable* table = nullptr;
    Architecture architecture{};
    std::string id;             // name-version+first 12 hex digits of the header's SHA-256
    std::string metadata_json;  // the header's __metadata__ object, verbatim, for Python to read

    const std::int8_t* words = nullptr;  // [vocabulary, hidden]
    const float* word_scale = nullptr;   // [vocabulary]
    const float* positions = nullptr;    // [positions, hidden], token type 0 added
    kernels::Norm embedding_norm{};
    std::vector<Layer> layers;

    std::vector<Category> categories;  // scored categories, in column order; may be empty (an encoder alone)
    const float* head_weight = nullptr;  // [layers + 1, categories, hidden]
    const float* head_bias = nullptr;    // [layers + 1, categories]
    // [categories] after how many layers each head reads, unless a text leaves early
    std::vector<std::uint32_t> head_depth;

    policy::Policy policy;  // calibration curves and thresholds
    std::optional<Exits> exits;
    std::unique_ptr<const text::Tokenizer> tokenizer;

protected:
    Model() = default;
};

}  // namespace safetyclf::model
