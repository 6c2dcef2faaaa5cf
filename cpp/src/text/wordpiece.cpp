#include "wordpiece.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "safetyclf/error.hpp"
#include "utf8.hpp"

namespace safetyclf::text {
namespace {

struct Token {
    std::string_view text;
    std::int32_t id;
    std::uint64_t first_bytes;  // the first eight bytes as a big-endian number: most comparisons end there
};

bool operator<(const Token& a, const Token& b) {
    return a.first_bytes != b.first_bytes ? a.first_bytes < b.first_bytes : a.text < b.text;
}

Token make_token(std::string_view text, std::int32_t id) {
    std::uint64_t first_bytes = 0;
    for (std::size_t i = 0; i < 8; ++i)
        first_bytes = first_bytes << 8 | (i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0U);
    return {text, id, first_bytes};
}

[[noreturn]] void refuse(std::size_t id, const char* reason) {
    throw Error(ErrorCode::model_format, "vocabulary: token " + std::to_string(id) + " " + reason);
}

void check_token(std::string_view token, std::size_t id) {
    if (token.empty()) refuse(id, "is empty");
    const char* const end = token.data() + token.size();
    for (const char* next = token.data(); next < end;) {
        const Decoded character = decode(next, end);
        if (!character.well_formed) refuse(id, "is not UTF-8");
        if (character.code == 0) refuse(id, "contains NUL");
        next += character.length;
    }
}

bool is_plain_word(std::string_view token) {
    return token.size() > 1 &&
           std::all_of(token.begin(), token.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

void load_halves(std::string_view word, std::uint64_t& low, std::uint64_t& high) {
    // Byte by byte, not memcpy: the halves must not depend on the byte order of the machine.
    low = high = 0;
    for (std::size_t i = word.size(); i-- > 0;) {
        std::uint64_t& half = i < 8 ? low : high;
        half = half << 8 | static_cast<std::uint8_t>(word[i]);
    }
}

}  // namespace

// Builds the double array from tokens sorted by text.
class WordPiece::TrieBuilder {
public:
    explicit TrieBuilder(std::vector<Unit>& units) : units_(units) {}

    // Returns the root. The root's own cell is reserved, so that no child can land on it.
    std::uint32_t add(const std::vector<Token>& tokens) {
        const std::uint32_t root = free_cell();
        occupy(root);
        if (!tokens.empty()) place(root, tokens.data(), tokens.data() + tokens.size(), 0);
        return root;
    }

private:
    void grow(std::size_t cells) {
        cells = (cells + 255) / 256 * 256;
        if (cells <= units_.size()) return;
        units_.resize(cells);
        used_.resize(cells);
    }

    std::uint32_t free_cell() {
        grow(first_free_ + 1);
        while (used_[first_free_]) grow(++first_free_ + 1);
        return static_cast<std::uint32_t>(first_free_);
    }

    void occupy(std::uint32_t cell) { used_[cell] = true; }

    // A base for which the cells of all labels_ are free. An only child fits everywhere and fills the gaps
    // from the front; siblings look in the last blocks only, or else building would take quadratic time.
    std::uint32_t find_base() {
        std::size_t cell = free_cell();
        if (labels_.size() > 1 && units_.size() > kOpenCells)
            cell = std::max(cell, units_.size() - kOpenCells);
        for (;; ++cell) {
            grow(cell + 1);
            if (used_[cell]) continue;
            const std::uint32_t base = static_cast<std::uint32_t>(cell) ^ labels_[0];
            if (std::none_of(labels_.begin(), labels_.end(),
                             [&](std::uint8_t label) { return used_[base ^ label]; }))
                return base;
        }
    }

    // Places the children of `node`: [first, last) are the tokens that share its prefix of `depth` bytes.
    void place(std::uint32_t node, const Token* first, const Token* last, std::size_t depth) {
        if (first->text.size() == depth) {
            units_[node].token = first->id;
            ++first;
        }
        if (first == last) return;
        labels_.clear();
        for (const Token* token = first; token != last; ++token) {
            const auto label = static_cast<std::uint8_t>(token->text[depth]);
            if (labels_.empty() || labels_.back() != label) labels_.push_back(label);
        }
        const std::uint32_t base = find_base();
        units_[node].base = base;
        for (const std::uint8_t label : labels_) {
            occupy(base ^ label);
            units_[base ^ label].parent = node;
        }
        while (first != last) {  // labels_ is reused from here on
            const char label = first->text[depth];
            const Token* const group = first;
            while (first != last && first->text[depth] == label) ++first;
            place(base ^ static_cast<std::uint8_t>(label), group, first, depth + 1);
        }
    }

    static constexpr std::size_t kOpenCells = 4096;

    std::vector<Unit>& units_;
    std::vector<std::uint8_t> used_;
    std::vector<std::uint8_t> labels_;  // of the children of the node being placed, ascending
    std::size_t first_free_ = 0;
};

WordPiece::WordPiece(std::string_view vocabulary) {
    if (vocabulary.ends_with('\n')) vocabulary.remove_suffix(1);
    std::vector<Token> words;
    std::vector<Token> continuations;
    for (std::size_t begin = 0; begin <= vocabulary.size();) {
        const std::size_t end = std::min(vocabulary.find('\n', begin), vocabulary.size());
        const std::string_view token = vocabulary.substr(begin, end - begin);
        begin = end + 1;
        check_token(token, vocabulary_size_);
        const auto id = static_cast<std::int32_t>(vocabulary_size_++);
        if (token == "[UNK]") unknown_id_ = id;
        if (token == "[CLS]") start_id_ = id;
        if (token == "[SEP]") end_id_ = id;
        if (first_word_id_ == 0 && is_plain_word(token)) first_word_id_ = id;
        const bool continues = token.size() > 2 && token.starts_with("##");
        continues_word_.push_back(continues);
        // A longer token can never match; leaving it out also bounds the depth of the trie.
        if (token.size() > kMaxWordBytes) continue;
        (continues ? continuations : words).push_back(make_token(continues ? token.substr(2) : token, id));
    }
    if (unknown_id_ < 0 || start_id_ < 0 || end_id_ < 0)
        throw Error(ErrorCode::model_format, "vocabulary: [UNK], [CLS] or [SEP] is missing");

    TrieBuilder builder(units_);
    for (auto* tokens : {&words, &continuations}) {
        std::sort(tokens->begin(), tokens->end());
        for (std::size_t i = 1; i < tokens->size(); ++i) {
            if ((*tokens)[i].text != (*tokens)[i - 1].text) continue;
            refuse(static_cast<std::size_t>(std::max((*tokens)[i].id, (*tokens)[i - 1].id)),
                   "is a repetition");
        }
        (tokens == &words ? word_root_ : continuation_root_) = builder.add(*tokens);
    }

    const std::size_t slots = std::bit_ceil(2 * words.size());
    short_shift_ = 64 - std::countr_zero(slots);
    short_words_.resize(vocabulary_size_);
    short_ids_.resize(slots, -1);
    for (const Token& word : words) {
        if (word.text.size() <= kShortWord) add_short_word(word.text, word.id);
    }
}

void WordPiece::add_short_word(std::string_view word, std::int32_t id) noexcept {
    ShortWord& halves = short_words_[static_cast<std::size_t>(id)];
    load_halves(word, halves.low, halves.high);
    std::size_t slot = short_word_slot(halves.low, halves.high);
    while (short_ids_[slot] >= 0) slot = (slot + 1) & (short_ids_.size() - 1);
    short_ids_[slot] = id;
}

void WordPiece::split(const char* word, std::size_t size, WordPieces& pieces) const noexcept {
    pieces.size = 0;
    std::uint32_t root = word_root_;
    for (std::size_t begin = 0; begin < size; root = continuation_root_) {
        std::uint32_t node = root;
        std::int32_t token = -1;
        std::size_t token_end = begin;
        for (std::size_t i = begin; i < size; ++i) {
            if (!step(node, word[i])) break;
            if (units_[node].token >= 0) {
                token = units_[node].token;
                token_end = i + 1;
            }
        }
        if (token < 0) {
            pieces.size = 0;
            return;
        }
        pieces.ids[pieces.size] = token;
        pieces.ends[pieces.size] = static_cast<std::uint16_t>(token_end);
        ++pieces.size;
        begin = token_end;
    }
}

}  // namespace safetyclf::text
