#include "safetyclf/classifier.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>

#include "dispatch.hpp"
#include "engine/encoder.hpp"
#include "engine/exits.hpp"
#include "engine/floating_point.hpp"
#include "engine/runtime.hpp"
#include "model/model.hpp"

namespace safetyclf {
namespace {

using engine::MicroBatch;
using engine::Pass;
using engine::Runtime;
using engine::Session;
using engine::Unit;
using engine::Workspace;
using Texts = std::span<const std::string_view>;

// A long list is worked off in chunks, so that memory does not grow with it.
constexpr std::size_t kChunkBytes = 256 * 1024;
constexpr std::size_t kChunkTexts = 4096;
// Texts are tokenised in units of about this size: enough work to be worth a hand-over, and several
// micro-batches' worth at most.
constexpr std::size_t kUnitBytes = 8 * 1024;
constexpr std::size_t kUnitTexts = 128;
// Offsets are 32 bits wide.
constexpr std::size_t kLargestText = std::size_t{1} << 30;

void split_into_units(Texts texts, Session& session) {
    session.used_units = 0;
    for (std::size_t first = 0; first < texts.size();) {
        std::size_t bytes = 0, count = 0;
        while (first + count < texts.size() && count < kUnitTexts &&
               (count == 0 || bytes + texts[first + count].size() <= kUnitBytes)) {
            bytes += texts[first + count].size();
            ++count;
        }
        if (session.used_units == session.units.size()) session.units.emplace_back();
        Unit& unit = session.units[session.used_units++];
        unit.first = first;
        unit.count = count;
        first += count;
    }
}

// Cuts every unit's windows into micro-batches; returns the number of windows.
std::size_t split_into_micro_batches(Session& session, std::size_t token_budget) {
    session.micro_batches.clear();
    std::size_t slot = 0;
    for (std::size_t u = 0; u < session.used_units; ++u) {
        const text::RaggedBatch& batch = session.units[u].batch;
        const std::size_t windows = batch.windows();
        // Of about the same size, since the weights come from far for few tokens as for many.
        const std::size_t tokens = batch.ids.size();
        const std::size_t parts = (tokens + token_budget - 1) / token_budget;
        for (std::size_t w = 0; w < windows;) {
            std::size_t count = 0;
            while (w + count < windows &&
                   (batch.row_offsets[w + count] - batch.row_offsets[w]) * parts < tokens)
                ++count;
            session.micro_batches.push_back({u, w, count, slot});
            w += count;
            slot += count;
        }
    }
    return slot;
}

std::span<const std::int32_t> ids_of(const text::RaggedBatch& batch, std::size_t first_window,
                                     std::size_t windows) {
    const std::size_t begin = batch.row_offsets[first_window];
    return {batch.ids.data() + begin, batch.row_offsets[first_window + windows] - begin};
}

std::span<const std::uint32_t> offsets_of(const text::RaggedBatch& batch, std::size_t first_window,
                                          std::size_t windows) {
    return {batch.row_offsets.data() + first_window, windows + 1};
}

// Asked of every window: a maximum over windows would pass over a NaN.
void require_finite(float logit) {
    if (!std::isfinite(logit)) throw Error(ErrorCode::internal, "a logit is not finite");
}

}  // namespace

struct Classifier::Impl {
    std::shared_ptr<const model::Model> model;
    std::vector<Category> categories;
    std::vector<Thresholds> thresholds;
    std::size_t max_text_bytes;
    unsigned threads;
    engine::Limits limits;
    mutable std::atomic<Runtime*> runtime_pointer;

    Impl(std::shared_ptr<const model::Model> model_in, const Options& options) : model(std::move(model_in)) {
        for (const model::Category& c : model->categories) categories.push_back({c.name, c.coverage});
        for (const policy::Thresholds& t : model->policy.thresholds())
            thresholds.push_back({t.review, t.block});
        max_text_bytes = options.max_text_bytes;
        threads = options.threads == 0 ? engine::available_processors() : options.threads;
        if (options.max_memory != 0)
            limits = engine::Limits::within(options.max_memory, *model, threads, max_text_bytes);
        runtime_pointer = new Runtime(*model, threads, limits);
    }

