// Text -> token ids. Bytes in (any bytes: NUL and invalid UTF-8 are legal), ragged batch of windows out.
//
// Contract: a Tokenizer is immutable after construction and safe to use from many threads; encode() writes
// only into the caller's buffers and allocates nothing once their capacity suffices. Time and memory are
// linear in the bytes given.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "safetyclf/stop_check.hpp"

namespace safetyclf::text {

class StopPoints;

// A normalisation rule, by the name it has in the model file ("emoji_names/1"). Rules run in the order given,
// before the BERT normaliser. The number is the revision of the rule and its Unicode tables: a file that
// names one this build does not have is refused, so that the same model file gives the same ids for ever.
using RuleNames = std::vector<std::string>;

struct TokenizerConfig {
    std::string vocabulary;  // tokens in id order, separated by '\n'
    RuleNames
        rules;  // may be empty: then ids equal Hugging Face tokenizers' (docs/text.md lists differences)
    bool lowercase = true;              // BERT "uncased": lower case and strip accents
    std::uint32_t window_tokens = 510;  // most word pieces in a window, [CLS] and [SEP] not counted
    std::uint32_t overlap_tokens =
        64;  // word pieces that neighbouring windows share; less than window_tokens
};

// Half-open byte range of a text.
struct ByteRange {
    std::uint32_t begin;
    std::uint32_t end;
};

// Text of which every byte knows the range of the original text that it stands for.
struct MappedText {
    std::string bytes;
    std::vector<ByteRange> ranges;  // one per byte
};

// Buffers for the rules, kept between calls so that a warm batch allocates nothing. Never read outside
// cpp/src/text.
struct RuleScratch {
    MappedText first;
    MappedText second;
    std::vector<std::uint8_t> pieces;  // join_spelled/1: per letter of a run, the piece that starts there
};

// Windows of all texts, one after the other, no padding. A text of up to window_tokens pieces is one window.
// A longer one has as few windows as possible; neighbours share exactly overlap_tokens pieces, and the sizes
// of a text's windows differ by at most one, so that there is no tiny last one. Nothing is ever cut off.
// Window w is ids[row_offsets[w] .. row_offsets[w + 1]), its first id [CLS] and its last [SEP]. Windows of
// text t are [text_offsets[t], text_offsets[t + 1]); every text has at least one.
struct RaggedBatch {
    std::vector<std::int32_t> ids;
    std::vector<std::uint32_t> row_offsets;   // windows + 1, first is 0
    std::vector<std::uint32_t> text_offsets;  // texts + 1, first is 0
    // Where each id came from: half-open byte range of the original text. Filled only on request, else empty.
    // [CLS] has {0, 0}, [SEP] {size, size}.
    std::vector<std::uint32_t> begins;
    std::vector<std::uint32_t> ends;
    RuleScratch scratch;

    [[nodiscard]] std::size_t windows() const { return row_offsets.empty() ? 0 : row_offsets.size() - 1; }
    [[nodiscard]] std::size_t texts() const { return text_offsets.empty() ? 0 : text_offsets.size() - 1; }
    void clear();
};

class Tokenizer {
public:
    // Throws Error(model_format) on a bad vocabulary, an unknown or repeated rule or an overlap that is not
    // below the window.
    explicit Tokenizer(const TokenizerConfig& config);
    ~Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;

    // Appends the windows of `texts` to `out`; all calls for one `out` must agree on `with_offsets`. Throws
    // Error(input_too_large), leaving `out` empty, if a text has 4 GiB or more or `out` would pass 2^32 - 1
    // ids; Error(cancelled), leaving it empty as well, if `stop` says so, which is asked about every 64 KiB.
    void encode(std::span<const std::string_view> texts, bool with_offsets, RaggedBatch& out,
                const StopCheck& stop = {}) const;

    // Room in `out`, which is empty, for the windows of `texts`, whatever they hold: encode() allocates
    // nothing.
    void reserve(std::span<const std::string_view> texts, bool with_offsets, RaggedBatch& out) const;
    // What reserve() allocates for a text of so many bytes, of which some are not ASCII, and how many windows
    // it may have.
    struct Room {
        std::size_t mapped, ids, windows;
        [[nodiscard]] std::size_t bytes(bool with_offsets) const;
    };
    [[nodiscard]] Room room(std::size_t bytes, std::size_t not_ascii) const;

    // The text after the rules of the model file, before the BERT normaliser, as well-formed UTF-8
    // (ill-formed input reads as U+FFFD); for each output byte where in the original the character or emoji
    // sequence begins that it came from, plus one last entry: the original's size. Throws
    // Error(input_too_large) for 4 GiB or more, Error(cancelled) as encode() does.
    void normalize(std::string_view text, std::string& out, std::vector<std::uint32_t>& origin,
                   const StopCheck& stop = {}) const;

    // The text after the rules, in a buffer of `scratch`; null where no rule changes it, but for ill-formed
    // bytes. `text` must be shorter than 4 GiB.
    [[nodiscard]] const MappedText* apply_rules(std::string_view text, RuleScratch& scratch,
                                                StopPoints& stop) const;

    [[nodiscard]] std::size_t vocabulary_size() const;
    // Whether the id is a piece that goes on with the word before it ("##...").
    [[nodiscard]] bool continues_word(std::int32_t id) const;

private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

// Bytes that are no ASCII characters.
[[nodiscard]] std::size_t count_not_ascii(std::string_view text);

// The rule names this build knows, in the order in which the default model applies them.
[[nodiscard]] RuleNames known_rules();

}  // namespace safetyclf::text
