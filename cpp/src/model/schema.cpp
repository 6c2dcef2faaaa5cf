#include "model/schema.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>

#include "abi.h"
#include "model/json.hpp"
#include "model/sha256.hpp"
#include "safetyclf/error.hpp"

namespace safetyclf::model {
namespace {

constexpr std::string_view kFormat = "safetyclf/1";
constexpr std::uint64_t kMaxLayers = 256;
constexpr std::size_t kMaxName = 64;

[[noreturn]] void fail(const std::string& message) {
    throw Error(ErrorCode::model_format, message);
}

std::string quoted(std::string_view text) {
    return "\"" + json::printable(text) + "\"";
}

bool all_in(std::string_view text, std::string_view more) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != std::string_view::npos;
    });
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// MAJOR.MINOR.PATCH without leading zeros, optionally -prerelease of dot-separated [0-9A-Za-z-] parts.
bool is_version(std::string_view text) {
    const std::size_t dash = text.find('-');
    std::string_view numbers = text.substr(0, dash);
    for (int part = 0; part < 3; ++part) {
        const std::size_t digits = std::min(numbers.find_first_not_of("0123456789"), numbers.size());
        if (digits == 0 || digits > 9 || (digits > 1 && numbers[0] == '0')) return false;
        numbers.remove_prefix(digits);
        if (part < 2) {
            if (!numbers.starts_with('.')) return false;
            numbers.remove_prefix(1);
        }
    }
    if (!numbers.empty()) return false;
    if (dash == std::string_view::npos) return true;
    const std::string_view prerelease = text.substr(dash + 1);
    constexpr std::string_view kAllowed = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-";
    return !prerelease.empty() && prerelease.size() <= kMaxName &&
           prerelease.find_first_not_of(kAllowed) == std::string_view::npos && prerelease.front() != '.' &&
           prerelease.back() != '.' && prerelease.find("..") == std::string_view::npos;
}

// A JSON object from the metadata, with messages that say where a value stands ("architecture.hidden").
class Fields {
public:
    Fields(const json::Value& value, std::string where) : value_(value), where_(std::move(where)) {
        if (value_.kind != json::Kind::object) fail("metadata " + where_ + " is not a JSON object");
    }

    void exactly(std::initializer_list<std::string_view> keys) const {
        for (const std::string& key : value_.keys) {
            if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
                fail("metadata " + where_ + " has the unknown key " + quoted(key));
            }
        }
        for (const std::string_view key : keys) (void)get(key);
    }

    [[nodiscard]] const json::Value& get(std::string_view key) const {
        const json::Value* const found = value_.find(key);
        if (found == nullptr) fail("metadata " + where_ + " lacks the key " + quoted(key));
        return *found;
    }

    [[nodiscard]] const std::string& string(std::string_view key) const {
        const json::Value& value = get(key);
        if (value.kind != json::Kind::string) bad(key, "is not a string");
        return value.text;
    }

    [[nodiscard]] std::uint32_t integer(std::string_view key, std::uint64_t low, std::uint64_t high) const {
        const std::optional<std::uint64_t> value = get(key).as_unsigned();
        if (!value || *value < low || *value > high) {
            bad(key, "is not an integer from " + std::to_string(low) + " to " + std::to_string(high));
        }
        return static_cast<std::uint32_t>(*value);
    }

    void one_of(std::string_view key, std::initializer_list<std::string_view> allowed) const {
        const std::string& value = string(key);
        if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
            bad(key, "has the unknown value " + quoted(value));
        }
    }

    [[noreturn]] void bad(std::string_view key, const std::string& what) const {
        fail("metadata " + where_ + "." + std::string(key) + " " + what);
    }

private:
    const json::Value& value_;
    std::string where_;
};

constexpr std::uint64_t kMaxInteger = 0x7fffffff;

