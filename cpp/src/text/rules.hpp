// Normalisation rules: text in, text out, every byte with the range of the original that it stands for.
//
// Contract: a RuleList is immutable after construction and thread-safe. apply() allocates only to grow the
// scratch buffers. Time and memory are linear in the text. The output is well-formed UTF-8. docs/text.md
// states each rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "disguise.hpp"
#include "stop_points.hpp"
#include "tokenizer.hpp"
#include "wordpiece.hpp"

namespace safetyclf::text {

class RuleList {
public:
    // Keeps a reference to the vocabulary. Throws Error(model_format) for an unknown or repeated name.
    RuleList(const RuleNames& names, const WordPiece& vocabulary);

    // True if some rule could change `text`. Ill-formed UTF-8 alone is no reason: the BERT normaliser treats
    // it alike.
    [[nodiscard]] bool concerns(std::string_view text, StopPoints& stop) const;

    // The text after all rules, in one of the buffers of `scratch`. The text must be shorter than 4 GiB;
    // throws Error(input_too_large) if the result is not.
    const MappedText& apply(std::string_view text, RuleScratch& scratch, StopPoints& stop) const;

private:
    // What the rules work with besides the text. Most need nothing of it.
    struct Tools {
        const Disguise& disguise;
        RuleScratch& scratch;
    };
    using Rule = void (*)(const MappedText& in, MappedText& out, const Tools& tools, StopPoints& stop);

    struct NamedRule;
    static const NamedRule kRules[];
    friend RuleNames known_rules();

    [[nodiscard]] bool concerns_unicode(std::string_view text, StopPoints& stop) const;

    Disguise disguise_;
    std::vector<Rule> rules_;
    std::uint8_t flags_ = 0;  // tables::RuleFlag that make a text the business of some rule
    bool folds_ = false;
    bool confusables_ = false;
    bool joins_ = false;
    bool leet_ = false;
};

}  // namespace safetyclf::text
