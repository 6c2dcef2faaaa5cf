#include "rules.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "mapped_text.hpp"
#include "safetyclf/error.hpp"
#include "unicode_tables.hpp"
#include "utf8.hpp"

namespace safetyclf::text {
namespace {

using tables::rule_record;

struct Character {
    std::uint32_t code;
    std::size_t begin;
    std::size_t end;
};

// Reads `text` at `position`, which must be inside.
Character read(const MappedText& text, std::size_t position, StopPoints& stop) {
    const char* const begin = text.bytes.data() + position;
    const Decoded decoded = decode(begin, text.bytes.data() + text.bytes.size());
    stop.pass(decoded.length);
    return {decoded.code, position, position + decoded.length};
}

// The range of the original that in.bytes[begin, end) stands for.
ByteRange joint_range(const MappedText& in, std::size_t begin, std::size_t end) {
    return {in.ranges[begin].begin, in.ranges[end - 1].end};
}

bool is_invisible(std::uint32_t code) {
    return (rule_record(code).flags & tables::kInvisible) != 0;
}

// --- emoji_names/1
// ----------------------------------------------------------------------------------------------------

constexpr std::uint32_t kTextVariation = 0xFE0E;
constexpr std::uint32_t kEmojiVariation = 0xFE0F;

bool is_keycap_base(char byte) {
    return (byte >= '0' && byte <= '9') || byte == '#' || byte == '*';
}

struct EmojiMatch {
    std::size_t end = 0;     // behind the sequence
    std::uint32_t name = 0;  // offset in kEmojiNames; 0: no match
};

// The longest emoji sequence at `position`. Invisible characters inside it are passed over unless the
// sequence has them itself, so that what strip_invisible/1 removes can neither hide a sequence nor make one.
EmojiMatch match_emoji(const MappedText& in, std::size_t position, StopPoints& stop) {
    EmojiMatch match;
    std::uint32_t node = 0;
    while (position < in.bytes.size()) {
        const Character character = read(in, position, stop);
        const std::uint32_t* const first = tables::kEmojiEdge + tables::kEmojiFirstEdge[node];
        const std::uint32_t* const last = tables::kEmojiEdge + tables::kEmojiFirstEdge[node + 1];
        const std::uint32_t* const edge = std::lower_bound(first, last, character.code);
        if (edge != last && *edge == character.code) {
            node = static_cast<std::uint32_t>(edge - tables::kEmojiEdge) + 1;
            if (tables::kEmojiName[node] != 0) match = {character.end, tables::kEmojiName[node]};
        } else if (node == 0 || !is_invisible(character.code)) {
            break;
        }
        position = character.end;
    }
    return match;
}

void name_emoji(const MappedText& in, MappedText& out, StopPoints& stop) {
    std::size_t copied = 0;
    for (std::size_t position = 0; position < in.bytes.size();) {
        const Character character = read(in, position, stop);
        position = character.end;
        const bool keycap_base = character.code < 0x80 && is_keycap_base(in.bytes[character.begin]) &&
                                 character.end < in.bytes.size() && (in.bytes[character.end] & 0x80) != 0;
        const bool starts = keycap_base || (rule_record(character.code).flags & tables::kEmojiStart) != 0;
        const EmojiMatch match = starts ? match_emoji(in, character.begin, stop) : EmojiMatch{};
        // A keycap mark around anything else is only decoration, and would make a word unknown.
        if (match.name == 0 && character.code != tables::kEnclosingKeycap) continue;
        copy(in, copied, character.begin, out, stop);
        copied = position;
        if (match.name == 0) continue;
        position = match.end;
        while (position < in.bytes.size()) {
            const Character next = read(in, position, stop);
            if (next.code != kTextVariation && next.code != kEmojiVariation) break;
            position = next.end;
        }
        const ByteRange range = joint_range(in, character.begin, position);
        append(out, " ", range);
        append(out, tables::kEmojiNames + match.name, range);
        append(out, " ", range);
        copied = position;
    }
    copy(in, copied, in.bytes.size(), out, stop);
}

// --- strip_invisible/1
// ------------------------------------------------------------------------------------------------

void strip_invisible(const MappedText& in, MappedText& out, StopPoints& stop) {
    std::size_t copied = 0;
    for (std::size_t position = 0; position < in.bytes.size();) {
        const Character character = read(in, position, stop);
        position = character.end;
        if (!is_invisible(character.code)) continue;
        copy(in, copied, character.begin, out, stop);
        copied = position;
    }
    copy(in, copied, in.bytes.size(), out, stop);
}

// --- fold_compatibility/1
// ---------------------------------------------------------------------------------------------

void fold_compatibility(const MappedText& in, MappedText& out, StopPoints& stop) {
    std::size_t copied = 0;
    for (std::size_t position = 0; position < in.bytes.size();) {
        const Character character = read(in, position, stop);
        position = character.end;
        const std::uint16_t fold = rule_record(character.code).fold;
        if (fold == 0) continue;
        copy(in, copied, character.begin, out, stop);
        append(out, tables::kFolds + fold, in.ranges[character.begin]);
        copied = position;
    }
    copy(in, copied, in.bytes.size(), out, stop);
}

// --- fold_confusables/1
// -----------------------------------------------------------------------------------------------

// True if the BERT pre-tokeniser ends a word here, so that a rule's words are the tokeniser's words.
bool breaks_word(std::uint32_t code) {
    const std::uint16_t action = tables::action(code);
    if (action < tables::kFirstMapping)
        return action == tables::kSpace || action == tables::kPunctuation || action == tables::kCjkWord;
    const auto flags = static_cast<std::uint8_t>(tables::kMappings[action - tables::kFirstMapping]);
    return (flags & (tables::kMapsToPunctuation | tables::kMapsToCjk)) != 0;
}

void fold_confusables(const MappedText& in, MappedText& out, StopPoints& stop) {
    std::size_t copied = 0;
    for (std::size_t word = 0; word < in.bytes.size();) {
        bool has_latin = false;
        bool has_confusable = false;
        std::size_t end = word;
        while (end < in.bytes.size()) {
            const Character character = read(in, end, stop);
            end = character.end;
            if (breaks_word(character.code)) break;
            const tables::RuleRecord& record = rule_record(character.code);
            has_latin = has_latin || (record.flags & tables::kLatinLetter) != 0;
            has_confusable = has_confusable || record.confusable != 0;
        }
        // [word, end) is a word and the character that ends it, which is never confusable.
        std::size_t position = has_latin && has_confusable ? word : end;
        word = end;
        while (position < end) {
            const Character character = read(in, position, stop);
            position = character.end;
            const char letter = static_cast<char>(rule_record(character.code).confusable);
            if (letter == 0) continue;
            copy(in, copied, character.begin, out, stop);
            append(out, {&letter, 1}, in.ranges[character.begin]);
            copied = position;
        }
    }
    copy(in, copied, in.bytes.size(), out, stop);
}

// True if eight bytes are left in [next, last) and all are ASCII.
bool starts_with_ascii(const char* next, const char* last) {
    std::uint64_t bytes = 0;
    if (static_cast<std::size_t>(last - next) < sizeof bytes) return false;
    std::memcpy(&bytes, next, sizeof bytes);
    return (bytes & 0x8080808080808080U) == 0;
}

}  // namespace

struct RuleList::NamedRule {
    // A rule that depends on nothing but the text.
    template <void (*kApply)(const MappedText&, MappedText&, StopPoints&)>
    static void plain(const MappedText& in, MappedText& out, const Tools& /*tools*/, StopPoints& stop) {
        kApply(in, out, stop);
    }
    static void join_spelled(const MappedText& in, MappedText& out, const Tools& tools, StopPoints& stop) {
        tools.disguise.join_spelled(in, out, tools.scratch.pieces, stop);
    }
    static void fold_leet(const MappedText& in, MappedText& out, const Tools& tools, StopPoints& stop) {
        tools.disguise.fold_leet(in, out, stop);
    }