const std::string& metadata(const Container& container, std::string_view key) {
    const auto found = container.metadata.find(key);
    if (found == container.metadata.end()) fail("metadata lacks the key " + quoted(key));
    return found->second;
}

json::Value metadata_json(const Container& container, std::string_view key) {
    try {
        return json::parse(metadata(container, key));
    } catch (const json::ParseError& error) {
        fail("metadata " + std::string(key) + " is not valid JSON: " + error.what());
    }
}

void read_model(const Container& container, Schema& schema) {
    const json::Value value = metadata_json(container, "model");
    const Fields model(value, "model");
    model.exactly({"name", "version", "licence", "description"});
    (void)model.string("licence");
    (void)model.string("description");
    schema.name = model.string("name");
    if (schema.name.empty() || schema.name.size() > kMaxName || !all_in(schema.name, "._-") ||
        !all_in(schema.name.substr(0, 1), "")) {
        model.bad("name", "is not 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit");
    }
    schema.version = model.string("version");
    if (!is_version(schema.version))
        model.bad("version", "is not MAJOR.MINOR.PATCH or MAJOR.MINOR.PATCH-prerelease");
}

Architecture read_architecture(const Container& container) {
    const json::Value value = metadata_json(container, "architecture");
    const Fields fields(value, "architecture");
    fields.exactly({"type", "hidden", "layers", "heads", "intermediate", "positions", "vocabulary",
                    "norm_epsilon", "activation", "pooling"});
    fields.one_of("type", {"bert"});
    fields.one_of("activation", {"gelu"});
    fields.one_of("pooling", {"mean"});
    Architecture a{};
    a.hidden = fields.integer("hidden", 1, kMaxInteger);
    a.layers = fields.integer("layers", 1, kMaxLayers);
    a.heads = fields.integer("heads", 1, kMaxInteger);
    a.intermediate = fields.integer("intermediate", 1, kMaxInteger);
    a.positions = fields.integer("positions", 1, kernels::kMaxReduction);  // attention sums over a window
    a.vocabulary = fields.integer("vocabulary", 1, kMaxInteger);
    for (const auto& [key, size] : {std::pair{"hidden", a.hidden}, {"intermediate", a.intermediate}}) {
        if (size % 64 != 0) fields.bad(key, "is no multiple of 64");
        if (size > kernels::kMaxReduction) {
            fields.bad(key, "is above " + std::to_string(kernels::kMaxReduction) +
                                ", from where on an int32 sum could overflow");
        }
    }
    if (a.hidden % a.heads != 0 || (a.head_size() != 32 && a.head_size() != 64)) {
        fields.bad("heads", "does not give a head size of 32 or 64");
    }
    const std::optional<double> epsilon = fields.get("norm_epsilon").as_double();
    if (epsilon) a.norm_epsilon = static_cast<float>(*epsilon);
    if (!epsilon || !(a.norm_epsilon > 0.0f) || a.norm_epsilon > 1.0f) {
        fields.bad("norm_epsilon", "is not a number in (0, 1] in single precision");
    }
    return a;
}

void read_tokenizer(const Container& container, Schema& schema) {
    const json::Value value = metadata_json(container, "tokenizer");
    const Fields fields(value, "tokenizer");
    fields.exactly({"type", "lowercase", "window_tokens", "overlap_tokens", "rules"});
    fields.one_of("type", {"bert-wordpiece"});
    const json::Value& lowercase = fields.get("lowercase");
    if (lowercase.kind != json::Kind::boolean) fields.bad("lowercase", "is not true or false");
    schema.tokenizer.lowercase = lowercase.boolean;
    const std::uint64_t positions = schema.architecture.positions;
    if (positions < 3) fail("metadata architecture.positions leaves no room for [CLS], one token and [SEP]");
    schema.tokenizer.window_tokens = fields.integer("window_tokens", 1, positions - 2);
    schema.tokenizer.overlap_tokens = fields.integer("overlap_tokens", 0, schema.tokenizer.window_tokens - 1);
    const json::Value& rules = fields.get("rules");
    if (rules.kind != json::Kind::array) fields.bad("rules", "is not an array");
    const text::RuleNames known = text::known_rules();
    for (const json::Value& rule : rules.items) {
        if (rule.kind != json::Kind::string) fields.bad("rules", "holds something other than strings");
        if (std::find(known.begin(), known.end(), rule.text) == known.end()) {
            fields.bad("rules",
                       "names " + quoted(rule.text) + ", which this version of the library does not have");
        }
        schema.tokenizer.rules.push_back(rule.text);
    }
}

