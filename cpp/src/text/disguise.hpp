// The two rules that undo disguises in plain ASCII: letters set apart (join_spelled/1) and signs that stand
// for letters (fold_leet/1). Whether a change makes sense is asked of the vocabulary.
//
// Contract: immutable after construction, thread-safe. All costs are integers, so that every machine decides
// alike. Time and memory are linear in the text; nothing is allocated but to grow the caller's buffers.
// docs/text.md states both rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "stop_points.hpp"
#include "tokenizer.hpp"
#include "wordpiece.hpp"

namespace safetyclf::text {

class Disguise {
public:
    struct Rules {
        bool joins;
        bool leet;
    };

    explicit Disguise(const WordPiece& vocabulary) : vocabulary_(vocabulary) {}  // keeps a reference

    // False only if none of `rules` changes `text`, which may be ill-formed.
    [[nodiscard]] bool concerns(std::string_view text, Rules rules, StopPoints& stop) const;

    // `pieces`: a buffer, kept between calls.
    void join_spelled(const MappedText& in, MappedText& out, std::vector<std::uint8_t>& pieces,
                      StopPoints& stop) const;
    void fold_leet(const MappedText& in, MappedText& out, StopPoints& stop) const;

private:
    class Segmentation;
    class LeetWord;

    [[nodiscard]] std::uint32_t word_cost(std::int32_t id, std::size_t size) const noexcept;
    [[nodiscard]] std::uint32_t continuation_cost(std::int32_t id, std::size_t size) const noexcept;
    [[nodiscard]] std::uint32_t rank_cost(std::int32_t id) const noexcept;

    const WordPiece& vocabulary_;
};

}  // namespace safetyclf::text
