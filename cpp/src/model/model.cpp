#include "model/model.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <future>
#include <new>

#include "model/container.hpp"
#include "model/json.hpp"
#include "model/mapped_file.hpp"
#include "model/schema.hpp"
#include "safetyclf/error.hpp"

namespace safetyclf::model {
namespace {

// One allocation for all that the model owns, handed out in aligned pieces: packed weights and all fp32
// tensors. Only the word embedding is used where it lies in the file.
class Arena {
public:
    void reserve(std::size_t bytes) {
        bytes_.reset(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kHugePage})));
        left_ = bytes;
#ifdef MADV_HUGEPAGE
        // A pass over the weights touches more small pages than CPUs remember. The system may decline.
        (void)madvise(bytes_.get(), bytes, MADV_HUGEPAGE);
#endif
    }
    static std::size_t padded(std::size_t bytes) {
        return (bytes + kernels::kAlignment - 1) / kernels::kAlignment * kernels::kAlignment;
    }
    template <typename T>
    T* take(std::size_t bytes) {
        if (padded(bytes) > left_) throw Error(ErrorCode::internal, "the model's memory was counted wrong");
        std::byte* const piece = bytes_.get() + used_;
        used_ += padded(bytes);
        left_ -= padded(bytes);
        return reinterpret_cast<T*>(piece);
    }

private:
    static constexpr std::size_t kHugePage = std::size_t{2} << 20;

    struct Free {
        void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{kHugePage}); }
    };
    std::unique_ptr<std::byte, Free> bytes_;
    std::size_t used_ = 0, left_ = 0;
};

class LoadedModel : public Model {
public:
    explicit LoadedModel(const kernels::KernelTable& kernel_table) { table = &kernel_table; }

    void open(const std::string& path) {
        file_ = std::make_unique<const MappedFile>(path);
        read(file_->bytes());
    }

    void read(std::span<const std::byte> bytes) {
        Container container = read_container(bytes);
        Schema schema = check_schema(container);
        // Hashing takes as long as all the rest, so another thread does it, if one can be had. Nobody gets
        // the model before it agrees; a damaged file is called damaged, whatever else is wrong with it.
        std::future<void> hashes =
            std::async(std::launch::async | std::launch::deferred, check_hashes, std::cref(container));
        try {
            take(container, schema);
        } catch (...) {
            hashes.get();
            throw;
        }
        hashes.get();
    }

private:
    void take(Container& container, Schema& schema) {
        check_content(container, schema);
        architecture = schema.architecture;
        id = schema.name + "-" + schema.version + "+" + container.header_sha256.substr(0, 12);
        metadata_json = std::move(container.metadata_json);
        categories = std::move(schema.scored);
        tokenizer = std::make_unique<const text::Tokenizer>(schema.tokenizer);
        if (tokenizer->vocabulary_size() != architecture.vocabulary) {
            throw Error(ErrorCode::internal, "the tokenizer counts other tokens than the vocabulary has");
        }
        take_tensors(container, schema);
    }

    void take_tensors(const Container& container, const Schema& schema) {
        const std::vector<LinearSpec> specs = linear_specs(architecture);
        std::size_t total = 0;
        for (const auto& [name, tensor] : container.tensors) {
            if (tensor.dtype == DType::f32) total += Arena::padded(tensor.bytes.size());
        }
        for (const LinearSpec& spec : specs) {
            total += architecture.layers * Arena::padded(table->packed_size(spec.n, spec.k));
        }
        arena_.reserve(total);

        words = reinterpret_cast<const std::int8_t*>(tensor(container, "encoder.words.weight").bytes.data());
        word_scale = floats(container, "encoder.words.scale");
        positions = floats(container, "encoder.positions");
        embedding_norm = norm(container, "encoder.embedding_norm");
        for (std::uint32_t i = 0; i < architecture.layers; ++i) {
            const std::string prefix = layer_prefix(i);
            const auto weights = [&](std::size_t which) {
                const std::string name = prefix + std::string(specs[which].name) + ".weight";
                return reinterpret_cast<const std::int8_t*>(tensor(container, name).bytes.data());
            };
            layers.push_back({.qkv = linear(container, prefix, specs[0]),
                              .attention_output = linear(container, prefix, specs[1]),
                              .ffn_in = linear(container, prefix, specs[2]),
                              .ffn_out = linear(container, prefix, specs[3]),
                              .attention_norm = norm(container, prefix + "attention_norm"),
                              .ffn_norm = norm(container, prefix + "ffn_norm"),
                              .weights = {weights(0), weights(1), weights(2), weights(3)}});
        }
        if (schema.stage == Stage::encoder) return;
        head_weight = floats(container, "heads.weight");
        head_bias = floats(container, "heads.bias");
        head_depth.assign(categories.size(), architecture.layers);
        if (container.tensors.contains("heads.depth")) {
            const std::span<const std::byte> depths = tensor(container, "heads.depth").bytes;
            std::memcpy(head_depth.data(), depths.data(), depths.size());
        }
        if (schema.stage == Stage::complete) policy = read_policy(container);
        if (schema.exits) exits = read_exits(container);
    }