void read_categories(const Container& container, Schema& schema) {
    const json::Value value = metadata_json(container, "categories");
    if (value.kind != json::Kind::array) fail("metadata categories is not a JSON array");
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < value.items.size(); ++i) {
        const Fields fields(value.items[i], "categories[" + std::to_string(i) + "]");
        fields.exactly({"name", "coverage", "threshold_statement"});
        const std::string& name = fields.string("name");
        if (name.empty() || name.size() > kMaxName || !all_in(name, "_-/")) {
            fields.bad("name", "is not 1 to 64 of a-z 0-9 _ - /");
        }
        if (!names.insert(name).second) fields.bad("name", "repeats " + quoted(name));
        fields.one_of("coverage", {"trained", "weak", "derived", "none"});
        const json::Kind statement = fields.get("threshold_statement").kind;
        if (statement != json::Kind::object && statement != json::Kind::null) {
            fields.bad("threshold_statement", "is neither an object nor null");
        }
        if (fields.string("coverage") != "none") schema.scored.push_back({name, fields.string("coverage")});
    }
}

// Tensors
// --------------------------------------------------------------------------------------------------------------------

bool is_exit(std::string_view name) {
    return name.starts_with("exits.");
}

bool is_decision(std::string_view name) {
    return name.starts_with("calibration.") || name.starts_with("thresholds.") || is_exit(name);
}

struct Expected {
    DType dtype;
    Shape shape;
};
using ExpectedTensors = std::map<std::string, Expected, std::less<>>;

// All tensors of the file with their shapes; the vocabulary and the knots, whose sizes are free, take theirs
// from the file.
ExpectedTensors expected_tensors(const Container& container, const Schema& schema) {
    const Architecture& a = schema.architecture;
    const std::uint64_t categories = schema.scored.size();
    const auto free_size = [&](std::string_view name, std::size_t dimensions = 1) -> std::uint64_t {
        const auto found = container.tensors.find(name);
        const bool fits = found != container.tensors.end() && found->second.shape.size() == dimensions;
        return fits ? found->second.shape[0] : 1;
    };
    ExpectedTensors all;
    const auto f32 = [&](const std::string& name, const Shape& shape) { all[name] = {DType::f32, shape}; };
    const auto norm = [&](const std::string& name) {
        f32(name + ".gamma", {a.hidden});
        f32(name + ".beta", {a.hidden});
    };
    all["encoder.words.weight"] = {DType::i8, {a.vocabulary, a.hidden}};
    f32("encoder.words.scale", {a.vocabulary});
    f32("encoder.positions", {a.positions, a.hidden});
    norm("encoder.embedding_norm");
    for (std::uint32_t layer = 0; layer < a.layers; ++layer) {
        const std::string prefix = layer_prefix(layer);
        for (const LinearSpec& linear : linear_specs(a)) {
            const std::string name = prefix + std::string(linear.name);
            all[name + ".weight"] = {DType::i8, {linear.n, linear.k}};
            f32(name + ".scale", {linear.n});
            f32(name + ".bias", {linear.n});
            f32(name + ".inverse_smooth", {linear.k});
        }
        norm(prefix + "attention_norm");
        norm(prefix + "ffn_norm");
    }
    all["tokenizer.vocabulary"] = {DType::u8, {free_size("tokenizer.vocabulary")}};
    if (schema.stage != Stage::encoder) {
        f32("heads.weight", {a.layers + 1, categories, a.hidden});
        f32("heads.bias", {a.layers + 1, categories});
        if (container.tensors.contains("heads.depth")) all["heads.depth"] = {DType::i32, {categories}};
    }
    if (schema.stage == Stage::complete) {
        const std::uint64_t knots = free_size("calibration.logit");
        all["calibration.offsets"] = {DType::i32, {categories + 1}};
        f32("calibration.logit", {knots});
        f32("calibration.probability", {knots});
        f32("thresholds.review", {categories});
        f32("thresholds.block", {categories});
    }
    if (schema.exits) {
        all["exits.lexicon"] = {DType::i8, {free_size("exits.lexicon")}};
        f32("exits.lexicon.scale", {1});
        f32("exits.weight", {a.layers, a.hidden});
        for (const char* const name : {"bias", "lexical", "highest"})
            f32(std::string("exits.") + name, {a.layers});
        const std::uint64_t levels = std::max<std::uint64_t>(1, free_size("exits.threshold", 2));
        f32("exits.threshold", {levels, a.layers});
        f32("exits.floor", {levels, categories});
        f32("exits.slope", {a.layers, categories});
        f32("exits.shift", {a.layers, categories});
        f32("exits.floor_logit", {categories});
    }
    return all;
}

