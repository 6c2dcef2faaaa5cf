// Fuzzes the term matcher against the definition of a match, tried at every place. The input is terms and
// then the text, separated by newlines; the first byte of a term chooses its mode. The alphabet is small, so
// that terms meet themselves and each other, and has every kind of character: of a word, of a script without
// spaces, a mark, others.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "policy/term_matcher.hpp"
#include "safetyclf/error.hpp"

namespace {

using safetyclf::Term;
using safetyclf::TermMatch;
using safetyclf::TermMode;
using safetyclf::policy::kAnyOne;
using safetyclf::policy::kAnyRun;
using safetyclf::policy::kBoundary;
using safetyclf::policy::kInWord;
using safetyclf::policy::TermMatcher;

constexpr std::size_t kMostTerms = 12, kLongestTerm = 12, kLongestText = 64;
constexpr std::size_t kNowhere = SIZE_MAX;

void require(bool condition) {
    if (!condition) std::abort();
}

enum Kind { kOther, kLetter, kUnspaced, kMark };
struct Character {
    std::string_view bytes;
    Kind kind;
};
constexpr std::array<Character, 8> kAlphabet{{{"a", kLetter},
                                              {"b", kLetter},
                                              {"\xC3\xA9", kLetter},
                                              {" ", kOther},
                                              {"-", kOther},
                                              {"\xE4\xB8\x80", kUnspaced},
                                              {"\xE4\xB8\x81", kUnspaced},
                                              {"\xE0\xA4\xBF", kMark}}};

const Character& character(std::uint8_t byte) {
    return kAlphabet[byte % kAlphabet.size()];
}

struct Text {
    std::string bytes;
    std::vector<std::uint8_t> flags;
};

Text text_of(std::string_view input) {
    Text text;
    Kind last = kOther;
    for (const char byte : input) {
        const auto& [bytes, kind] = character(static_cast<std::uint8_t>(byte));
        const bool inside =
            last != kOther && kind != kOther && (kind == kMark || (last != kUnspaced && kind != kUnspaced));
        const std::uint8_t flag = kind == kOther ? 0 : kInWord;
        text.bytes += bytes;
        text.flags.insert(text.flags.end(), bytes.size(), flag);
        if (!inside) text.flags[text.flags.size() - bytes.size()] = flag | kBoundary;
        last = kind;
    }
    return text;
}

std::string term_of(std::string_view input) {
    std::string term;
    for (const char byte : input) {
        if (byte == '*' || byte == '?')
            term += byte == '*' ? kAnyRun : kAnyOne;
        else
            term += character(static_cast<std::uint8_t>(byte)).bytes;
    }
    return term;
}

// The definition, with no thought of speed.
class Definition {
public:
    Definition(const Text& text, TermMode mode) : text_(text), mode_(mode) {}

    // The next match that begins at `from` or later; with a leading `*`, the one whose rest begins first.
    bool next(std::string_view term, std::size_t from, std::size_t& begin, std::size_t& end) const {
        const std::size_t first = std::min(term.find_first_not_of("\xFF\xFE"), term.size());
        const bool run_before = term.substr(0, first).find(kAnyRun) != term.npos;
        std::string rest(static_cast<std::size_t>(
                             std::count(term.begin(), term.begin() + static_cast<long>(first), kAnyOne)),
                         kAnyOne);
        rest += term.substr(first);
        for (std::size_t at = from; at <= text_.bytes.size(); ++at) {
            if (!at_character(at)) continue;
            end = shortest_end(rest, at);
            if (end == kNowhere) continue;
            for (begin = at;; --begin) {
                if (at_character(begin) && may_stand(begin, 0)) return true;
                if (!run_before || begin == from || !in_word(begin - 1)) break;
            }
        }
        return false;
    }

private:
    bool at_character(std::size_t at) const {
        return at == text_.bytes.size() || (static_cast<std::uint8_t>(text_.bytes[at]) & 0xC0) != 0x80;
    }
    bool in_word(std::size_t at) const { return at < text_.bytes.size() && (text_.flags[at] & kInWord) != 0; }
    bool may_stand(std::size_t at, std::size_t edge) const {
        if (mode_ == TermMode::text) return at == edge;
        return mode_ == TermMode::anywhere || at == 0 || at == text_.bytes.size() ||
               (text_.flags[at] & kBoundary) != 0;
    }
    std::size_t after(std::size_t at) const {
        do ++at;
        while (!at_character(at));
        return at;
    }

    // Where `term` ends at the nearest if it begins at `at`, for every suffix of it and every place, from the
    // end on.
    std::size_t shortest_end(std::string_view term, std::size_t from) const {
        const std::size_t size = text_.bytes.size();
        std::vector<std::size_t> behind(size + 2, kNowhere), now(size + 2, kNowhere);
        for (std::size_t at = 0; at <= size; ++at) behind[at] = may_stand(at, size) ? at : kNowhere;
        for (; !term.empty(); term.remove_suffix(1), behind = now) {
            for (std::size_t at = size + 1; at-- > 0;) {
                now[at] = kNowhere;
                if (!at_character(at) && (term.back() == kAnyRun || term.back() == kAnyOne)) continue;
                if (term.back() == kAnyRun)
                    now[at] = std::min(behind[at], in_word(at) ? now[after(at)] : kNowhere);
                else if (term.back() == kAnyOne)
                    now[at] = in_word(at) ? behind[after(at)] : kNowhere;
                else if (at < size && text_.bytes[at] == term.back())
                    now[at] = behind[at + 1];
            }
        }
        return behind[from];
    }

    const Text& text_;
    TermMode mode_;
};

using Found = std::vector<std::tuple<std::uint32_t, std::size_t, std::size_t>>;

bool is_legal(std::string_view term) {
    return term.find_first_not_of("\xFF\xFE") != term.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view input(reinterpret_cast<const char*>(data), size);
    std::vector<std::string> folded;
    std::vector<TermMode> modes;
    for (std::size_t end = input.find('\n'); end != input.npos && folded.size() < kMostTerms;
         end = input.find('\n')) {
        const std::string_view line = input.substr(0, std::min(end, kLongestTerm));
        input.remove_prefix(end + 1);
        if (line.empty()) continue;
        folded.push_back(term_of(line.substr(1)));
        modes.push_back(static_cast<TermMode>(static_cast<std::uint8_t>(line[0]) % 3));
    }
    std::vector<Term> terms;
    for (std::size_t i = 0; i < folded.size(); ++i) terms.push_back({folded[i], modes[i]});
    const Text text = text_of(input.substr(0, kLongestText));
    try {
        const TermMatcher matcher(terms);
        require(std::all_of(folded.begin(), folded.end(), is_legal));
        std::vector<TermMatch> matches;
        matcher.find(text.bytes, text.flags, matches, [](std::size_t) {});
        Found found, expected;
        for (const TermMatch& m : matches) found.emplace_back(m.term, m.begin, m.end);
        for (std::uint32_t i = 0; i < terms.size(); ++i) {
            const Definition definition(text, modes[i]);
            for (std::size_t begin = 0, end = 0; definition.next(folded[i], end, begin, end);)
                expected.emplace_back(i, begin, end);
        }
        std::sort(found.begin(), found.end());
        require(found == expected);
    } catch (const safetyclf::Error& error) {
        require(error.code() == safetyclf::ErrorCode::invalid_argument);
        require(!std::all_of(folded.begin(), folded.end(), is_legal));
    }
    return 0;
}
