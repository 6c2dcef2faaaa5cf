#include "cuda/sequence.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace safetyclf::cuda {
namespace {

unsigned cut(std::size_t all, std::size_t part) {
    return static_cast<unsigned>((all + part - 1) / part);
}

// The state of a batch on its way through the layers; `at` says which of each pair of buffers it is in.
class Sequence {
public:
    Sequence(const Device& device, const DeviceModel& model, const Transfer& transfer, const Buffers& buffers,
             const Capacity& grid, std::uint32_t longest, std::optional<std::size_t> level, Stream stream)
        : device_(device),
          model_(model),
          host_(model.host()),
          io_(transfer),
          b_(buffers),
          level_(level),
          stream_(stream),
          hidden_(host_.architecture.hidden),
          heads_(host_.architecture.heads),
          classes_(static_cast<std::uint32_t>(host_.categories.size())),
          row_blocks_{.x = cut(grid.rows, kRowsPerBlock)},
          windows_{.x = grid.windows},
          rows_(grid.rows),
          longest_(longest),
          batch_{{io_.size, io_.begins}, {b_.size, b_.begins}} {}

    void run() {
        launch(Kernel::embed,
               EmbedArgs{batch(), io_.ids, io_.position, model_.words, model_.word_scale, model_.positions,
                         model_.embedding_norm, model_.layers.empty() ? nullptr : model_.layers[0].qkv_smooth,
                         hidden_, x(), input()},
               row_blocks_);
        if (level_)
            launch(Kernel::lexical,
                   LexicalArgs{batch(), io_.ids, model_.lexicon, host_.architecture.vocabulary,
                               static_cast<std::uint32_t>(host_.exits->pairs), host_.exits->lexicon_scale,
                               b_.lexical, b_.number[0]},
                   windows_);
        for (std::uint32_t depth = 0;; ++depth) {
            level_ ? leave(depth) : score(depth);
            if (depth == model_.layers.size()) return;
            layer(depth);
        }
    }

private:
    [[nodiscard]] const Batch& batch() const { return batch_[at_]; }
    [[nodiscard]] float* x() const { return b_.x[at_]; }
    [[nodiscard]] const Quantized& input() const { return b_.input[at_]; }

    template <class Args>
    void launch(Kernel kernel, const Args& args, const Grid& grid) const {
        device_.launch(kernel, stream_, grid, args);
    }
    template <class Args>
    void launch_linear(Kernel kernel, const Args& args) const {
        launch(kernel, args,
               {.x = cut(args.linear.n, kTileN), .y = cut(rows_, kTileM), .shared = kLinearShared});
    }

    void layer(std::uint32_t depth) const {
        const DeviceLayer& layer = model_.layers[depth];
        const std::uint32_t head_size = hidden_ / heads_;
        const Grid heads{.x = windows_.x, .y = heads_};
        launch_linear(Kernel::linear_qkv, QkvArgs{batch(), input(), layer.qkv, hidden_, head_size, b_.q,
                                                  b_.q_scale, b_.k, b_.k_scale, b_.v});
        launch(Kernel::quantize_values,
               ValueArgs{batch(), b_.v, hidden_, head_size, b_.values, b_.value_scale}, heads);
        // Both factors rounded to float, as on the CPU (encoder.cpp).
        const float logit_scale = 1.44269504f / std::sqrt(static_cast<float>(head_size));
        // Blocks for all rows of a head where windows are few; enough to fill the device where they are many.
        const std::uint32_t threads = attention_threads(longest_);
        const unsigned filling = cut(8 * std::size_t{device_.processors()}, heads.x * heads.y);
        launch(head_size == 32 ? Kernel::attention_32 : Kernel::attention_64,
               AttentionArgs{batch(), b_.q, b_.q_scale, b_.k, b_.k_scale, b_.values, b_.value_scale, hidden_,
                             logit_scale, b_.v},
               {.x = heads.x,
                .y = heads.y,
                .z = std::clamp(filling, 1U, cut(longest_, attention_rows(threads))),
                .threads = threads,
                .shared = attention_shared(head_size)});
        quantize(b_.v, layer.attention_output_smooth, layer.attention_output.k);
        launch_linear(Kernel::linear_add, AddArgs{batch(), b_.wide, layer.attention_output, x()});
        norm(layer.attention_norm, layer.ffn_in_smooth, b_.wide);

        launch_linear(Kernel::linear_gelu, GeluArgs{batch(), b_.wide, layer.ffn_in, b_.y});
        quantize(b_.y, layer.ffn_out_smooth, layer.ffn_out.k);
        launch_linear(Kernel::linear_add, AddArgs{batch(), b_.wide, layer.ffn_out, x()});
        const bool last = depth + 1 == model_.layers.size();
        norm(layer.ffn_norm, last ? nullptr : model_.layers[depth + 1].qkv_smooth, input());
    }

    void quantize(const float* from, const float* smooth, std::uint32_t k) const {
        launch(Kernel::quantize, QuantizeArgs{batch(), from, smooth, k, b_.wide}, row_blocks_);
    }
    void norm(const Norm& with, const float* smooth, const Quantized& out) const {
        launch(Kernel::norm, NormArgs{batch(), x(), with, smooth, hidden_, out}, row_blocks_);
    }