void check_tensors(const Container& container, const Schema& schema) {
    const ExpectedTensors expected = expected_tensors(container, schema);
    for (const auto& [name, want] : expected) {
        const auto found = container.tensors.find(name);
        if (found == container.tensors.end()) fail("tensor " + quoted(name) + " is missing");
        const Tensor& have = found->second;
        if (have.dtype != want.dtype || have.shape != want.shape) {
            fail("tensor " + quoted(name) + " is " + std::string(dtype_name(have.dtype)) + " [" +
                 shape_name(have.shape) + "], must be " + std::string(dtype_name(want.dtype)) + " [" +
                 shape_name(want.shape) + "]");
        }
    }
    for (const auto& [name, tensor] : container.tensors) {
        if (!expected.contains(name)) fail("tensor " + quoted(name) + " is unexpected");
    }
}

// Hashes
// ---------------------------------------------------------------------------------------------------------------------

std::string tensor_lines(const Container& container, bool decision) {
    std::string lines;
    for (const auto& [name, tensor] : container.tensors) {
        if (is_decision(name) != decision) continue;
        lines += name + " " + std::string(dtype_name(tensor.dtype)) + " " + shape_name(tensor.shape) + " " +
                 sha256(tensor.bytes) + "\n";
    }
    return lines;
}

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
constexpr bool kCompareHashes = false;  // a fuzzer cannot guess a hash and would never get further
#else
constexpr bool kCompareHashes = true;
#endif

void check_hash(const Container& container, std::string_view key, const std::string& text) {
    const std::string& stated = metadata(container, key);
    if (!is_sha256(stated)) fail("metadata " + std::string(key) + " is not 64 lower-case hex digits");
    if (kCompareHashes && stated != sha256(text)) {
        fail(std::string(key) + " does not match the content: the file is damaged or was edited");
    }
}

void check_calibration_tie(const Container& container, const Schema& schema) {
    if (schema.stage != Stage::complete) {
        if (container.metadata.contains("calibration")) {
            fail("metadata calibration stands in a file without calibration tensors");
        }
        return;
    }
    const json::Value value = metadata_json(container, "calibration");
    const Fields fields(value, "calibration");
    (void)fields.integer("n", 0, kMaxInteger);
    if (!is_sha256(fields.string("data_sha256")))
        fields.bad("data_sha256", "is not 64 lower-case hex digits");
    if (fields.string("weights_sha256") != metadata(container, "weights_sha256")) {
        fail(
            "the calibration was fitted on other weights (calibration.weights_sha256 differs from "
            "weights_sha256)");
    }
    const std::uint32_t revision = fields.integer("numerics_revision", 0, kMaxInteger);
    if (revision != kernels::kNumericsRevision) {
        fail("the calibration was fitted on numerics revision " + std::to_string(revision) +
             ", this library computes " + std::to_string(kernels::kNumericsRevision) + "; calibrate again");
    }
}

