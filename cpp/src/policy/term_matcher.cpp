#include "policy/term_matcher.hpp"

#include <algorithm>
#include <unordered_map>

#include "safetyclf/error.hpp"

namespace safetyclf::policy {

TermMatcher::TermMatcher(std::span<const Term> terms) {
    const std::string_view kWildcards("\xFF\xFE");
    std::vector<Literal> literals;
    const auto refuse = [&](const std::string& problem) {
        throw Error(ErrorCode::invalid_argument, "term " + std::to_string(entries_.size()) + ": " + problem);
    };
    wildcards_.push_back({false, 0, {}});
    for (const auto& [text, mode] : terms) {
        if (text.empty()) refuse("nothing is left of it after normalisation");
        if (text.size() > kMaxTermBytes) refuse("more than " + std::to_string(kMaxTermBytes) + " bytes");
        const std::size_t begin = text.find_first_not_of(kWildcards);
        if (begin == text.npos) refuse("only wildcards");
        const std::size_t size = std::min(text.find_first_of(kWildcards, begin), text.size()) - begin;
        literals.emplace_back(text.substr(begin, size), entries_.size());
        entries_.push_back({static_cast<std::uint32_t>(size), 0, mode});
        if (size == text.size()) continue;
        const auto ones = std::count(text.data(), text.data() + begin, kAnyOne);
        entries_.back().wildcards = static_cast<std::uint32_t>(wildcards_.size());
        wildcards_.push_back({text.find(kAnyRun) < begin, static_cast<std::uint32_t>(ones),
                              std::string(text.substr(begin + size))});
    }
    build(literals);
}

void TermMatcher::build(std::vector<Literal>& literals) {
    std::sort(literals.begin(), literals.end());
    // Level by level: the literals below a node are neighbours, and those that end there come first.
    using Range = std::pair<std::size_t, std::size_t>;
    std::vector<Range> level{{0, literals.size()}}, next;
    labels_ = '\0';
    const auto add_node = [this] {
        nodes_.push_back(
            {static_cast<std::uint32_t>(labels_.size()), static_cast<std::uint32_t>(terms_.size()), 0, 0});
    };
    for (std::size_t depth = 0; !level.empty(); ++depth, level.swap(next), next.clear()) {
        for (auto [at, end] : level) {
            add_node();
            for (; at < end && literals[at].first.size() == depth; ++at)
                terms_.push_back(literals[at].second);
            while (at < end) {
                const std::size_t begin = at;
                const char label = literals[at].first[depth];
                while (at < end && literals[at].first[depth] == label) ++at;
                next.emplace_back(begin, at);
                labels_ += label;
            }
        }
    }
    add_node();
    nodes_.shrink_to_fit();
    for (std::uint32_t c = nodes_[0].first_child; c < nodes_[1].first_child; ++c)
        from_root_[static_cast<std::uint8_t>(labels_[c])] = c;
    for (std::uint32_t n = 1; n + 1 < nodes_.size(); ++n) {
        for (std::uint32_t c = nodes_[n].first_child; c < nodes_[n + 1].first_child; ++c) {
            std::uint32_t fail = nodes_[n].fail, to = child(fail, labels_[c]);
            while (to == 0 && fail != 0) to = child(fail = nodes_[fail].fail, labels_[c]);
            nodes_[c].fail = to;
            nodes_[c].link = has_terms(to) ? to : nodes_[to].link;
        }
    }
}

// 0 if there is none: the root is nobody's child.
std::uint32_t TermMatcher::child(std::uint32_t node, char label) const noexcept {
    if (node == 0) return from_root_[static_cast<std::uint8_t>(label)];
    for (std::uint32_t c = nodes_[node].first_child; c < nodes_[node + 1].first_child; ++c)
        if (labels_[c] == label) return c;
    return 0;
}

struct TermMatcher::Search {
    static constexpr std::size_t kReportedSteps = 4096;
    // Of one term: where its last match ended, and where the word ends in which its `*` led nowhere.
    struct Progress {
        std::size_t matched = 0, failed = 0;
    };

    const TermMatcher& matcher;
    const std::string_view text;
    const std::span<const std::uint8_t> flags;
    std::vector<TermMatch>& out;
    const std::function<void(std::size_t)>& pass;
    std::unordered_map<std::uint32_t, Progress> progress{};
    std::size_t steps = 0;