    const char* name;
    Rule apply;
    std::uint8_t flags = 0;    // it concerns texts with a character that has one of these
    bool folds = false;        // ... or one with a compatibility fold
    bool confusables = false;  // ... or one that is confusable
    bool joins = false;        // ... or with letters set apart
    bool leet = false;         // ... or with signs that stand for letters
};

const RuleList::NamedRule RuleList::kRules[] = {
    {.name = "emoji_names/1", .apply = NamedRule::plain<name_emoji>, .flags = tables::kEmojiStart},
    {.name = "strip_invisible/1", .apply = NamedRule::plain<strip_invisible>, .flags = tables::kInvisible},
    {.name = "fold_compatibility/1", .apply = NamedRule::plain<fold_compatibility>, .folds = true},
    {.name = "fold_confusables/1", .apply = NamedRule::plain<fold_confusables>, .confusables = true},
    {.name = "join_spelled/1", .apply = NamedRule::join_spelled, .joins = true},
    {.name = "fold_leet/1", .apply = NamedRule::fold_leet, .leet = true},
};

RuleNames known_rules() {
    RuleNames names;
    for (const RuleList::NamedRule& rule : RuleList::kRules) names.emplace_back(rule.name);
    return names;
}

RuleList::RuleList(const RuleNames& names, const WordPiece& vocabulary) : disguise_(vocabulary) {
    for (const std::string& name : names) {
        const NamedRule* const rule = std::find_if(
            std::begin(kRules), std::end(kRules), [&](const NamedRule& known) { return name == known.name; });
        if (rule == std::end(kRules))
            throw Error(ErrorCode::model_format,
                        "normalisation rule '" + name + "' is not known to this version");
        if (std::find(rules_.begin(), rules_.end(), rule->apply) != rules_.end())
            throw Error(ErrorCode::model_format, "normalisation rule '" + name + "' is listed twice");
        rules_.push_back(rule->apply);
        flags_ |= rule->flags;
        folds_ = folds_ || rule->folds;
        confusables_ = confusables_ || rule->confusables;
        joins_ = joins_ || rule->joins;
        leet_ = leet_ || rule->leet;
    }
}

bool RuleList::concerns(std::string_view text, StopPoints& stop) const {
    if (rules_.empty()) return false;
    return concerns_unicode(text, stop) ||
           ((joins_ || leet_) && disguise_.concerns(text, {.joins = joins_, .leet = leet_}, stop));
}

bool RuleList::concerns_unicode(std::string_view text, StopPoints& stop) const {
    const char* const end = text.data() + text.size();
    for (const char* next = text.data(); next < end;) {
        // Counted by stretches, as one step of the inner loop is next to nothing.
        const auto stretch = std::min(kStopInterval, static_cast<std::size_t>(end - next));
        for (const char* const last = next + stretch; next < last;) {
            // None of these rules changes plain ASCII; keycap sequences end in a character that has a flag.
            if (starts_with_ascii(next, last)) {
                next += sizeof(std::uint64_t);
                continue;
            }
            if ((*next & 0x80) == 0) {
                ++next;
                continue;
            }
            const Decoded decoded = decode(next, end);
            next += decoded.length;
            const tables::RuleRecord& record = rule_record(decoded.code);
            if ((record.flags & flags_) != 0 || (folds_ && record.fold != 0) ||
                (confusables_ && record.confusable != 0))
                return true;
        }
        stop.pass(stretch);
    }
    return false;
}

const MappedText& RuleList::apply(std::string_view text, RuleScratch& scratch, StopPoints& stop) const {
    MappedText* in = &scratch.first;
    MappedText* out = &scratch.second;
    const auto clear = [](MappedText& mapped) {
        mapped.bytes.clear();
        mapped.ranges.clear();
    };
    clear(*in);
    for (std::size_t position = 0; position < text.size();) {
        const Decoded decoded = decode(text.data() + position, text.data() + text.size());
        stop.pass(decoded.length);
        const std::size_t end = position + decoded.length;
        const ByteRange range{static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(end)};
        append(*in, decoded.well_formed ? text.substr(position, decoded.length) : "\xEF\xBF\xBD", range);
        position = end;
    }
    const Tools tools{disguise_, scratch};
    for (const Rule rule : rules_) {
        clear(*out);
        rule(*in, *out, tools, stop);
        std::swap(in, out);
    }
    if (in->bytes.size() > std::numeric_limits<std::uint32_t>::max())
        throw Error(ErrorCode::input_too_large, "a text has 4 GiB or more after the normalisation rules");
    return *in;
}

}  // namespace safetyclf::text