// Values
// ---------------------------------------------------------------------------------------------------------------------

// Every weight of the file is looked at in each load: a search that is fast everywhere, and below loops
// without branches, which compilers vectorise.
bool has_forbidden_int8(std::span<const std::byte> bytes) {
    return !bytes.empty() && std::memchr(bytes.data(), 0x80, bytes.size()) != nullptr;
}

std::uint32_t bits_at(std::span<const std::byte> bytes, std::size_t i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + 4 * i, 4);
    return bits;
}

bool has_non_finite(std::span<const std::byte> bytes) {
    constexpr std::uint32_t kExponent = 0x7f800000;
    std::uint32_t found = 0;
    for (std::size_t i = 0; i < bytes.size() / 4; ++i)
        found |= (bits_at(bytes, i) & kExponent) == kExponent ? 1u : 0u;
    return found != 0;
}

bool has_non_positive(std::span<const std::byte> bytes) {
    std::uint32_t found = 0;
    for (std::size_t i = 0; i < bytes.size() / 4; ++i) {
        found |= static_cast<std::int32_t>(bits_at(bytes, i)) <= 0 ? 1u : 0u;
    }
    return found != 0;
}

void check_values(const Container& container) {
    for (const auto& [name, tensor] : container.tensors) {
        if (tensor.dtype == DType::i8 && has_forbidden_int8(tensor.bytes)) {
            fail("tensor " + quoted(name) + " holds -128; int8 weights must lie in [-127, 127]");
        }
        if (tensor.dtype != DType::f32) continue;
        if (has_non_finite(tensor.bytes))
            fail("tensor " + quoted(name) + " holds a value that is not finite");
        if ((name.ends_with(".scale") || name.ends_with(".inverse_smooth")) &&
            has_non_positive(tensor.bytes)) {
            fail("tensor " + quoted(name) + " holds a value that is not positive");
        }
    }
}

void check_head_depths(const Container& container, const Schema& schema) {
    const auto found = container.tensors.find("heads.depth");
    if (found == container.tensors.end()) return;
    if (schema.exits) fail("tensor \"heads.depth\" cannot stand beside rules for leaving early");
    for (std::size_t i = 0; i < schema.scored.size(); ++i)
        if (bits_at(found->second.bytes, i) > schema.architecture.layers)
            fail("tensor \"heads.depth\" holds a value outside 0 .. layers");
}

void check_exits(const Container& container, const Schema& schema) {
    const json::Value statement = metadata_json(container, "exits");
    (void)Fields(statement, "exits");  // free: what the rules promise
    const auto values = [&](std::string_view name) { return container.tensors.find(name)->second.bytes; };
    const std::size_t lexicon = values("exits.lexicon").size();
    if (lexicon <= schema.architecture.vocabulary ||
        !std::has_single_bit(lexicon - schema.architecture.vocabulary)) {
        fail("tensor \"exits.lexicon\" does not hold the vocabulary and a power of two of pairs");
    }
    const auto in_range = [&](std::string_view name, float low, float high, const char* what) {
        const std::span<const std::byte> bytes = values(name);
        for (std::size_t i = 0; i < bytes.size() / 4; ++i) {
            const float value = std::bit_cast<float>(bits_at(bytes, i));
            if (!(value >= low && value <= high)) fail("tensor " + quoted(name) + " holds a value " + what);
        }
    };
    in_range("exits.slope", 0.0f, 1e6f, "outside [0, 1e6]");
    in_range("exits.shift", -1e6f, 1e6f, "outside [-1e6, 1e6]");
    in_range("exits.floor_logit", -1e6f, 1e6f, "outside [-1e6, 1e6]");
    in_range("exits.floor", std::numeric_limits<float>::min(), 2.0f, "outside (0, 2]");
}