    [[nodiscard]] const float* head_weight(std::uint32_t depth) const {
        return model_.head_weight + std::size_t{depth} * classes_ * hidden_;
    }
    [[nodiscard]] const float* head_bias(std::uint32_t depth) const {
        return model_.head_bias + std::size_t{depth} * classes_;
    }
    [[nodiscard]] Grid head_grid() const {
        return {.x = windows_.x, .shared = head_shared(hidden_, classes_)};
    }

    void score(std::uint32_t depth) const {
        const auto& reads = host_.head_depth;
        if (std::find(reads.begin(), reads.end(), depth) == reads.end()) return;
        launch(Kernel::score,
               ScoreArgs{batch(), x(), head_weight(depth), head_bias(depth), model_.head_depth, hidden_,
                         classes_, depth, io_.logits},
               head_grid());
    }

    void leave(std::uint32_t depth) {
        const model::Exits& exits = *host_.exits;
        const std::size_t layers = model_.layers.size();
        ExitArgs args{};
        args.batch = batch();
        args.x = x();
        args.head_weight = head_weight(depth);
        args.head_bias = head_bias(depth);
        args.floor_logit = model_.floor_logit;
        if (depth < layers) {
            args.exit_weight = model_.exit_weight + std::size_t{depth} * hidden_;
            args.bias = exits.bias[depth];
            args.lexical = exits.lexical[depth];
            args.highest = exits.highest[depth];
            args.threshold = exits.threshold[*level_ * layers + depth];
        }
        args.hidden = hidden_;
        args.classes = classes_;
        args.depth = depth;
        args.number = b_.number[at_];
        args.lexical_sum = b_.lexical;
        args.logits = io_.logits;
        args.left_at = io_.left_at;
        args.keep = b_.keep;
        args.not_finite = io_.not_finite;
        launch(Kernel::exits, args, head_grid());
        if (depth == layers) return;

        const unsigned to = 1 - at_;
        // The batch as it came may be written over: it comes up again with the next.
        launch(Kernel::compact,
               CompactArgs{batch(), b_.keep, b_.number[at_], const_cast<std::uint32_t*>(batch_[to].size),
                           const_cast<std::uint32_t*>(batch_[to].begins), b_.number[to], b_.source},
               Grid{.x = 1});
        launch(Kernel::gather,
               GatherArgs{batch_[to], b_.source, hidden_, x(), input(), b_.x[to], b_.input[to]}, windows_);
        at_ = to;
    }

    const Device& device_;
    const DeviceModel& model_;
    const model::Model& host_;
    const Transfer& io_;
    const Buffers& b_;
    const std::optional<std::size_t> level_;
    const Stream stream_;
    const std::uint32_t hidden_, heads_, classes_;
    const Grid row_blocks_, windows_;
    const std::uint32_t rows_, longest_;
    const Batch batch_[2];
    unsigned at_ = 0;
};

}  // namespace

Transfer::Transfer(std::uintptr_t base, const Capacity& capacity, std::size_t classes) {
    Carver carver(base);
    size = carver.take<std::uint32_t>(2);
    begins = carver.take<std::uint32_t>(capacity.windows + 1);
    ids = carver.take<std::int32_t>(capacity.rows);
    position = carver.take<std::uint16_t>(capacity.rows);
    not_finite = carver.take<std::uint32_t>(1);
    upload = carver.used();
    download_from = upload - sizeof *not_finite;
    left_at = carver.take<std::uint32_t>(capacity.windows);
    logits = carver.take<float>(capacity.windows * classes);
    bytes = carver.used();
}

Buffers::Buffers(std::uintptr_t base, const Capacity& capacity, const model::Model& model) {
    const std::size_t rows = capacity.rows, windows = capacity.windows;
    const std::size_t hidden = model.architecture.hidden, intermediate = model.architecture.intermediate;
    const std::size_t heads = model.architecture.heads;
    Carver carver(base);
    const auto quantized = [&](std::size_t width) {
        return Quantized{carver.take<std::int8_t>(rows * width), carver.take<float>(rows)};
    };
    for (unsigned i = 0; i < (model.exits ? 2 : 1); ++i) {
        x[i] = carver.take<float>(rows * hidden);
        input[i] = quantized(hidden);
        number[i] = carver.take<std::uint32_t>(windows);
    }
    wide = quantized(std::max(hidden, intermediate));
    size = carver.take<std::uint32_t>(2);
    begins = carver.take<std::uint32_t>(windows + 1);
    keep = carver.take<std::uint32_t>(windows);
    source = carver.take<std::uint32_t>(windows);
    lexical = carver.take<float>(windows);

    const std::size_t shared = carver.used();
    q = carver.take<std::int8_t>(rows * hidden);
    k = carver.take<std::int8_t>(rows * hidden);
    q_scale = carver.take<float>(rows * heads);
    k_scale = carver.take<float>(rows * heads);
    v = carver.take<float>(rows * hidden);
    values = carver.take<std::uint32_t>(value_groups(capacity.rows, capacity.windows) * hidden);
    value_scale = carver.take<float>(windows * hidden);
    const std::size_t attention = carver.used();
    carver.rewind(shared);
    y = carver.take<float>(rows * intermediate);
    bytes = std::max(attention, carver.used());
}

void enqueue(const Device& device, const DeviceModel& model, const Transfer& transfer, const Buffers& buffers,
             const Capacity& grid, std::uint32_t longest, std::optional<std::size_t> level, Stream stream) {
    Sequence(device, model, transfer, buffers, grid, longest, level, stream).run();
}

}  // namespace safetyclf::cuda
