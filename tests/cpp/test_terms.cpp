// What only C++ can see of the term matcher: how many steps it takes. What it finds is compared with the
// definition in cpp/fuzz/terms.cpp, and tested from Python (tests/python/test_policy_terms.py).
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "policy/term_matcher.hpp"
#include "safetyclf/error.hpp"

namespace {

using safetyclf::Term;
using safetyclf::TermMatch;
using safetyclf::TermMode;
using safetyclf::policy::TermMatcher;

std::string repeated(std::string_view part, std::size_t times) {
    std::string out;
    for (std::size_t i = 0; i < times; ++i) out += part;
    return out;
}

// `*` is the wildcard here. Letters are words; anything else is not.
struct Work {
    std::size_t steps = 0, matches = 0;
};
Work work(const std::vector<std::string>& terms, TermMode mode, std::string_view text) {
    std::vector<std::string> folded;
    for (std::string term : terms) {
        for (char& byte : term) byte = byte == '*' ? safetyclf::policy::kAnyRun : byte;
        for (char& byte : term) byte = byte == '?' ? safetyclf::policy::kAnyOne : byte;
        folded.push_back(term);
    }
    std::vector<Term> list;
    for (const std::string& term : folded) list.push_back({term, mode});
    std::vector<std::uint8_t> flags;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool now = text[i] != ' ', before = i > 0 && text[i - 1] != ' ';
        flags.push_back(static_cast<std::uint8_t>((now ? safetyclf::policy::kInWord : 0) |
                                                  (now && before ? 0 : safetyclf::policy::kBoundary)));
    }
    Work done;
    std::vector<TermMatch> out;
    TermMatcher(list).find(text, flags, out, [&](std::size_t steps) { done.steps += steps; });
    done.matches = out.size();
    return done;
}

// Twice the text, at most twice the steps; and never more than the contract says.
void test_work_is_linear() {
    struct Case {
        std::vector<std::string> terms;
        std::string part, end;
    };
    std::vector<std::string> nested, stars;
    for (std::size_t i = 1; i <= 40; ++i) nested.push_back(std::string(i, 'a'));
    for (char c = 'b'; c <= 'z'; ++c) stars.push_back(std::string("a*") + c);
    const std::vector<Case> cases{
        {{"a*b"}, "a", ""},                          // one word, no end
        {{"*a*b*"}, "a", ""},                        //
        {{"*a"}, "a", "b"},                          // many places for the literal, none at the end
        {{"*ab*c"}, "ab", " c"},                     //
        {{"a*aaaaaaaab"}, "a", ""},                  // a literal that nearly fits everywhere
        {{"?????a"}, "a", ""},                       //
        {{"a????????b"}, "a", ""},                   //
        {{"a* a* a* a* a* b"}, "a ", ""},            // through many words
        {{"a*a*a*a*a*a*a*a*a*b"}, "a", ""},          // where backtracking would be exponential
        {{"a*a*a* a*a*a* a*a*b"}, "aaaaaaaa ", ""},  //
        {nested, "a", ""},                           // terms inside each other
        {stars, "a", ""},                            // terms with the same literal part
        {{"aaaaaaaaaaaaaaab", "aaaaaaaab"}, "aaaaaaaaaaaaaac", ""},  // falling back along suffixes
    };
    for (const Case& c : cases) {
        std::size_t pattern_bytes = 0;
        for (const std::string& term : c.terms) pattern_bytes += term.size() + 1;
        for (const TermMode mode : {TermMode::word, TermMode::anywhere, TermMode::text}) {
            const std::string once = repeated(c.part, 5000) + c.end, twice = repeated(c.part, 10000) + c.end;
            const std::size_t small = work(c.terms, mode, once).steps,
                              large = work(c.terms, mode, twice).steps;
            CHECK(large <= 2 * small + small / 100 + 100);
            CHECK(large <= twice.size() * (2 + 2 * pattern_bytes));
        }
    }
}

void test_cost_of_text_without_matches() {
    std::vector<std::string> terms;
    for (int i = 0; i < 50000; ++i) terms.push_back(std::to_string(i * 7919L) + "*q");
    const std::string text = repeated("plain words without any of them ", 1000);
    CHECK(work(terms, TermMode::word, text).steps <= 2 * text.size());
}

// The steps are told while they are made, so that a search can be stopped.
void test_stop() {
    const std::string text(1 << 20, 'a');
    const std::vector<std::uint8_t> flags(text.size(), safetyclf::policy::kInWord);
    const std::vector<Term> terms{{"b", TermMode::word}};
    std::vector<TermMatch> out;
    std::size_t told = 0;
    bool stopped = false;
    try {
        TermMatcher(terms).find(text, flags, out, [&](std::size_t) {
            if (++told == 3) throw safetyclf::Error(safetyclf::ErrorCode::cancelled, "");
        });
    } catch (const safetyclf::Error&) {
        stopped = true;
    }
    CHECK(stopped && told == 3);
}

void test_the_same_finds_at_any_size() {
    CHECK(work({"*ab"}, TermMode::word, repeated("ab", 1000)).matches == 1);
    CHECK(work({"*ab"}, TermMode::anywhere, repeated("ab", 1000)).matches == 1000);
    CHECK(work({"a*b"}, TermMode::anywhere, repeated("ab", 1000)).matches == 1000);
    CHECK(work({"a"}, TermMode::text, "a").matches == 1);
}

}  // namespace

int main() {
    test_work_is_linear();
    test_cost_of_text_without_matches();
    test_stop();
    test_the_same_finds_at_any_size();
    return 0;
}