    ~Impl() {
        Runtime* r = runtime_pointer.load();
        // In a forked child that never called anything the parent's runtime is left alone: its threads are
        // not here to be joined.
        if (r != nullptr && r->owner() == getpid()) delete r;
    }

    Runtime& runtime() const {
        Runtime* r = runtime_pointer.load(std::memory_order_acquire);
        if (r->owner() == getpid()) return *r;
        auto fresh = std::make_unique<Runtime>(*model, threads, limits);
        if (runtime_pointer.compare_exchange_strong(r, fresh.get(), std::memory_order_acq_rel))
            return *fresh.release();
        return *r;
    }

    [[nodiscard]] std::size_t category_count() const { return model->categories.size(); }
    [[nodiscard]] std::size_t hidden() const { return model->architecture.hidden; }

    void refuse_oversized(Texts texts) const {
        for (std::size_t i = 0; i < texts.size(); ++i) {
            if (texts[i].size() <= max_text_bytes) continue;
            throw Error(ErrorCode::input_too_large,
                        "text " + std::to_string(i) + " has " + std::to_string(texts[i].size()) +
                            " bytes, more than max_text_bytes = " + std::to_string(max_text_bytes));
        }
    }

    void require_level(std::size_t level) const {
        const auto& exits = model->exits;
        if (!exits)
            throw Error(ErrorCode::invalid_argument, "this model file has no rules for leaving early");
        if (level >= exits->levels)
            throw Error(ErrorCode::invalid_argument, "level must be below " + std::to_string(exits->levels));
    }

    // Tokenises and cuts all texts chunk by chunk. For each micro-batch calls, on some thread,
    //     work(workspace, ids, row offsets, slot of its first window in the chunk)
    // after begin_chunk(windows), and afterwards, on the calling thread, end_chunk(session, first text of the
    // chunk).
    template <class Begin, class Work, class End>
    void for_each_micro_batch(Texts texts, const StopCheck& stop, Begin begin_chunk, Work work,
                              End end_chunk) const {
        refuse_oversized(texts);
        Runtime& run = runtime();
        const StopCheck never;  // for workers: only the calling thread asks
        const auto check = [&stop](bool caller) {
            if (caller && stop && stop()) throw Error(ErrorCode::cancelled, "stopped by the caller");
        };
        for (std::size_t first = 0; first < texts.size();) {
            std::size_t bytes = 0, memory = Runtime::kShareOfCall, count = 0;
            while (first + count < texts.size() && count < kChunkTexts) {
                const std::string_view text = texts[first + count];
                const std::size_t more = run.share_of(text);
                if (count > 0 &&
                    (bytes + text.size() > kChunkBytes || memory + more > run.limits().chunk_bytes))
                    break;
                bytes += text.size();
                memory += more;
                ++count;
            }
            const Runtime::Share share(run, memory);
            const auto session = run.session();
            const Texts chunk = texts.subspan(first, count);
            split_into_units(chunk, *session);
            run.run(session->used_units, [&](const engine::ThreadPool::NextIndex& next, bool caller) {
                for (std::size_t i; next(i);) {
                    check(caller);
                    Unit& unit = session->units[i];
                    const Texts some = chunk.subspan(unit.first, unit.count);
                    unit.batch.clear();
                    if (limits.bounded()) model->tokenizer->reserve(some, false, unit.batch);
                    model->tokenizer->encode(some, false, unit.batch, caller ? stop : never);
                }
            });
            begin_chunk(*session, split_into_micro_batches(*session, limits.token_budget));
            run.run(session->micro_batches.size(),
                    [&](const engine::ThreadPool::NextIndex& next, bool caller) {
                        const engine::FloatingPointMode mode;
                        const auto ws = run.workspace();
                        for (std::size_t i; next(i);) {
                            check(caller);
                            const MicroBatch& m = session->micro_batches[i];
                            const text::RaggedBatch& batch = session->units[m.unit].batch;
                            work(*session, *ws, ids_of(batch, m.first_window, m.windows),
                                 offsets_of(batch, m.first_window, m.windows), m.slot);
                        }
                    });
            end_chunk(*session, first);
            first += count;
        }
    }

