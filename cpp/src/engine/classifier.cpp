#include <algorithm>
#include <limits>

#include "dispatch.hpp"
#include "engine/classifier_impl.hpp"
#include "engine/encoder.hpp"
#include "engine/exits.hpp"
#include "engine/floating_point.hpp"

namespace safetyclf {
namespace {

using engine::Pass;
using engine::Runtime;
using engine::Session;
using engine::Workspace;

// Offsets are 32 bits wide.
constexpr std::size_t kLargestText = std::size_t{1} << 30;

// Checks the options; the table of kernels that they ask for.
const kernels::KernelTable& table_for(const Options& options) {
    if (options.max_text_bytes == 0 || options.max_text_bytes > kLargestText)
        throw Error(ErrorCode::invalid_argument,
                    "max_text_bytes must be between 1 and " + std::to_string(kLargestText));
    if (options.threads > 1024) throw Error(ErrorCode::invalid_argument, "threads must be at most 1024");
    return options.isa.empty() ? kernels::active() : kernels::find(options.isa);
}

}  // namespace

Classifier::Classifier(const std::string& model_path, const Options& options)
    : impl_(std::make_unique<Impl>(model::Model::load(model_path, table_for(options)), options)) {}

Classifier::Classifier(std::span<const std::byte> model_file, const Options& options)
    : impl_(std::make_unique<Impl>(model::Model::parse(model_file, "the model in memory", table_for(options)),
                                   options)) {}

Classifier::~Classifier() = default;

const std::vector<Category>& Classifier::categories() const {
    return impl_->categories;
}
const std::vector<Thresholds>& Classifier::thresholds() const {
    return impl_->thresholds;
}
const std::string& Classifier::model_id() const {
    return impl_->model->id;
}
const std::string& Classifier::metadata_json() const {
    return impl_->model->metadata_json;
}
const char* Classifier::isa() const {
    return impl_->model->table->isa;
}
unsigned Classifier::threads() const {
    return impl_->threads;
}
std::string Classifier::device() const {
    return impl_->device() != nullptr ? impl_->device()->name() : "cpu";
}
std::size_t Classifier::hidden() const {
    return impl_->hidden();
}
std::size_t Classifier::depths() const {
    return impl_->model->layers.size() + 1;
}

void Classifier::logits(Texts texts, std::size_t depth, std::span<float> logits, const Sizes& sizes,
                        const StopCheck& stop) const {
    const std::size_t classes = impl_->category_count();
    if (depth >= depths())
        throw Error(ErrorCode::invalid_argument, "depth must be below " + std::to_string(depths()));
    if (classes == 0)
        throw Error(ErrorCode::invalid_argument,
                    "this model file has an encoder but no heads: nothing to score");
    impl_->score(
        texts, {depth, {}}, sizes, stop, [&](std::size_t text, const std::vector<float>& row, std::uint16_t) {
            std::copy(row.begin(), row.end(), logits.begin() + static_cast<std::ptrdiff_t>(text * classes));
        });
}

std::vector<float> Classifier::exit_floors() const {
    if (!impl_->model->exits) return {};
    const model::Exits& exits = *impl_->model->exits;
    return {exits.floor, exits.floor + exits.levels * impl_->category_count()};
}

void Classifier::adaptive_probabilities(Texts texts, std::size_t level, std::span<float> probabilities,
                                        const Sizes& sizes, std::span<std::uint16_t> depths,
                                        const StopCheck& stop) const {
    impl_->require_level(level);
    const std::size_t classes = impl_->category_count();
    impl_->score(texts, {{}, level}, sizes, stop,
                 [&](std::size_t text, const std::vector<float>& row, std::uint16_t depth) {
                     std::copy(row.begin(), row.end(),
                               probabilities.begin() + static_cast<std::ptrdiff_t>(text * classes));
                     depths[text] = depth;
                 });
}

void Classifier::probabilities(Texts texts, std::span<float> probabilities, const Sizes& sizes,
                               const StopCheck& stop) const {
    const std::size_t classes = impl_->category_count();
    if (classes == 0 || impl_->model->policy.categories() != classes)
        throw Error(ErrorCode::invalid_argument, "this model file has no calibrated heads: nothing to score");
    const engine::FloatingPointMode mode;  // also for the calibration, which runs here
    impl_->score(texts, {}, sizes, stop, [&](std::size_t text, const std::vector<float>& row, std::uint16_t) {
        impl_->model->policy.calibrate(row, probabilities.subspan(text * classes, classes));
    });
}

void Classifier::window_probabilities(std::span<const std::int32_t> ids,
                                      std::span<const std::uint32_t> row_offsets,
                                      std::optional<std::size_t> level, std::span<float> probabilities,
                                      const StopCheck& stop) const {
    const model::Model& model = *impl_->model;
    const std::size_t classes = impl_->category_count();
    if (classes == 0 || model.policy.categories() != classes)
        throw Error(ErrorCode::invalid_argument, "this model file has no calibrated heads: nothing to score");
    if (level) impl_->require_level(*level);
    bool fits = !row_offsets.empty() && row_offsets[0] == 0 && row_offsets.back() == ids.size();
    for (std::size_t w = 1; fits && w < row_offsets.size(); ++w)
        fits = row_offsets[w] > row_offsets[w - 1] &&
               row_offsets[w] - row_offsets[w - 1] <= model.architecture.positions;
    for (const std::int32_t id : ids)
        fits = fits && id >= 0 && static_cast<std::uint32_t>(id) < model.architecture.vocabulary;
    if (!fits) throw Error(ErrorCode::invalid_argument, "these ids are no windows of this model");

    Runtime& run = impl_->runtime();
    run.run(row_offsets.size() - 1, [&](const engine::ThreadPool::NextIndex& next, bool caller) {
        const engine::FloatingPointMode mode;
        const auto ws = run.workspace();
        for (std::size_t w; next(w);) {
            if (caller && stop && stop()) throw Error(ErrorCode::cancelled, "stopped by the caller");
            const auto window = ids.subspan(row_offsets[w], row_offsets[w + 1] - row_offsets[w]);
            const auto out = probabilities.subspan(w * classes, classes);
            if (level) {
                std::uint16_t depth;
                engine::score_adaptively(model, window, row_offsets.subspan(w, 2), *level, *ws, out.data(),
                                         &depth);
                continue;
            }
            Pass pass(model, window, row_offsets.subspan(w, 2), *ws);
            engine::final_logits(model, pass, *ws, out.data());
            model.policy.calibrate(out, out);
        }
    });
}

std::vector<float> Classifier::pooled(Texts texts, std::vector<std::uint32_t>& text_offsets,
                                      const StopCheck& stop) const {
    const std::size_t row = depths() * impl_->hidden();
    std::vector<float> out;
    std::size_t chunk_start = 0;
    text_offsets.assign(1, 0);
    impl_->for_each_micro_batch(
        texts, stop,
        [&](Session&, std::size_t windows) {
            chunk_start = out.size();
            out.resize(chunk_start + windows * row);
        },
        [&](Session&, Workspace& ws, std::span<const std::int32_t> ids,
            std::span<const std::uint32_t> offsets, std::size_t slot) {
            Pass pass(*impl_->model, ids, offsets, ws);
            for (float* to = out.data() + chunk_start + slot * row;; to += impl_->hidden()) {
                pass.pool(to, row);
                if (pass.depth() + 1 == depths()) break;
                pass.run_layer();
            }
        },
        [&](Session& s, std::size_t) {
            for (std::size_t u = 0; u < s.used_units; ++u) {
                const auto& offsets = s.units[u].batch.text_offsets;
                for (std::size_t t = 0; t < s.units[u].count; ++t)
                    text_offsets.push_back(text_offsets.back() + offsets[t + 1] - offsets[t]);
            }
        });
    return out;
}

Explanation Classifier::explain(std::string_view text, std::size_t category, const StopCheck& stop) const {
    const model::Model& model = *impl_->model;
    if (category >= impl_->category_count())
        throw Error(ErrorCode::invalid_argument,
                    "category must be below " + std::to_string(impl_->category_count()));
    impl_->refuse_oversized({&text, 1});
    Runtime& run = impl_->runtime();
    const Runtime::Share share(run, Runtime::kShareOfCall + run.share_of(text, true));
    text::RaggedBatch batch;
    if (impl_->limits.bounded()) model.tokenizer->reserve({&text, 1}, true, batch);
    model.tokenizer->encode({&text, 1}, true, batch, stop);

    const engine::FloatingPointMode mode;
    const std::size_t depth = model.head_depth[category];
    const std::size_t hidden = impl_->hidden();
    const std::size_t head = depth * impl_->category_count() + category;
    const float* weight = model.head_weight + head * hidden;
    const auto ws = run.workspace();
    const auto encode_window = [&](std::size_t w) {
        const std::uint32_t* const offsets = batch.row_offsets.data() + w;
        Pass pass(model, std::span(batch.ids).subspan(offsets[0], offsets[1] - offsets[0]), {offsets, 2},
                  *ws);
        while (pass.depth() < depth) pass.run_layer();
        pass.pool(ws->pooled, hidden);
    };

    Explanation out{-std::numeric_limits<float>::infinity(), model.head_bias[head], 0, {}};
    for (std::size_t w = 0; w < batch.windows(); ++w) {
        if (stop && stop()) throw Error(ErrorCode::cancelled, "stopped by the caller");
        encode_window(w);
        float logit;
        model.table->dot_rows(ws->pooled, 1, weight, 1, hidden, &logit);
        logit += out.bias;
        engine::require_finite({&logit, 1});
        if (logit > out.logit) {
            out.logit = logit;
            out.window = static_cast<std::uint32_t>(w);
        }
    }
    if (out.window + 1 != batch.windows()) encode_window(out.window);

    const std::size_t begin = batch.row_offsets[out.window];
    const std::size_t tokens = batch.row_offsets[out.window + 1] - begin;
    std::vector<float> dots(tokens);
    model.table->dot_rows(ws->x, tokens, weight, 1, hidden, dots.data());
    for (std::size_t i = 0; i < tokens; ++i)
        out.contributions.push_back({batch.begins[begin + i], batch.ends[begin + i],
                                     dots[i] / static_cast<float>(tokens),
                                     model.tokenizer->continues_word(batch.ids[begin + i])});
    return out;
}

Tokens Classifier::tokenize(std::string_view text, const StopCheck& stop) const {
    impl_->refuse_oversized({&text, 1});
    text::RaggedBatch batch;
    impl_->model->tokenizer->encode({&text, 1}, true, batch, stop);
    return {std::move(batch.ids), std::move(batch.begins), std::move(batch.ends),
            std::move(batch.row_offsets)};
}

std::string Classifier::normalize(std::string_view text, const StopCheck& stop) const {
    impl_->refuse_oversized({&text, 1});
    std::string out;
    std::vector<std::uint32_t> origin;
    impl_->model->tokenizer->normalize(text, out, origin, stop);
    return out;
}

Runtime& Classifier::runtime() const {
    return impl_->runtime();
}
void Classifier::refuse_oversized(Texts texts) const {
    impl_->refuse_oversized(texts);
}

std::vector<std::string> compiled_isas() {
    return kernels::compiled();
}
std::vector<std::string> supported_isas() {
    return kernels::supported();
}
std::string active_isa() {
    return kernels::active().isa;
}
std::uint32_t numerics_revision() {
    return kernels::kNumericsRevision;
}

}  // namespace safetyclf
