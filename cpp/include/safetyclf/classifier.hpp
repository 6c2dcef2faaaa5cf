// The public C++ interface: text in, logits and calibrated probabilities out. docs/architecture.md shows what
// lies below it.
//
// A Classifier is immutable after construction. All members may be called from any number of threads at once;
// the result for a text is the same bits whatever else runs, whatever the batch, the number of threads and
// the instruction set (docs/numerics.md). A forked child may go on using a Classifier: it makes itself new
// worker threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "safetyclf/error.hpp"
#include "safetyclf/stop_check.hpp"
#include "safetyclf/terms.hpp"

namespace safetyclf {

namespace engine {
class Accelerator;
class Runtime;
}  // namespace engine
namespace model {
class Model;
}
namespace policy {
class TermMatcher;
}

struct Options {
    unsigned threads = 0;                   // 1 runs in the caller; 0: as many as this process may use
    std::size_t max_text_bytes = 1u << 20;  // a longer text is refused with Error(input_too_large)
    std::string isa{};                      // empty: SAFETYCLF_ISA, or the best this CPU supports
    // Bytes of working memory at most, 0: no limit. Bounds what calls need besides the model, their texts and
    // their results (docs/embedding.md): calls work on less at once, wait for each other, and give the same
    // bits. Too little for one text of max_text_bytes is an Error(invalid_argument) that names the least.
    std::size_t max_memory = 0;
    // Makes what probabilities() and adaptive_probabilities() run on; empty: the CPU. A forked child works on
    // the CPU in any case.
    std::function<std::unique_ptr<engine::Accelerator>(const model::Model&)> accelerator{};
};

struct Category {
    std::string name;
    std::string coverage;  // "trained", "weak" or "derived"
};

struct Thresholds {
    float review;  // flagged at or above
    float block;   // blocked at or above; at least `review`
};

// Where a logit comes from: one token of the window that gave the maximum.
struct Contribution {
    std::uint32_t begin, end;  // half-open byte range of the text; empty for [CLS] and [SEP]
    float weight;              // all weights of a window and the bias add up to the logit
    bool continues_word;       // a later piece of the word that the contribution before it belongs to
};

struct Explanation {
    float logit, bias;
    std::uint32_t window;  // number of the window, from 0
    std::vector<Contribution> contributions;
};

// How texts were read, for those who want to know: each empty, or [texts].
struct Sizes {
    Sizes(std::span<std::uint32_t> windows_out = {}, std::span<std::uint32_t> tokens_out = {})
        : windows(windows_out), tokens(tokens_out) {}
    Sizes(std::vector<std::uint32_t>& windows_out) : windows(windows_out) {}

    std::span<std::uint32_t> windows;
    std::span<std::uint32_t> tokens;  // of all windows, [CLS] and [SEP] among them
};

struct Tokens {
    std::vector<std::int32_t> ids;
    std::vector<std::uint32_t> begins, ends;  // byte ranges of the text
    std::vector<std::uint32_t> row_offsets;   // windows + 1
};

class Classifier {
public:
    Classifier(const std::string& model_path, const Options& options);
    // A model file in memory, which must stay and not change while the Classifier lives.
    Classifier(std::span<const std::byte> model_file, const Options& options);
    ~Classifier();
    Classifier(const Classifier&) = delete;
    Classifier& operator=(const Classifier&) = delete;

    [[nodiscard]] const std::vector<Category>& categories() const;
    [[nodiscard]] const std::vector<Thresholds>& thresholds() const;
    [[nodiscard]] const std::string& model_id() const;
    [[nodiscard]] const std::string& metadata_json() const;
    [[nodiscard]] const char* isa() const;
    [[nodiscard]] unsigned threads() const;
    [[nodiscard]] std::string device() const;  // "cpu", or the accelerator's name
    [[nodiscard]] std::size_t hidden() const;
    [[nodiscard]] std::size_t depths() const;  // exits: layers + 1

    // logits: [texts, categories], maximum over the windows of a text, read off after `depth` layers (0 ..
    // depths() - 1). Throws Error(input_too_large), Error(cancelled), Error(invalid_argument).
    void logits(std::span<const std::string_view> texts, std::size_t depth, std::span<float> logits,
                const Sizes& sizes, const StopCheck& stop = {}) const;

    // probabilities: [texts, categories], calibrated, at full depth; a head may read at an earlier one. Needs
    // a model with calibration, else Error(invalid_argument).
    void probabilities(std::span<const std::string_view> texts, std::span<float> probabilities,
                       const Sizes& sizes, const StopCheck& stop = {}) const;

    // The same where the rules of the model file let windows leave early, kept to the floors of `level`;
    // depths: [texts], after how many layers the last window of each text left. Needs a model with that
    // level, else Error(invalid_argument).
    void adaptive_probabilities(std::span<const std::string_view> texts, std::size_t level,
                                std::span<float> probabilities, const Sizes& sizes,
                                std::span<std::uint16_t> depths, const StopCheck& stop = {}) const;
    // [levels, categories]: what a text that leaves early stays below; empty without such rules.
    [[nodiscard]] std::vector<float> exit_floors() const;

    // Calibrated probabilities [windows, categories] of windows of ids as tokenize() makes them: those whose
    // maximum over a text's windows probabilities() gives or, with a level, adaptive_probabilities(). Throws
    // Error(invalid_argument) for what is no window of this model, too.
    void window_probabilities(std::span<const std::int32_t> ids, std::span<const std::uint32_t> row_offsets,
                              std::optional<std::size_t> level, std::span<float> probabilities,
                              const StopCheck& stop = {}) const;

    // Mean-pooled hidden states, one row per window: [windows, depths, hidden]; text_offsets gets texts + 1
    // entries.
    [[nodiscard]] std::vector<float> pooled(std::span<const std::string_view> texts,
                                            std::vector<std::uint32_t>& text_offsets,
                                            const StopCheck& stop = {}) const;

    [[nodiscard]] Explanation explain(std::string_view text, std::size_t category,
                                      const StopCheck& stop = {}) const;
    [[nodiscard]] Tokens tokenize(std::string_view text, const StopCheck& stop = {}) const;
    // The text after the model's normalisation rules.
    [[nodiscard]] std::string normalize(std::string_view text, const StopCheck& stop = {}) const;

private:
    friend class TermMatcher;
    [[nodiscard]] engine::Runtime& runtime() const;
    void refuse_oversized(std::span<const std::string_view> texts) const;

    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// Terms to be looked for. Immutable and thread-safe as the classifier is, which must outlive it.
class TermMatcher {
public:
    // Throws Error(invalid_argument) with the number of a term that breaks a rule of docs/term-lists.md.
    TermMatcher(const Classifier& classifier, std::span<const Term> terms);
    ~TermMatcher();

    // The matches in each text, in no set order; those of one term do not overlap. Throws as logits() does.
    [[nodiscard]] std::vector<std::vector<TermMatch>> find(std::span<const std::string_view> texts,
                                                           const StopCheck& stop = {}) const;

private:
    const Classifier& classifier_;
    std::unique_ptr<const policy::TermMatcher> matcher_;
};

// Instruction sets compiled in and those this CPU can run, best first; the one a new Classifier would use.
[[nodiscard]] std::vector<std::string> compiled_isas();
[[nodiscard]] std::vector<std::string> supported_isas();
[[nodiscard]] std::string active_isa();
[[nodiscard]] std::uint32_t numerics_revision();

}  // namespace safetyclf
