// Terms and texts made alike and then matched: rules of the model file, case, accents, white space.
// docs/term-lists.md defines it. Time and memory are linear in the text.
#include <algorithm>
#include <string>
#include <utility>

#include "engine/runtime.hpp"
#include "model/model.hpp"
#include "policy/term_matcher.hpp"
#include "safetyclf/classifier.hpp"
#include "text/stop_points.hpp"
#include "text/unicode_tables.hpp"
#include "text/utf8.hpp"

namespace safetyclf {
namespace {

namespace tables = text::tables;
using text::ByteRange;

// Accents and vowel points can be left out. Virama, vowel signs and tone marks of South and South-East Asia
// cannot: they are letters in all but name.
bool is_accent(std::uint16_t action, std::uint32_t code) {
    constexpr std::uint8_t kVirama = 9, kFirstVowelSign = 84, kFirstAttached = 200;
    if (action != tables::kOrderedMark) return false;
    const std::uint8_t order = tables::combining_class(code);
    return order != kVirama && (order < kFirstVowelSign || order >= kFirstAttached);
}

// A text, or a term, as it is compared.
struct Folded {
    text::MappedText text{};
    std::vector<std::uint8_t> flags{};  // policy::TextFlag of each byte
    ByteRange space{};                  // read and not yet written; its end is 0 if there is none
    std::uint8_t last_class = 0;

    void add(std::string_view in, const text::Tokenizer& tokenizer, text::RuleScratch& scratch,
             text::StopPoints& stop) {
        const text::MappedText* const mapped = tokenizer.apply_rules(in, scratch, stop);
        if (mapped != nullptr) in = mapped->bytes;
        for (std::size_t at = 0, next; at < in.size(); at = next) {
            const text::Decoded decoded = text::decode(in.data() + at, in.data() + in.size());
            stop.pass(decoded.length);
            next = at + decoded.length;
            ByteRange range{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(next)};
            if (mapped != nullptr) range = {mapped->ranges[at].begin, mapped->ranges[next - 1].end};
            add(decoded.code, in.substr(at, decoded.length), range);
        }
    }

    void add(std::uint32_t code, std::string_view bytes, ByteRange range) {
        const std::uint16_t action = tables::action(code);
        if (action == tables::kSpace) {
            space = range;
        } else if (is_accent(action, code)) {
            if (!text.ranges.empty() && space.end == 0) text.ranges.back().end = range.end;
        } else if (code == 0x2018 || code == 0x2019) {
            put("'", 0, range);
        } else if (action >= tables::kFirstMapping) {
            const char* const record = tables::kMappings + (action - tables::kFirstMapping);
            put({record + 2, static_cast<std::uint8_t>(record[1])}, tables::word_class(code), range);
        } else if (action != tables::kDrop && (tables::rule_record(code).flags & tables::kInvisible) == 0) {
            put(bytes, tables::word_class(code), range);
        }
    }

    void put(std::string_view character, std::uint8_t word_class, ByteRange range) {
        const ByteRange before = std::exchange(space, {});
        if (before.end != 0 && !text.bytes.empty()) put(" ", 0, before);
        const bool together =
            (last_class & word_class & tables::kInWord) != 0 &&
            ((word_class & tables::kMarkInWord) != 0 || ((last_class | word_class) & tables::kUnspaced) == 0);
        const std::uint8_t flag = (word_class & tables::kInWord) != 0 ? policy::kInWord : 0;
        text.bytes.append(character);
        text.ranges.insert(text.ranges.end(), character.size(), range);
        flags.insert(flags.end(), character.size(), flag);
        if (!together) flags[flags.size() - character.size()] = flag | policy::kBoundary;
        last_class = word_class;
    }
};

// The term without escapes, its wildcards as policy::TermMatcher has them, folded.
std::string fold_term(std::string_view term, std::size_t number, const text::Tokenizer& tokenizer) {
    const StopCheck never;
    text::StopPoints stop(never);
    text::RuleScratch scratch;
    Folded folded;
    std::string literal;
    for (std::size_t at = 0; at < term.size(); ++at) {
        if (term[at] == '*' || term[at] == '?') {
            folded.add(std::exchange(literal, {}), tokenizer, scratch, stop);
            folded.put({term[at] == '*' ? &policy::kAnyRun : &policy::kAnyOne, 1}, 0, {});
            continue;
        }
        if (term[at] == '\\' && (++at == term.size() || std::string_view("*?\\").find(term[at]) == term.npos))
            throw Error(ErrorCode::invalid_argument,
                        "term " + std::to_string(number) + ": a backslash stands only before *, ? and \\");
        literal += term[at];
    }
    folded.add(literal, tokenizer, scratch, stop);
    return folded.text.bytes;
}

}  // namespace

TermMatcher::TermMatcher(const Classifier& classifier, std::span<const Term> terms)
    : classifier_(classifier) {
    const text::Tokenizer& tokenizer = *classifier.runtime().model().tokenizer;
    std::vector<std::string> bytes;
    for (const Term& term : terms) bytes.push_back(fold_term(term.text, bytes.size(), tokenizer));
    std::vector<Term> list;
    for (const Term& term : terms) list.push_back({bytes[list.size()], term.mode});
    matcher_ = std::make_unique<const policy::TermMatcher>(list);
}

TermMatcher::~TermMatcher() = default;

std::vector<std::vector<TermMatch>> TermMatcher::find(std::span<const std::string_view> texts,
                                                      const StopCheck& stop) const {
    classifier_.refuse_oversized(texts);
    std::vector<std::vector<TermMatch>> out(texts.size());
    const StopCheck never;  // for workers: only the calling thread asks
    engine::Runtime& runtime = classifier_.runtime();
    runtime.run(texts.size(), [&](const auto& next, bool caller) {
        text::StopPoints stop_points(caller ? stop : never);
        text::RuleScratch scratch;
        for (std::size_t i; next(i);) {
            Folded folded;
            folded.add(texts[i], *runtime.model().tokenizer, scratch, stop_points);
            const auto& [bytes, ranges] = folded.text;
            matcher_->find(bytes, folded.flags, out[i], [&](std::size_t steps) { stop_points.pass(steps); });
            for (auto& [term, begin, end] : out[i]) {
                begin = ranges[begin].begin;
                end = ranges[end - 1].end;
            }
        }
    });
    return out;
}

}  // namespace safetyclf
