// Finds terms in a text: Aho-Corasick over the first literal part of each, then a look around it.
//
// Contract: immutable after construction, thread-safe. Work is linear in the text: a byte costs at most two
// steps of the automaton, and a look at each term whose literal part ends there, which takes as many steps as
// the term has bytes at most. Beyond that a term with `*` is followed once from each word, not once from each
// place, and goes back to no `*` but the last: all in all as many steps as the text has bytes, for each byte
// of the term.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "safetyclf/terms.hpp"

namespace safetyclf::policy {

// What a TermMatcher has to know of each byte of a text besides its value.
enum TextFlag : std::uint8_t {
    kInWord = 1,    // of a letter, digit or mark: what wildcards stand for
    kBoundary = 2,  // a word begins or ends in front of it; never set inside a character
};

// Bytes of a term that stand for `*` and `?`; no UTF-8 has them.
inline constexpr char kAnyRun = '\xFF';
inline constexpr char kAnyOne = '\xFE';

class TermMatcher {
public:
    static constexpr std::size_t kMaxTermBytes = 1000;

    // Terms in UTF-8, folded as the texts will be. Throws Error(invalid_argument) with the number of one that
    // is empty, too long or nothing but wildcards.
    explicit TermMatcher(std::span<const Term> terms);

    // Appends the matches in `text` (well-formed, less than 4 GiB, one flag for each byte) in no set order.
    // Each `*` stands for as little as it can; matches of one term do not overlap, and the first is taken.
    // `pass` is told the number of steps, now and then; it may throw.
    void find(std::string_view text, std::span<const std::uint8_t> flags, std::vector<TermMatch>& out,
              const std::function<void(std::size_t)>& pass) const;

private:
    struct Search;
    using Literal = std::pair<std::string, std::uint32_t>;  // and the number of its term

    struct Wildcards {
        bool run_before;            // `*` before the literal
        std::uint32_t ones_before;  // `?` between
        std::string rest;
    };
    struct Entry {
        std::uint32_t literal_bytes;
        std::uint32_t wildcards;  // in wildcards_; 0: none
        TermMode mode;
    };
    // Children of a node are neighbours: from first_child up to that of the next node. So are its terms.
    struct Node {
        std::uint32_t first_child, first_term;
        std::uint32_t fail;  // longest proper suffix that is a node
        std::uint32_t link;  // longest one where a term ends, or 0
    };

    void build(std::vector<Literal>& literals);
    [[nodiscard]] std::uint32_t child(std::uint32_t node, char label) const noexcept;
    [[nodiscard]] bool has_terms(std::uint32_t node) const noexcept {
        return nodes_[node].first_term != nodes_[node + 1].first_term;
    }

    std::vector<Entry> entries_;
    std::vector<Wildcards> wildcards_;  // the first stands for none
    std::vector<Node> nodes_;           // breadth first, and one more behind the last
    std::string labels_;                // of the edge to each node
    std::vector<std::uint32_t> terms_;
    std::array<std::uint32_t, 256> from_root_{};
};

}  // namespace safetyclf::policy
