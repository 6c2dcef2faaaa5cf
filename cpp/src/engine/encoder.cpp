#include "engine/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace safetyclf::engine {
namespace {

using kernels::KernelTable;

// The token-wise parts of a layer run block of rows by block of rows, so that a block's accumulators stay in
// cache between the GEMM that writes them and the row operation that reads them. Blocks are about equal: a
// few rows left over would cost the weights' whole way through the caches.
template <class Body>
void for_row_blocks(std::size_t tokens, std::size_t block, Body body) {
    std::size_t blocks = std::max<std::size_t>((tokens + block / 2) / block, 1);
    for (std::size_t first = 0; first < tokens; --blocks) {
        const std::size_t even = (tokens - first + blocks - 1) / blocks;
        const std::size_t rows = std::min((even + 15) / 16 * 16, tokens - first);
        body(first, rows);
        first += rows;
    }
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

void attend(const model::Architecture& shape, const KernelTable& table, std::size_t windows, Workspace& ws) {
    const std::size_t hidden = shape.hidden;
    const std::size_t head_size = shape.head_size();
    // Softmax works in powers of two: log2(e) / sqrt(head size), both factors rounded to float.
    const float logit_scale = 1.44269504f / std::sqrt(static_cast<float>(head_size));
    for (std::size_t w = 0; w < windows; ++w) {
        const std::size_t first = ws.begins[w];
        for (std::size_t h = 0; h < shape.heads; ++h) {
            const kernels::AttentionHead head = {
                .q = ws.q + first * hidden + h * head_size,
                .q_scale = ws.q_scale + first * shape.heads + h,
                .k = ws.k + first * hidden + h * head_size,
                .k_scale = ws.k_scale + first * shape.heads + h,
                .v = ws.mixed + first * hidden + h * head_size,
                .out = ws.mixed + first * hidden + h * head_size,
                .length = ws.begins[w + 1] - first,
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

Pass::Pass(const model::Model& model, std::span<const std::int32_t> ids,
           std::span<const std::uint32_t> row_offsets, Workspace& ws)
    : model_(model), ws_(ws), windows_(row_offsets.size() - 1) {
    for (std::size_t w = 0; w <= windows_; ++w) ws.begins[w] = row_offsets[w] - row_offsets[0];
    for (std::size_t w = 0; w < windows_; ++w)
        for (std::uint32_t i = ws.begins[w]; i < ws.begins[w + 1]; ++i) ws.position[i] = i - ws.begins[w];
    model.table->embed(ids.data(), ws.position, ids.size(), model.words, model.word_scale, model.positions,
                       &model.embedding_norm, model.architecture.hidden, ws.x);
}

void Pass::run_layer() {
    const KernelTable& table = *model_.table;
    const model::Architecture& shape = model_.architecture;
    const model::Layer& layer = model_.layers[depth_++];
    const std::size_t tokens = ws_.begins[windows_];
    project_qkv(shape, layer, table, tokens, ws_);
    attend(shape, table, windows_, ws_);
    feed_forward(shape, layer, table, tokens, ws_);
}

void Pass::pool(float* to, std::size_t stride) const {
    const std::size_t hidden = model_.architecture.hidden;
    for (std::size_t w = 0; w < windows_; ++w)
        model_.table->mean_rows(ws_.x + ws_.begins[w] * hidden, ws_.begins[w + 1] - ws_.begins[w], hidden,
                                to + w * stride);
}

void Pass::keep(std::span<const std::uint32_t> windows) {
    const std::size_t hidden = model_.architecture.hidden;
    std::uint32_t end = 0;
    for (std::size_t i = 0; i < windows.size(); ++i) {
        const std::uint32_t begin = ws_.begins[windows[i]];
        const std::uint32_t length = ws_.begins[windows[i] + 1] - begin;
        if (begin != end)
            std::memmove(ws_.x + end * hidden, ws_.x + begin * hidden, length * hidden * sizeof(float));
        ws_.begins[i] = end;
        end += length;
    }
    ws_.begins[windows.size()] = end;
    windows_ = windows.size();
}

}  // namespace safetyclf::engine
