// WordPiece: cuts one word into the longest vocabulary entries, from left to right.
//
// Contract: immutable after construction, thread-safe. split() does not allocate. A word has at most
// kMaxWordCharacters characters, and a failed match restarts behind the last piece, so that the cost of a
// word is at most its length times the length of the longest token: linear in the text whatever the text is.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace safetyclf::text {

inline constexpr std::size_t kMaxWordCharacters = 100;  // longer words are one [UNK]
inline constexpr std::size_t kMaxWordBytes = 4 * kMaxWordCharacters;

// The pieces of one word. Piece i is ids[i] and covers the bytes from ends[i - 1] (0 for the first) up to
// ends[i].
struct WordPieces {
    std::array<std::int32_t, kMaxWordCharacters> ids;
    std::array<std::uint16_t, kMaxWordCharacters> ends;
    std::size_t size;
};

class WordPiece {
public:
    // `vocabulary`: tokens in id order, separated by '\n' (one more '\n' at the end is allowed). Tokens that
    // start with "##" continue a word. Throws Error(model_format) for an empty, repeated or ill-formed token
    // or a missing special token.
    explicit WordPiece(std::string_view vocabulary);

    // Id of a whole word of up to kShortWord bytes, -1 if it is not in the vocabulary. `low` and `high` are
    // the word's bytes 0-7 and 8-15, little-endian, padded with zeros. Most words of real text end here.
    [[nodiscard]] std::int32_t find_short(std::uint64_t low, std::uint64_t high) const noexcept {
        for (std::size_t slot = short_word_slot(low, high);; slot = (slot + 1) & (short_ids_.size() - 1)) {
            const std::int32_t id = short_ids_[slot];
            if (id < 0) return -1;
            const ShortWord& word = short_words_[static_cast<std::size_t>(id)];
            if (word.low == low && word.high == high) return id;
        }
    }

    // Cuts a word of `size` bytes, 1 to kMaxWordBytes, of well-formed UTF-8. No pieces: the word cannot be
    // cut ([UNK]).
    void split(const char* word, std::size_t size, WordPieces& pieces) const noexcept;

    // The trie, byte by byte. A walk starts at word_root() or, for tokens with "##", at continuation_root();
    // step() returns false, leaving `node`, where no token goes on like this; token() is the id of the token
    // that ends at a node, -1 if none does.
    [[nodiscard]] std::uint32_t word_root() const noexcept { return word_root_; }
    [[nodiscard]] std::uint32_t continuation_root() const noexcept { return continuation_root_; }
    [[nodiscard]] bool step(std::uint32_t& node, char byte) const noexcept {
        const std::uint32_t child = units_[node].base ^ static_cast<std::uint8_t>(byte);
        if (units_[child].parent != node) return false;
        node = child;
        return true;
    }
    [[nodiscard]] std::int32_t token(std::uint32_t node) const noexcept { return units_[node].token; }
    // The first id of a word of at least two small ASCII letters: in a vocabulary sorted by frequency, as
    // BERT's are behind their single characters, the most frequent word. 0 if there is none.
    [[nodiscard]] std::int32_t first_word_id() const noexcept { return first_word_id_; }

    [[nodiscard]] std::size_t vocabulary_size() const noexcept { return vocabulary_size_; }
    // Whether the token starts with "##": the word before it goes on.
    [[nodiscard]] bool continues_word(std::int32_t id) const noexcept {
        return continues_word_[static_cast<std::size_t>(id)];
    }
    [[nodiscard]] std::int32_t unknown_id() const noexcept { return unknown_id_; }
    [[nodiscard]] std::int32_t start_id() const noexcept { return start_id_; }
    [[nodiscard]] std::int32_t end_id() const noexcept { return end_id_; }

    static constexpr std::size_t kShortWord = 16;

private:
    static constexpr std::uint32_t kNoParent = UINT32_MAX;  // a free cell or a root

    // Double-array trie: the child of a node for byte b is units_[base ^ b], if that says so itself.
    struct Unit {
        std::uint32_t base = 0;
        std::uint32_t parent = kNoParent;
        std::int32_t token = -1;  // id of the token that ends here, -1 if none
    };
    struct ShortWord {
        std::uint64_t low = 0;
        std::uint64_t high = 0;
    };

    class TrieBuilder;

    void add_short_word(std::string_view word, std::int32_t id) noexcept;
    [[nodiscard]] std::size_t short_word_slot(std::uint64_t low, std::uint64_t high) const noexcept {
        // Multiplicative hashing; the constants are odd and otherwise arbitrary.
        const std::uint64_t mixed = (low ^ std::rotl(high * 0x9E3779B97F4A7C15U, 32)) * 0xD6E8FEB86659FD93U;
        return static_cast<std::size_t>(mixed >> short_shift_);
    }

    std::vector<Unit> units_;
    std::uint32_t word_root_ = 0;
    std::uint32_t continuation_root_ = 0;
    // Open addressing, -1 is a free slot. The words are kept by id: in a vocabulary sorted by frequency those
    // that a text is made of are neighbours.
    std::vector<std::int32_t> short_ids_;
    std::vector<ShortWord> short_words_;
    int short_shift_ = 63;
    std::size_t vocabulary_size_ = 0;
    std::vector<bool> continues_word_;
    std::int32_t first_word_id_ = 0;
    std::int32_t unknown_id_ = -1;
    std::int32_t start_id_ = -1;
    std::int32_t end_id_ = -1;
};

}  // namespace safetyclf::text
