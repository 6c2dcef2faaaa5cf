#include "engine/exits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/encoder.hpp"
#include "safetyclf/error.hpp"

namespace safetyclf::engine {
namespace {

using model::Exits;

// Weights of the tokens between [CLS] and [SEP] and of all pairs of neighbours, these two included; summed as
// integers, divided by the square root of the number of tokens. The constants of the hash are odd, and part
// of the file format.
float lexical_sum(const Exits& exits, std::size_t vocabulary, std::span<const std::int32_t> ids) {
    const auto mask = static_cast<std::uint32_t>(exits.pairs - 1);
    const std::int8_t* const pairs = exits.lexicon + vocabulary;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto left = static_cast<std::uint32_t>(ids[i]);
        const auto right = static_cast<std::uint32_t>(ids[i + 1]);
        std::uint32_t hash = left * 0x9E3779B1U ^ (right * 0x85EBCA77U + 0x61U);
        hash ^= hash >> 15;
        sum += pairs[hash & mask];
        if (i > 0) sum += exits.lexicon[ids[i]];
    }
    return static_cast<float>(sum) * exits.lexicon_scale / std::sqrt(static_cast<float>(ids.size()));
}

}  // namespace

void require_finite(std::span<const float> logits) {
    for (const float logit : logits)
        if (!std::isfinite(logit)) throw Error(ErrorCode::internal, "a logit is not finite");
}

void read_exit(const model::Model& model, std::size_t level, std::size_t depth, std::span<float> logits,
               std::span<float> probabilities) {
    if (depth == model.layers.size()) return model.policy.calibrate(logits, probabilities);
    // What the heads of an earlier depth say of the last one's probabilities.
    const Exits& exits = *model.exits;
    const std::size_t row = depth * logits.size();
    for (std::size_t c = 0; c < logits.size(); ++c)
        logits[c] = exits.slope[row + c] * logits[c] + exits.shift[row + c];
    model.policy.calibrate(logits, probabilities);
    const float* const floor = exits.floor + level * logits.size();
    for (std::size_t c = 0; c < logits.size(); ++c)
        if (probabilities[c] >= floor[c])
            probabilities[c] = std::nextafter(floor[c], -1.0f);  // the rule has decided otherwise
}

void head_logits(const model::Model& model, const float* pooled, std::size_t windows, std::size_t depth,
                 float* logits) {
    const std::size_t classes = model.categories.size();
    const std::size_t hidden = model.architecture.hidden;
    model.table->dot_rows(pooled, windows, model.head_weight + depth * classes * hidden, classes, hidden,
                          logits);
    const float* bias = model.head_bias + depth * classes;
    for (std::size_t w = 0; w < windows; ++w)
        for (std::size_t c = 0; c < classes; ++c) logits[w * classes + c] += bias[c];
}

void final_logits(const model::Model& model, Pass& pass, Workspace& ws, float* logits) {
    const std::size_t classes = model.categories.size();
    const std::vector<std::uint32_t>& reads = model.head_depth;
    for (;; pass.run_layer()) {
        const std::size_t depth = pass.depth();
        if (std::find(reads.begin(), reads.end(), depth) != reads.end()) {
            pass.pool(ws.pooled, model.architecture.hidden);
            head_logits(model, ws.pooled, pass.windows(), depth, ws.logits);
            for (std::size_t i = 0; i < pass.windows() * classes; ++i)
                if (reads[i % classes] == depth) logits[i] = ws.logits[i];
        }
        if (depth == model.layers.size()) break;
    }
    require_finite({logits, pass.windows() * classes});
}

void score_adaptively(const model::Model& model, std::span<const std::int32_t> ids,
                      std::span<const std::uint32_t> row_offsets, std::size_t level, Workspace& ws,
                      float* probabilities, std::uint16_t* depths) {
    const Exits& exits = *model.exits;
    const std::size_t classes = model.categories.size();
    const std::size_t hidden = model.architecture.hidden;
    const std::size_t layers = model.layers.size();
    const float* const threshold = exits.threshold + level * layers;
    Pass pass(model, ids, row_offsets, ws);
    std::iota(ws.number, ws.number + pass.windows(), 0U);
    for (std::size_t w = 0; w < pass.windows(); ++w)
        ws.lexical[w] = lexical_sum(exits, model.architecture.vocabulary,
                                    ids.subspan(ws.begins[w], ws.begins[w + 1] - ws.begins[w]));
    for (;;) {
        const std::size_t depth = pass.depth();
        pass.pool(ws.pooled, hidden);
        head_logits(model, ws.pooled, pass.windows(), depth, ws.logits);
        const auto row = [&](float* table, std::size_t w) { return std::span(table + w * classes, classes); };
        for (std::size_t w = 0; w < pass.windows(); ++w) require_finite(row(ws.logits, w));
        if (depth == layers) {
            for (std::size_t w = 0; w < pass.windows(); ++w) {
                read_exit(model, level, depth, row(ws.logits, w), row(probabilities, ws.number[w]));
                depths[ws.number[w]] = static_cast<std::uint16_t>(depth);
            }
            return;
        }
        model.table->dot_rows(ws.pooled, pass.windows(), exits.weight + depth * hidden, 1, hidden,
                              ws.exit_scores);
        std::size_t going_on = 0;
        for (std::size_t w = 0; w < pass.windows(); ++w) {
            const std::span<float> logits = row(ws.logits, w);
            float highest = -std::numeric_limits<float>::infinity();
            for (std::size_t c = 0; c < classes; ++c)
                highest = std::max(highest, logits[c] - exits.floor_logit[c]);
            const float score = ws.exit_scores[w] + exits.bias[depth] + exits.lexical[depth] * ws.lexical[w] +
                                exits.highest[depth] * highest;
            if (score < threshold[depth]) {  // a score that is not a number stays
                read_exit(model, level, depth, logits, row(probabilities, ws.number[w]));
                depths[ws.number[w]] = static_cast<std::uint16_t>(depth);
                continue;
            }
            ws.number[going_on] = ws.number[w];
            ws.lexical[going_on] = ws.lexical[w];
            ws.going_on[going_on++] = static_cast<std::uint32_t>(w);
        }
        if (going_on == 0) return;
        if (going_on < pass.windows()) pass.keep({ws.going_on, going_on});
        pass.run_layer();
    }
}

}  // namespace safetyclf::engine
