// The encoder over a ragged micro-batch, no padding: straight code from ids to pooled hidden states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/workspace.hpp"
#include "model/model.hpp"

namespace safetyclf::engine {

// `ids` holds the windows one after the other, `row_offsets` (windows + 1) where each begins, relative to its
// first entry. Runs `depth` layers. After it, ws.x holds the hidden states [tokens, hidden] and ws.pooled
// each window's mean [windows, hidden]. With `every_depth` not null, the means after 0, 1, ... depth layers
// go there: [windows, depth + 1, hidden]. Allocates nothing. Total tokens must not exceed ws.rows.
void encode(const model::Model& model, std::span<const std::int32_t> ids,
            std::span<const std::uint32_t> row_offsets, std::size_t depth, Workspace& ws,
            float* every_depth = nullptr);

}  // namespace safetyclf::engine