    void run() {
        const std::vector<Node>& nodes = matcher.nodes_;
        std::uint32_t node = 0;
        for (std::size_t at = 0; at < text.size(); ++at) {
            std::uint32_t to = 0;
            while (count(), to = matcher.child(node, text[at]), to == 0 && node != 0) node = nodes[node].fail;
            node = to;
            for (std::uint32_t n = matcher.has_terms(node) ? node : nodes[node].link; n != 0;
                 n = nodes[n].link)
                for (std::uint32_t i = nodes[n].first_term; i < nodes[n + 1].first_term; ++i)
                    look_at(matcher.terms_[i], at + 1);
        }
        pass(steps);
    }

    void count() {
        if (++steps < kReportedSteps) return;
        pass(steps);
        steps = 0;
    }

    [[nodiscard]] bool in_word(std::size_t at) const {
        return at < text.size() && (flags[at] & kInWord) != 0;
    }
    [[nodiscard]] static bool continues_character(char byte) {
        return (static_cast<std::uint8_t>(byte) & 0xC0) == 0x80;
    }
    // Behind the character at `at`.
    [[nodiscard]] std::size_t after(std::size_t at) {
        do count();
        while (++at < text.size() && continues_character(text[at]));
        return at;
    }
    // Whether a term may begin (`edge` is 0) or end (`edge` is the text's size) there.
    [[nodiscard]] bool may_stand(TermMode mode, std::size_t at, std::size_t edge) const {
        if (mode == TermMode::text) return at == edge;
        return mode == TermMode::anywhere || at == 0 || at == text.size() || (flags[at] & kBoundary) != 0;
    }

    // The literal part of `term` ends at `end`.
    void look_at(std::uint32_t term, std::size_t end) {
        count();
        const Entry& entry = matcher.entries_[term];
        std::size_t begin = end - entry.literal_bytes;
        const Wildcards& around = matcher.wildcards_[entry.wildcards];
        for (std::uint32_t ones = around.ones_before; ones > 0; --ones) {
            do {
                count();
                if (begin == 0 || !in_word(--begin)) return;
            } while (continues_character(text[begin]));
        }
        if (!around.run_before && !may_stand(entry.mode, begin, 0)) return;
        const std::string_view rest = around.rest;
        const std::size_t star = rest.find(kAnyRun);
        if (!match(rest.substr(0, star), end)) return;
        if (star == rest.npos && !may_stand(entry.mode, end, text.size())) return;
        Progress& so_far = progress[term];
        // What a later begin in the same word could reach, the first `*` behind it has reached from here.
        if (begin < so_far.matched || end <= so_far.failed) return;
        const std::size_t run = end;
        bool found = star == rest.npos || match_runs(rest.substr(star + 1), end, entry.mode);
        for (; found && !may_stand(entry.mode, begin, 0); --begin) {
            count();
            found = begin > so_far.matched && in_word(begin - 1);
        }
        if (found) {
            so_far.matched = end;
            out.push_back({term, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
        } else if (star != rest.npos) {
            for (so_far.failed = run; in_word(so_far.failed); ++so_far.failed) count();
        }
    }

    // `at` moves to where `pattern`, which has no `*`, ends if it begins there.
    bool match(std::string_view pattern, std::size_t& at) {
        for (const char wanted : pattern) {
            count();
            if (at == text.size() || (wanted == kAnyOne ? !in_word(at) : text[at] != wanted)) return false;
            at = wanted == kAnyOne ? after(at) : at + 1;
        }
        return true;
    }

    // The part of a term behind its first `*`. The nearest place for each literal is enough: whatever can be
    // reached at all can be reached from there, as `*` stands for any run.
    bool match_runs(std::string_view pattern, std::size_t& at, TermMode mode) {
        for (;;) {
            const std::size_t star = pattern.find(kAnyRun);
            std::size_t end = at;
            for (; !match(pattern.substr(0, star), end) ||
                   (star == pattern.npos && !may_stand(mode, end, text.size()));
                 end = at = after(at))
                if (!in_word(at)) return false;
            at = end;
            if (star == pattern.npos) return true;
            pattern.remove_prefix(star + 1);
        }
    }
};

void TermMatcher::find(std::string_view text, std::span<const std::uint8_t> flags,
                       std::vector<TermMatch>& out, const std::function<void(std::size_t)>& pass) const {
    Search{*this, text, flags, out, pass}.run();
}

}  // namespace safetyclf::policy