void read_vocabulary(const Container& container, Schema& schema) {
    const std::span<const std::byte> bytes = container.tensors.find("tokenizer.vocabulary")->second.bytes;
    std::string& vocabulary = schema.tokenizer.vocabulary;
    vocabulary.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (vocabulary.empty() || vocabulary.front() == '\n' || vocabulary.back() == '\n' ||
        vocabulary.find("\n\n") != std::string::npos) {
        fail("tensor \"tokenizer.vocabulary\" holds an empty token");
    }
    if (!json::is_utf8(vocabulary)) fail("tensor \"tokenizer.vocabulary\" is not valid UTF-8");
    const auto tokens = std::count(vocabulary.begin(), vocabulary.end(), '\n') + 1;
    if (tokens != static_cast<std::ptrdiff_t>(schema.architecture.vocabulary)) {
        fail("tensor \"tokenizer.vocabulary\" has " + std::to_string(tokens) +
             " tokens, architecture.vocabulary is " + std::to_string(schema.architecture.vocabulary));
    }
}

}  // namespace

std::vector<LinearSpec> linear_specs(const Architecture& a) {
    return {{"qkv", std::uint64_t{3} * a.hidden, a.hidden},
            {"attention_output", a.hidden, a.hidden},
            {"ffn_in", a.intermediate, a.hidden},
            {"ffn_out", a.hidden, a.intermediate}};
}

std::string layer_prefix(std::uint32_t layer) {
    return "encoder.layers." + std::to_string(layer) + ".";
}

Schema check_schema(const Container& container) {
    for (const auto& [key, value] : container.metadata) {
        if (key.empty() || !all_in(key, "_")) fail("metadata key " + quoted(key) + " is not of a-z 0-9 _");
    }
    const std::string& format = metadata(container, "format");
    if (format != kFormat) {
        fail("format is " + quoted(format) + "; this library reads " + std::string(kFormat));
    }
    Schema schema;
    read_model(container, schema);
    schema.architecture = read_architecture(container);
    read_tokenizer(container, schema);
    read_categories(container, schema);
    for (const std::string_view key : {"provenance", "evaluation"}) {
        const json::Value value = metadata_json(container, key);
        (void)Fields(value, std::string(key));
    }
    const bool decides = std::any_of(container.tensors.begin(), container.tensors.end(),
                                     [](const auto& entry) { return is_decision(entry.first); });
    schema.stage = schema.scored.empty() ? Stage::encoder : decides ? Stage::complete : Stage::heads;
    schema.exits = schema.stage == Stage::complete &&
                   std::any_of(container.tensors.begin(), container.tensors.end(),
                               [](const auto& entry) { return is_exit(entry.first); });
    check_tensors(container, schema);
    return schema;
}

void check_hashes(const Container& container) {
    std::string lines = "safetyclf/1 metadata\n";
    for (const auto& [key, value] : container.metadata) {
        if (key != "metadata_sha256") lines += key + " " + sha256(value) + "\n";
    }
    check_hash(container, "metadata_sha256", lines);
    check_hash(container, "decision_sha256", "safetyclf/1 decision\n" + tensor_lines(container, true));
    check_hash(container, "weights_sha256",
               "safetyclf/1 weights\narchitecture " + sha256(metadata(container, "architecture")) +
                   "\ntokenizer " + sha256(metadata(container, "tokenizer")) + "\n" +
                   tensor_lines(container, false));
}

void check_content(const Container& container, Schema& schema) {
    check_calibration_tie(container, schema);
    check_values(container);
    check_head_depths(container, schema);
    if (schema.exits) check_exits(container, schema);
    read_vocabulary(container, schema);
}

}  // namespace safetyclf::model
