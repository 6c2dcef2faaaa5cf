// The encoder over a ragged micro-batch, no padding: straight code from ids to hidden states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/workspace.hpp"
#include "model/model.hpp"

namespace safetyclf::engine {

// A micro-batch on its way through the encoder. It lives in a workspace, which no other pass may use
// meanwhile; nothing is allocated.
class Pass {
public:
    // Embeds the windows. `ids` holds them one after the other, `row_offsets` (windows + 1) where each
    // begins, relative to its first entry. Total tokens must not exceed ws.rows.
    Pass(const model::Model& model, std::span<const std::int32_t> ids,
         std::span<const std::uint32_t> row_offsets, Workspace& ws);

    // Hidden states after this many layers stand in ws.x, [tokens, hidden].
    [[nodiscard]] std::size_t depth() const { return depth_; }
    [[nodiscard]] std::size_t windows() const { return windows_; }

    void run_layer();
    // Each window's mean hidden state; one row of hidden floats every `stride` floats.
    void pool(float* to, std::size_t stride) const;
    // Goes on with these windows (ascending numbers) alone. Their bits do not depend on the others.
    void keep(std::span<const std::uint32_t> windows);

private:
    const model::Model& model_;
    Workspace& ws_;
    std::size_t windows_;
    std::size_t depth_ = 0;
};

}  // namespace safetyclf::engine
