#include "engine/classifier_impl.hpp"

#include <unistd.h>

#include <algorithm>

#include "engine/encoder.hpp"
#include "engine/exits.hpp"
#include "engine/floating_point.hpp"

namespace safetyclf {
namespace {

using engine::MicroBatch;
using engine::Pass;
using engine::Runtime;
using engine::Session;
using engine::Unit;
using engine::Workspace;

// A long list is worked off in chunks, so that memory does not grow with it.
constexpr std::size_t kChunkBytes = 256 * 1024;
constexpr std::size_t kChunkTexts = 4096;
// An accelerator's chunks are larger, for it is fed by all threads; but to tokenise one must not take longer
// than what is under way there, which is 3 batches of 16,384 tokens.
constexpr std::size_t kAcceleratedChunks = 2;
// Texts are tokenised in units of about this size: enough work to be worth a hand-over, and several
// micro-batches' worth at most.
constexpr std::size_t kUnitBytes = 8 * 1024;
constexpr std::size_t kUnitTexts = 128;

struct Chunk {
    std::size_t texts;
    std::size_t memory;  // share of the limit for texts
};

// The texts that the next chunk takes; `scale` times as many as one of the CPU's may have.
Chunk next_chunk(const Runtime& run, Texts texts, std::size_t scale) {
    Chunk chunk{0, Runtime::kShareOfCall};
    for (std::size_t bytes = 0; chunk.texts < std::min(texts.size(), scale * kChunkTexts); ++chunk.texts) {
        const std::string_view text = texts[chunk.texts];
        const std::size_t more = run.share_of(text);
        if (chunk.texts > 0 &&
            (bytes + text.size() > scale * kChunkBytes || chunk.memory + more > run.limits().chunk_bytes))
            break;
        bytes += text.size();
        chunk.memory += more;
    }
    return chunk;
}

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

void ask(const StopCheck& stop) {
    if (stop && stop()) throw Error(ErrorCode::cancelled, "stopped by the caller");
}

// Writes the sizes of a unit's text number t; returns the number of its windows.
std::uint32_t measure(const Unit& unit, std::size_t t, std::size_t text, const Sizes& sizes) {
    const std::uint32_t begin = unit.batch.text_offsets[t], end = unit.batch.text_offsets[t + 1];
    if (!sizes.windows.empty()) sizes.windows[text] = end - begin;
    if (!sizes.tokens.empty())
        sizes.tokens[text] = unit.batch.row_offsets[end] - unit.batch.row_offsets[begin];
    return end - begin;
}

}  // namespace

Classifier::Impl::Impl(std::shared_ptr<const model::Model> model_in, const Options& options)
    : model(std::move(model_in)), owner(getpid()) {
    for (const model::Category& c : model->categories) categories.push_back({c.name, c.coverage});
    for (const policy::Thresholds& t : model->policy.thresholds()) thresholds.push_back({t.review, t.block});
    max_text_bytes = options.max_text_bytes;
    threads = options.threads == 0 ? engine::available_processors() : options.threads;
    if (options.max_memory != 0)
        limits = engine::Limits::within(options.max_memory, *model, threads, max_text_bytes);
    if (options.accelerator) accelerator = options.accelerator(*model);
    runtime_pointer = new Runtime(*model, threads, limits);
}

Classifier::Impl::~Impl() {
    Runtime* r = runtime_pointer.load();
    // In a forked child that never called anything the parent's runtime is left alone: its threads are not
    // here to be joined. So is what it has on a device.
    if (r != nullptr && r->owner() == getpid()) delete r;
    if (owner != getpid()) (void)accelerator.release();
}

Runtime& Classifier::Impl::runtime() const {
    Runtime* r = runtime_pointer.load(std::memory_order_acquire);
    if (r->owner() == getpid()) return *r;
    auto fresh = std::make_unique<Runtime>(*model, threads, limits);
    if (runtime_pointer.compare_exchange_strong(r, fresh.get(), std::memory_order_acq_rel))
        return *fresh.release();
    return *r;
}

engine::Accelerator* Classifier::Impl::device() const {
    return owner == getpid() ? accelerator.get() : nullptr;
}

void Classifier::Impl::refuse_oversized(Texts texts) const {
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (texts[i].size() <= max_text_bytes) continue;
        throw Error(ErrorCode::input_too_large,
                    "text " + std::to_string(i) + " has " + std::to_string(texts[i].size()) +
                        " bytes, more than max_text_bytes = " + std::to_string(max_text_bytes));
    }
}

void Classifier::Impl::require_level(std::size_t level) const {
    const auto& exits = model->exits;
    if (!exits) throw Error(ErrorCode::invalid_argument, "this model file has no rules for leaving early");
    if (level >= exits->levels)
        throw Error(ErrorCode::invalid_argument, "level must be below " + std::to_string(exits->levels));
}

void Classifier::Impl::tokenise(Texts chunk, Session& session, const StopCheck& stop) const {
    split_into_units(chunk, session);
    const StopCheck never;  // for workers: only the calling thread asks
    runtime().run(session.used_units, [&](const engine::ThreadPool::NextIndex& next, bool caller) {
        for (std::size_t i; next(i);) {
            ask(caller ? stop : never);
            Unit& unit = session.units[i];
            const Texts some = chunk.subspan(unit.first, unit.count);
            unit.batch.clear();
            if (limits.bounded()) model->tokenizer->reserve(some, false, unit.batch);
            model->tokenizer->encode(some, false, unit.batch, caller ? stop : never);
        }
    });
}

