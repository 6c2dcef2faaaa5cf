// What a Classifier holds, and its calls: texts in chunks, tokenised on all threads, scored in micro-batches
// or by an accelerator.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/accelerator.hpp"
#include "engine/runtime.hpp"
#include "model/model.hpp"
#include "safetyclf/classifier.hpp"

namespace safetyclf {

using Texts = std::span<const std::string_view>;

struct Classifier::Impl {
    std::shared_ptr<const model::Model> model;
    std::vector<Category> categories;
    std::vector<Thresholds> thresholds;
    std::size_t max_text_bytes;
    unsigned threads;
    engine::Limits limits;
    mutable std::atomic<engine::Runtime*> runtime_pointer;
    std::unique_ptr<engine::Accelerator> accelerator;
    pid_t owner;

    Impl(std::shared_ptr<const model::Model> model_in, const Options& options);
    ~Impl();

    engine::Runtime& runtime() const;
    // Null in a forked child, too: a device's driver does not survive fork().
    [[nodiscard]] engine::Accelerator* device() const;
    [[nodiscard]] std::size_t category_count() const { return model->categories.size(); }
    [[nodiscard]] std::size_t hidden() const { return model->architecture.hidden; }
    void refuse_oversized(Texts texts) const;
    void require_level(std::size_t level) const;

    // Tokenises and cuts all texts chunk by chunk. After begin(session, windows of the chunk) calls `work`
    // for each micro-batch, on some thread; `slot` is the number of its first window in the chunk. Then, on
    // the calling thread, end(session, first text of the chunk).
    using Begin = std::function<void(engine::Session&, std::size_t windows)>;
    using Work = std::function<void(engine::Session&, engine::Workspace&, std::span<const std::int32_t> ids,
                                    std::span<const std::uint32_t> row_offsets, std::size_t slot)>;
    using End = std::function<void(engine::Session&, std::size_t first)>;
    void for_each_micro_batch(Texts texts, const StopCheck& stop, const Begin& begin, const Work& work,
                              const End& end) const;

    // Logits after `depth` layers; or probabilities, by the rules of `level`; or logits of each head where it
    // reads.
    struct Reading {
        std::optional<std::size_t> depth, level;
    };
    // Takes a text's values [categories], the maxima over its windows, and at which depth the last one left.
    using Emit = std::function<void(std::size_t text, const std::vector<float>& values, std::uint16_t depth)>;
    void score(Texts texts, const Reading& reading, const Sizes& sizes, const StopCheck& stop,
               const Emit& emit) const;

private:
    void tokenise(Texts chunk, engine::Session& session, const StopCheck& stop) const;
    void score_elsewhere(Texts texts, std::optional<std::size_t> level, const Sizes& sizes,
                         const StopCheck& stop, const Emit& emit) const;
    void for_each_text(engine::Session& s, std::size_t first, const Sizes& sizes, const Emit& emit) const;
};

}  // namespace safetyclf
