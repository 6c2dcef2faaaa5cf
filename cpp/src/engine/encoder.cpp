#include "engine/encoder.hpp"

#include <algorithm>
#include <cmath>

namespace safetyclf::engine {
namespace {

using kernels::KernelTable;

struct Batch {
    std::size_t tokens;
    std::span<const std::uint32_t> row_offsets;
    [[nodiscard]] std::size_t windows() const { return row_offsets.size() - 1; }
    [[nodiscard]] std::size_t begin(std::size_t w) const { return row_offsets[w] - row_offsets[0]; }
    [[nodiscard]] std::size_t length(std::size_t w) const { return row_offsets[w + 1] - row_offsets[w]; }
};

// The token-wise parts of a layer run block of rows by block of rows, so that a block's accumulators stay in
// cache between the GEMM that writes them and the row operation that reads them.
template <class Body>
void for_row_blocks(std::size_t tokens, std::size_t block, Body body) {
    for (std::size_t first = 0; first < tokens; first += block) body(first, std::min(block, tokens - first));
}

void project_qkv(const model::Architecture& shape, const model::Layer& layer, const KernelTable& table,
                 std::size_t tokens, Workspace& ws) {
    const std::size_t hidden = shape.hidden;
    for_row_blocks(tokens, table.row_block, [&](std::size_t first, std::size_t rows) {
        table.quantize(ws.x + first * hidden, rows, layer.qkv.inverse_smooth, hidden, ws.input,
                       ws.input_scale);
        table.gemm(ws.input, rows, layer.qkv.packed, layer.qkv.n, layer.qkv.k, ws.acc);
        table.split_qkv(ws.acc, rows, ws.input_scale, &layer.qkv, shape.heads, ws.q + first * hidden,
                        ws.q_scale + first * shape.heads, ws.k + first * hidden,
                        ws.k_scale + first * shape.heads, ws.mixed + first * hidden);
    });
}

void attend(const model::Architecture& shape, const KernelTable& table, const Batch& batch, Workspace& ws) {
    const std::size_t hidden = shape.hidden;
    const std::size_t head_size = shape.head_size();
    // Softmax works in powers of two: log2(e) / sqrt(head size), both factors rounded to float.
    const float logit_scale = 1.44269504f / std::sqrt(static_cast<float>(head_size));
    for (std::size_t w = 0; w < batch.windows(); ++w) {
        const std::size_t first = batch.begin(w);
        for (std::size_t h = 0; h < shape.heads; ++h) {
            const kernels::AttentionHead head = {
                .q = ws.q + first * hidden + h * head_size,
                .q_scale = ws.q_scale + first * shape.heads + h,
                .k = ws.k + first * hidden + h * head_size,
                .k_scale = ws.k_scale + first * shape.heads + h,
                .v = ws.mixed + first * hidden + h * head_size,
                .out = ws.mixed + first * hidden + h * head_size,
                .length = batch.length(w),
                .head_size = head_size,
                .stride = hidden,
                .heads = shape.heads,
                .logit_scale = logit_scale,
                .scratch = ws.attention,
            };
            table.attention(&head);
        }
    }
}

void feed_forward(const model::Architecture& shape, const model::Layer& layer, const KernelTable& table,
                  std::size_t tokens, Workspace& ws) {
    const std::size_t hidden = shape.hidden;
    for_row_blocks(tokens, table.row_block, [&](std::size_t first, std::size_t rows) {
        float* x = ws.x + first * hidden;
        table.quantize(ws.mixed + first * hidden, rows, layer.attention_output.inverse_smooth, hidden,
                       ws.input, ws.input_scale);
        table.gemm(ws.input, rows, layer.attention_output.packed, hidden, hidden, ws.acc);
        table.add_norm(ws.acc, rows, ws.input_scale, &layer.attention_output, &layer.attention_norm, x);

        table.quantize(x, rows, layer.ffn_in.inverse_smooth, hidden, ws.input, ws.input_scale);
        table.gemm(ws.input, rows, layer.ffn_in.packed, shape.intermediate, hidden, ws.acc);
        table.gelu_quantize(ws.acc, rows, ws.input_scale, &layer.ffn_in, layer.ffn_out.inverse_smooth, ws.row,
                            ws.input, ws.input_scale);
        table.gemm(ws.input, rows, layer.ffn_out.packed, hidden, shape.intermediate, ws.acc);
        table.add_norm(ws.acc, rows, ws.input_scale, &layer.ffn_out, &layer.ffn_norm, x);
    });
}

}  // namespace

void encode(const model::Model& model, std::span<const std::int32_t> ids,
            std::span<const std::uint32_t> row_offsets, std::size_t depth, Workspace& ws,
            float* every_depth) {
    const KernelTable& table = *model.table;
    const model::Architecture& shape = model.architecture;
    const Batch batch = {ids.size(), row_offsets};

    const auto pool = [&](std::size_t layer) {
        for (std::size_t w = 0; w < batch.windows(); ++w) {
            float* to = every_depth == nullptr ? ws.pooled + w * shape.hidden
                                               : every_depth + (w * (depth + 1) + layer) * shape.hidden;
            table.mean_rows(ws.x + batch.begin(w) * shape.hidden, batch.length(w), shape.hidden, to);
        }
    };

    for (std::size_t w = 0; w < batch.windows(); ++w)
        for (std::size_t i = 0; i < batch.length(w); ++i)
            ws.position[batch.begin(w) + i] = static_cast<std::uint32_t>(i);
    table.embed(ids.data(), ws.position, batch.tokens, model.words, model.word_scale, model.positions,
                &model.embedding_norm, shape.hidden, ws.x);
    if (every_depth != nullptr) pool(0);
    for (std::size_t layer = 0; layer < depth; ++layer) {
        project_qkv(shape, model.layers[layer], table, batch.tokens, ws);
        attend(shape, table, batch, ws);
        feed_forward(shape, model.layers[layer], table, batch.tokens, ws);
        if (every_depth != nullptr) pool(layer + 1);
    }
    if (every_depth == nullptr) pool(depth);
}

}  // namespace safetyclf::engine