void Classifier::Impl::for_each_micro_batch(Texts texts, const StopCheck& stop, const Begin& begin,
                                            const Work& work, const End& end) const {
    refuse_oversized(texts);
    Runtime& run = runtime();
    for (std::size_t first = 0; first < texts.size();) {
        const Chunk chunk = next_chunk(run, texts.subspan(first), 1);
        const Runtime::Share share(run, chunk.memory);
        const auto session = run.session();
        tokenise(texts.subspan(first, chunk.texts), *session, stop);
        begin(*session, split_into_micro_batches(*session, limits.token_budget));
        run.run(session->micro_batches.size(), [&](const engine::ThreadPool::NextIndex& next, bool caller) {
            const engine::FloatingPointMode mode;
            const auto ws = run.workspace();
            for (std::size_t i; next(i);) {
                if (caller) ask(stop);
                const MicroBatch& m = session->micro_batches[i];
                const text::RaggedBatch& batch = session->units[m.unit].batch;
                const std::uint32_t* const offsets = batch.row_offsets.data() + m.first_window;
                work(*session, *ws, std::span(batch.ids).subspan(offsets[0], offsets[m.windows] - offsets[0]),
                     {offsets, m.windows + 1}, m.slot);
            }
        });
        end(*session, first);
        first += chunk.texts;
    }
}

void Classifier::Impl::score(Texts texts, const Reading& reading, const Sizes& sizes, const StopCheck& stop,
                             const Emit& emit) const {
    if (!reading.depth && device() != nullptr)
        return score_elsewhere(texts, reading.level, sizes, stop, emit);
    const std::size_t classes = category_count();
    for_each_micro_batch(
        texts, stop,
        [&](Session& s, std::size_t windows) {
            s.window_values.resize(windows * classes);
            s.window_depths.assign(windows, static_cast<std::uint16_t>(model->layers.size()));
        },
        [&](Session& s, Workspace& ws, std::span<const std::int32_t> ids,
            std::span<const std::uint32_t> offsets, std::size_t slot) {
            float* const to = s.window_values.data() + slot * classes;
            if (reading.level)
                return engine::score_adaptively(*model, ids, offsets, *reading.level, ws, to,
                                                s.window_depths.data() + slot);
            Pass pass(*model, ids, offsets, ws);
            if (!reading.depth) return engine::final_logits(*model, pass, ws, to);
            while (pass.depth() < *reading.depth) pass.run_layer();
            pass.pool(ws.pooled, hidden());
            engine::head_logits(*model, ws.pooled, pass.windows(), pass.depth(), to);
            engine::require_finite({to, pass.windows() * classes});
        },
        [&](Session& s, std::size_t first) { for_each_text(s, first, sizes, emit); });
}

// After the windows of a chunk were scored.
void Classifier::Impl::for_each_text(Session& s, std::size_t first, const Sizes& sizes,
                                     const Emit& emit) const {
    const std::size_t classes = category_count();
    const float* row = s.window_values.data();
    const std::uint16_t* depth = s.window_depths.data();
    for (std::size_t u = 0; u < s.used_units; ++u) {
        const Unit& unit = s.units[u];
        for (std::size_t t = 0; t < unit.count; ++t) {
            const std::size_t text = first + unit.first + t;
            const std::uint32_t count = measure(unit, t, text, sizes);
            s.text_values.assign(row, row + classes);
            for (std::uint32_t w = 1; w < count; ++w)
                for (std::size_t c = 0; c < classes; ++c)
                    s.text_values[c] = std::max(s.text_values[c], row[w * classes + c]);
            emit(text, s.text_values, *std::max_element(depth, depth + count));
            row += count * classes;
            depth += count;
        }
    }
}

// The same by the accelerator, which takes windows from chunk after chunk and gives their scores as they
// come.
void Classifier::Impl::score_elsewhere(Texts texts, std::optional<std::size_t> level, const Sizes& sizes,
                                       const StopCheck& stop, const Emit& emit) const {
    refuse_oversized(texts);
    Runtime& run = runtime();
    std::vector<std::uint32_t> windows;  // of the texts that were tokenised
    std::vector<float> values, highest;
    std::size_t text = 0, deepest = 0;
    std::uint32_t seen = 0;
    const engine::FloatingPointMode mode;  // for the calibration of windows that left, which runs here
    const auto call = device()->begin(level, [&](std::span<const float> logits, std::size_t depth) {
        engine::require_finite(logits);
        values.assign(logits.begin(), logits.end());
        if (level) engine::read_exit(*model, *level, depth, values, values);
        if (seen == 0) highest = values;
        for (std::size_t c = 0; c < values.size(); ++c) highest[c] = std::max(highest[c], values[c]);
        deepest = seen == 0 ? depth : std::max(deepest, depth);
        if (++seen < windows[text]) return;
        emit(text++, highest, static_cast<std::uint16_t>(deepest));
        seen = 0;
    });
    const auto session = run.session();
    for (std::size_t first = 0; first < texts.size();) {
        const Chunk chunk = next_chunk(run, texts.subspan(first), kAcceleratedChunks);
        tokenise(texts.subspan(first, chunk.texts), *session, stop);
        for (std::size_t u = 0; u < session->used_units; ++u) {
            const Unit& unit = session->units[u];
            for (std::size_t t = 0; t < unit.count; ++t)
                windows.push_back(measure(unit, t, first + unit.first + t, sizes));
            ask(stop);
            call->add(unit.batch.ids, unit.batch.row_offsets);
        }
        first += chunk.texts;
    }
    call->finish();
}

}  // namespace safetyclf
