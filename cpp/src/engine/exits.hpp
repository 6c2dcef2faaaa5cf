// Scoring a micro-batch: heads, calibration, and leaving early where the rules of the model file allow it.
// docs/adaptive-depth.md states the rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/encoder.hpp"
#include "engine/workspace.hpp"
#include "model/model.hpp"

namespace safetyclf::engine {

// Logits [windows, categories] after `depth` layers of the hidden states pooled there [windows, hidden].
void head_logits(const model::Model& model, const float* pooled, std::size_t windows, std::size_t depth,
                 float* logits);

// Throws Error(internal) unless they are. Asked of every window: a maximum over windows would pass over a
// NaN.
void require_finite(std::span<const float> logits);

// Probabilities [categories] of a window that left after `depth` layers, kept to the floors of `level`, or
// that reached the last. Changes the logits; may be in place.
void read_exit(const model::Model& model, std::size_t level, std::size_t depth, std::span<float> logits,
               std::span<float> probabilities);

// Runs the layers that are left; logits [windows, categories], of each head where it reads.
void final_logits(const model::Model& model, Pass& pass, Workspace& ws, float* logits);

// Calibrated probabilities [windows, categories], and after how many layers each window left [windows], by
// the thresholds and floors of `level`. A window's result does not depend on the others. Needs a model with
// exits. Throws Error(internal) when a logit is not finite.
void score_adaptively(const model::Model& model, std::span<const std::int32_t> ids,
                      std::span<const std::uint32_t> row_offsets, std::size_t level, Workspace& ws,
                      float* probabilities, std::uint16_t* depths);

}  // namespace safetyclf::engine
