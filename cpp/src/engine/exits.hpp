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

// Runs the layers that are left; logits [windows, categories], of each head where it reads.
void final_logits(const model::Model& model, Pass& pass, Workspace& ws, float* logits);

// Calibrated probabilities [windows, categories], and after how many layers each window left [windows], by
// the thresholds and floors of `level`. A window's result does not depend on the others. Needs a model with
// exits. Throws Error(internal) when a logit is not finite.
void score_adaptively(const model::Model& model, std::span<const std::int32_t> ids,
                      std::span<const std::uint32_t> row_offsets, std::size_t level, Workspace& ws,
                      float* probabilities, std::uint16_t* depths);

}  // namespace safetyclf::engine
