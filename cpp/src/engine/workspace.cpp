#include "engine/workspace.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace safetyclf::engine {
namespace {

std::size_t round_up(std::size_t x, std::size_t to) {
    return (x + to - 1) / to * to;
}

}  // namespace

void Workspace::Free::operator()(std::byte* p) const {
    ::operator delete (p, std::align_val_t{kernels::kAlignment});
}

// Hands out addresses from `base` on, or none without; returns the size of all.
std::size_t Workspace::lay_out(const model::Model& model, std::size_t token_budget, std::byte* base) {
    const kernels::KernelTable& table = *model.table;
    const std::size_t hidden = model.architecture.hidden;
    const std::size_t heads = model.architecture.heads;
    const std::size_t intermediate = model.architecture.intermediate;
    const std::size_t window = model.architecture.positions;
    const std::size_t rows = token_budget + window;
    const std::size_t padded = round_up(rows, kernels::kRowTile) + kernels::kRowTile;
    // Even blocks of rows (encoder.cpp) are up to one and a half times as large as the kernels want them.
    const std::size_t block = round_up(table.row_block * 3 / 2, kernels::kRowTile) + kernels::kRowTile;
    const std::size_t widest = std::max(3 * hidden, intermediate);
    const std::size_t windows = rows / 2 + 1;  // the shortest window is [CLS] [SEP]

    std::size_t used = 0;
    const auto take = [&](auto*& to, std::size_t count) {
        using T = std::remove_reference_t<decltype(*to)>;
        to = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
        used += round_up(count * sizeof(T) + kernels::kReadSlack, kernels::kAlignment);
    };
    std::byte* scratch = nullptr;
    take(x, padded * hidden);
    take(mixed, padded * hidden);
    take(q, padded * hidden);
    take(k, padded * hidden);
    take(q_scale, padded * heads);
    take(k_scale, padded * heads);
    take(input, block * std::max(hidden, intermediate));
    take(input_scale, block);
    take(acc, block * widest);
    take(row, intermediate);
    take(position, padded);
    take(scratch, table.attention_scratch(window, model.architecture.head_size()));
    take(begins, windows + 1);
    take(pooled, windows * hidden);
    take(logits, windows * model.categories.size());
    take(exit_scores, windows);
    take(lexical, windows);
    take(going_on, windows);
    take(number, windows);
    attention = scratch;
    return used;
}

std::size_t Workspace::bytes(const model::Model& model, std::size_t token_budget) {
    return Workspace().lay_out(model, token_budget, nullptr);
}

Workspace::Workspace(const model::Model& model, std::size_t token_budget) {
    const std::size_t used = bytes(model, token_budget);
    arena_.reset(static_cast<std::byte*>(::operator new (used, std::align_val_t{kernels::kAlignment})));
    // Kernels read rows of slack: give them defined bytes.
    std::memset(arena_.get(), 0, used);
    lay_out(model, token_budget, arena_.get());
}

}  // namespace safetyclf::engine
