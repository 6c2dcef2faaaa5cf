// All memory that one thread needs to push a micro-batch through the encoder, taken once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "abi.h"
#include "model/model.hpp"

namespace safetyclf::engine {

// Tokens at which a micro-batch is full. Small enough that its activations stay in a core's second-level
// cache, large enough that the weights' traffic does not matter. A window is never split, so a micro-batch
// may hold one window more than this.
inline constexpr std::size_t kTokenBudget = 256;

class Workspace {
public:
    // For micro-batches that are full at `token_budget`.
    Workspace(const model::Model& model, std::size_t token_budget);
    // What it would allocate.
    [[nodiscard]] static std::size_t bytes(const model::Model& model, std::size_t token_budget);

    float* x;                 // [rows, hidden] the residual stream
    float* mixed;             // [rows, hidden] attention's values, then its output
    std::uint8_t* q;          // [rows, hidden] stored queries
    std::int8_t* k;           // [rows, hidden] keys
    float* q_scale;           // [rows, heads]
    float* k_scale;           // [rows, heads]
    std::uint8_t* input;      // [row_block, intermediate] stored activations that go into a GEMM
    float* input_scale;       // [row_block]
    std::int32_t* acc;        // [row_block, max(3 hidden, intermediate)] what comes out of it
    float* row;               // [intermediate]
    std::uint32_t* position;  // [rows]
    void* attention;
    std::uint32_t* begins;    // [windows + 1] where each window's rows begin
    float* pooled;            // [windows, hidden]: one row per window of a micro-batch
    float* logits;            // [windows, categories]
    float* exit_scores;       // [windows]
    float* lexical;           // [windows]
    std::uint32_t* going_on;  // [windows] numbers of windows
    std::uint32_t* number;    // [windows] of each window in the micro-batch as it came

private:
    Workspace() = default;
    std::size_t lay_out(const model::Model& model, std::size_t token_budget, std::byte* base);
    struct Free {
        void operator()(std::byte* p) const;
    };
    std::unique_ptr<std::byte, Free> arena_;
};

}  // namespace safetyclf::engine