    Exits read_exits(const Container& container) {
        const std::span<const std::byte> lexicon = tensor(container, "exits.lexicon").bytes;
        return {.lexicon = reinterpret_cast<const std::int8_t*>(lexicon.data()),
                .pairs = lexicon.size() - architecture.vocabulary,
                .lexicon_scale = *floats(container, "exits.lexicon.scale"),
                .weight = floats(container, "exits.weight"),
                .bias = floats(container, "exits.bias"),
                .lexical = floats(container, "exits.lexical"),
                .highest = floats(container, "exits.highest"),
                .levels = tensor(container, "exits.threshold").shape[0],
                .threshold = floats(container, "exits.threshold"),
                .slope = floats(container, "exits.slope"),
                .shift = floats(container, "exits.shift"),
                .floor_logit = floats(container, "exits.floor_logit"),
                .floor = floats(container, "exits.floor")};
    }

    static const Tensor& tensor(const Container& container, std::string_view name) {
        return container.tensors.find(name)->second;
    }

    const float* floats(const Container& container, const std::string& name) {
        const std::span<const std::byte> from = tensor(container, name).bytes;
        auto* const to = arena_.take<float>(from.size());
        std::memcpy(to, from.data(), from.size());
        return to;
    }

    kernels::Norm norm(const Container& container, const std::string& name) {
        return {.gamma = floats(container, name + ".gamma"),
                .beta = floats(container, name + ".beta"),
                .epsilon = architecture.norm_epsilon};
    }

    kernels::Linear linear(const Container& container, const std::string& prefix, const LinearSpec& spec) {
        const std::string name = prefix + std::string(spec.name);
        const std::span<const std::byte> weight = tensor(container, name + ".weight").bytes;
        const auto n = static_cast<std::size_t>(spec.n);
        const auto k = static_cast<std::size_t>(spec.k);
        auto* const packed = arena_.take<std::int8_t>(table->packed_size(n, k));
        table->pack_weights(reinterpret_cast<const std::int8_t*>(weight.data()), n, k, packed);
        if (file_) file_->release(weight);
        return {.packed = packed,
                .column_scale = floats(container, name + ".scale"),
                .bias = floats(container, name + ".bias"),
                .inverse_smooth = floats(container, name + ".inverse_smooth"),
                .n = n,
                .k = k};
    }

    [[nodiscard]] policy::Policy read_policy(const Container& container) const {
        const auto values = [&]<typename T>(std::string_view name, T) {
            const std::span<const std::byte> from = tensor(container, name).bytes;
            std::vector<T> to(from.size() / sizeof(T));
            std::memcpy(to.data(), from.data(), from.size());
            return to;
        };
        const std::vector<std::int32_t> offsets = values("calibration.offsets", std::int32_t{});
        const std::vector<float> logit = values("calibration.logit", 0.0f);
        const std::vector<float> probability = values("calibration.probability", 0.0f);
        const std::vector<float> review = values("thresholds.review", 0.0f);
        const std::vector<float> block = values("thresholds.block", 0.0f);
        if (offsets.front() != 0 || offsets.back() < 0 ||
            static_cast<std::size_t>(offsets.back()) != logit.size() ||
            !std::is_sorted(offsets.begin(), offsets.end())) {
            throw Error(ErrorCode::model_format,
                        "tensor \"calibration.offsets\" does not rise from 0 to the number of knots");
        }
        std::vector<policy::Curve> curves;
        std::vector<policy::Thresholds> thresholds;
        for (std::size_t c = 0; c < categories.size(); ++c) {
            const auto begin = offsets[c];
            const auto end = offsets[c + 1];
            curves.push_back({.logit = {logit.begin() + begin, logit.begin() + end},
                              .probability = {probability.begin() + begin, probability.begin() + end}});
            thresholds.push_back({.review = review[c], .block = block[c]});
        }
        return policy::Policy(std::move(curves), std::move(thresholds));
    }

    std::unique_ptr<const MappedFile> file_;
    Arena arena_;
};

template <typename Read>
std::shared_ptr<const Model> load_named(const std::string& name, const kernels::KernelTable& table,
                                        Read read) {
    auto model = std::make_shared<LoadedModel>(table);
    try {
        read(*model);
    } catch (const Error& error) {
        throw Error(error.code(), json::printable(name) + ": " + error.what());
    }
    return model;
}

}  // namespace

std::shared_ptr<const Model> Model::load(const std::string& path, const kernels::KernelTable& table) {
    return load_named(path, table, [&](LoadedModel& model) { model.open(path); });
}

std::shared_ptr<const Model> Model::parse(std::span<const std::byte> bytes, const std::string& name,
                                          const kernels::KernelTable& table) {
    return load_named(name, table, [&](LoadedModel& model) { model.read(bytes); });
}

}  // namespace safetyclf::model