    // Emits the logits of each text: after `depth` layers, or of each head where it reads.
    void logits(Texts texts, std::optional<std::size_t> depth, const Sizes& sizes, const StopCheck& stop,
                const auto& emit) const {
        const std::size_t classes = category_count();
        for_each_micro_batch(
            texts, stop,
            [classes](Session& s, std::size_t window_count) {
                s.window_values.resize(window_count * classes);
            },
            [&](Session& s, Workspace& ws, std::span<const std::int32_t> ids,
                std::span<const std::uint32_t> offsets, std::size_t slot) {
                Pass pass(*model, ids, offsets, ws);
                float* const to = s.window_values.data() + slot * classes;
                if (!depth) {
                    engine::final_logits(*model, pass, ws, to);
                    return;
                }
                while (pass.depth() < *depth) pass.run_layer();
                pass.pool(ws.pooled, hidden());
                engine::head_logits(*model, ws.pooled, pass.windows(), *depth, to);
                for (std::size_t i = 0; i < pass.windows() * classes; ++i) require_finite(to[i]);
            },
            [&](Session& s, std::size_t first) {
                for_each_text(s, first, sizes,
                              [&](std::size_t text, std::size_t, std::size_t) { emit(text, s.text_values); });
            });
    }

    // As `logits`, but emits probabilities, which may be those of windows that left early, and the largest
    // depth.
    void adaptive(Texts texts, std::size_t level, const Sizes& sizes, const StopCheck& stop,
                  const auto& emit) const {
        const std::size_t classes = category_count();
        for_each_micro_batch(
            texts, stop,
            [classes](Session& s, std::size_t window_count) {
                s.window_values.resize(window_count * classes);
                s.window_depths.resize(window_count);
            },
            [&](Session& s, Workspace& ws, std::span<const std::int32_t> ids,
                std::span<const std::uint32_t> offsets, std::size_t slot) {
                engine::score_adaptively(*model, ids, offsets, level, ws,
                                         s.window_values.data() + slot * classes,
                                         s.window_depths.data() + slot);
            },
            [&](Session& s, std::size_t first) {
                for_each_text(s, first, sizes, [&](std::size_t text, std::size_t slot, std::size_t count) {
                    const auto depth = s.window_depths.begin() + static_cast<std::ptrdiff_t>(slot);
                    emit(text, s.text_values,
                         *std::max_element(depth, depth + static_cast<std::ptrdiff_t>(count)));
                });
            });
    }

    // For each text of a chunk: s.text_values becomes the maximum of its windows' rows in s.window_values,
    // then emit(text, its first window's number in the chunk, number of windows).
    void for_each_text(Session& s, std::size_t first, const Sizes& sizes, const auto& emit) const {
        const std::size_t classes = category_count();
        std::size_t slot = 0;
        s.text_values.resize(classes);
        for (std::size_t u = 0; u < s.used_units; ++u) {
            const Unit& unit = s.units[u];
            for (std::size_t t = 0; t < unit.count; ++t) {
                const std::uint32_t begin = unit.batch.text_offsets[t], end = unit.batch.text_offsets[t + 1];
                const std::uint32_t count = end - begin;
                const float* row = s.window_values.data() + slot * classes;
                s.text_values.assign(row, row + classes);
                for (std::uint32_t w = 1; w < count; ++w)
                    for (std::size_t c = 0; c < classes; ++c)
                        s.text_values[c] = std::max(s.text_values[c], row[w * classes + c]);
                const std::size_t text = first + unit.first + t;
                if (!sizes.windows.empty()) sizes.windows[text] = count;
                if (!sizes.tokens.empty())
                    sizes.tokens[text] = unit.batch.row_offsets[end] - unit.batch.row_offsets[begin];
                emit(text, slot, count);
                slot += count;
            }
        }
    }
};

namespace {

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
    impl_->logits(texts, depth, sizes, stop, [&](std::size_t text, const std::vector<float>& row) {
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
    impl_->adaptive(texts, level, sizes, stop,
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
    impl_->logits(texts, std::nullopt, sizes, stop, [&](std::size_t text, const std::vector<float>& row) {
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
        Pass pass(model, ids_of(batch, w, 1), offsets_of(batch, w, 1), *ws);
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
        require_finite(logit);
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
