#include "bert.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "unicode_tables.hpp"
#include "utf8.hpp"

namespace safetyclf::text {
namespace {

// What a byte outside words is, if not a punctuation mark, which is its id.
constexpr std::int32_t kSpace = -1;
constexpr std::int32_t kOther = -2;  // not ASCII, or a control character: WordScanner's business

constexpr std::uint32_t kHangulFirst = 0xAC00;
constexpr std::uint32_t kHangulLeading = 0x1100;
constexpr std::uint32_t kHangulVowel = 0x1161;
constexpr std::uint32_t kHangulTrailing = 0x11A7;  // one before the first: index 0 is "none"
constexpr std::uint32_t kHangulVowels = 21;
constexpr std::uint32_t kHangulTrailings = 28;

std::uint64_t load_little_endian(const char* bytes) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, sizeof value);
    if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
    return value;
}

void store_little_endian(std::uint64_t value, char* bytes) noexcept {
    if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
    std::memcpy(bytes, &value, sizeof value);
}

// The top bit of every byte that is no ASCII letter or digit. No addition carries into the next byte.
std::uint64_t word_ends(std::uint64_t bytes) noexcept {
    constexpr std::uint64_t kOnes = 0x0101010101010101U;
    constexpr std::uint64_t kTop = kOnes * 0x80;
    const auto is_in = [](std::uint64_t low_bits, char first, char last) {
        const auto at_least = [](int value) { return kOnes * static_cast<std::uint64_t>(0x80 - value); };
        return (low_bits + at_least(first)) & ~(low_bits + at_least(last + 1));
    };
    const std::uint64_t low_bits = bytes & ~kTop;
    return (~(is_in(low_bits | kOnes * 0x20, 'a', 'z') | is_in(low_bits, '0', '9')) | bytes) & kTop;
}

struct Mapping {
    std::uint8_t flags;
    std::string_view bytes;
};

Mapping mapping(std::uint16_t action) noexcept {
    const char* const record = tables::kMappings + (action - tables::kFirstMapping);
    return {static_cast<std::uint8_t>(record[0]), {record + 2, static_cast<std::uint8_t>(record[1])}};
}

}  // namespace

// Reads one word that contains something else than plain ASCII, character by character, and emits its pieces.
class BertEncoder::WordScanner {
public:
    WordScanner(const BertEncoder& encoder, std::string_view text, const PieceSink& sink, StopPoints& stop)
        : encoder_(encoder), text_(text), sink_(sink), stop_(stop) {}

    // Emits the first word at or after `position`, which is not inside a word. Returns the position behind
    // what it read, at least position + 1.
    std::uint32_t scan(std::uint32_t position) {
        run_begin_ = position;
        word_bytes_ = word_characters_ = 0;
        while (position < text_.size()) {
            const Character character = read(position);
            if (ends_word(character)) {
                flush();
                if (is_word_alone(character)) {
                    // Emitted as a word of its own; nothing precedes it now.
                    add(character);
                    flush();
                }
                return character.range.end;
            }
            position = add(character);
        }
        flush();
        return position;
    }

private:
    struct Character {
        std::uint32_t code;
        std::uint16_t action;
        ByteRange range;
    };

    Character read(std::uint32_t position) const {
        const char* const begin = text_.data() + position;
        const Decoded decoded = decode(begin, text_.data() + text_.size());
        stop_.pass(decoded.length);
        return {decoded.code, tables::action(decoded.code), {position, position + decoded.length}};
    }

    bool is_word_alone(const Character& character) const {
        if (character.action == tables::kPunctuation || character.action == tables::kCjkWord) return true;
        if (character.action < tables::kFirstMapping) return false;
        const std::uint8_t punctuation =
            encoder_.lowercase_ ? tables::kMapsToPunctuation : tables::kWasPunctuation;
        return (mapping(character.action).flags & (punctuation | tables::kMapsToCjk)) != 0;
    }

    bool ends_word(const Character& character) const {
        return character.action == tables::kSpace || is_word_alone(character);
    }

    // Appends what the character becomes, and all that canonical ordering could move past it. Returns the
    // position behind.
    std::uint32_t add(const Character& character) {
        const std::uint32_t end = character.range.end;
        if (character.action == tables::kDrop) return end;
        if (!encoder_.lowercase_) {
            append(text_.substr(character.range.begin, end - character.range.begin), character.range);
            return end;
        }
        switch (character.action) {
            case tables::kOrderedMark:
                return end;
            case tables::kOrderedLetter:
                return add_ordered_run({}, character.range);
            case tables::kMark:
                break;
            case tables::kHangulSyllable:
                add_hangul(character);
                break;
            case tables::kKeep:
            case tables::kPunctuation:
            case tables::kCjkWord:
                append(text_.substr(character.range.begin, end - character.range.begin), character.range);
                break;
            default: {
                const Mapping mapped = mapping(character.action);
                run_begin_ = end;
                if ((mapped.flags & tables::kOrderedTail) != 0)
                    return add_with_tail(mapped.bytes, character.range);
                add_all(mapped.bytes, character.range);
            }
        }
        run_begin_ = end;
        return end;
    }

    void add_hangul(const Character& character) {
        const std::uint32_t index = character.code - kHangulFirst;
        const std::uint32_t trailing = index % kHangulTrailings;
        const std::uint32_t vowel = index / kHangulTrailings % kHangulVowels;
        append_code(kHangulLeading + index / kHangulTrailings / kHangulVowels, character.range);
        append_code(kHangulVowel + vowel, character.range);
        if (trailing != 0) append_code(kHangulTrailing + trailing, character.range);
    }

    // Appends every character of `bytes`, which is well-formed.
    void add_all(std::string_view bytes, ByteRange range) {
        while (!bytes.empty()) {
            const Decoded decoded = decode(bytes.data(), bytes.data() + bytes.size());
            append(bytes.substr(0, decoded.length), range);
            bytes.remove_prefix(decoded.length);
        }
    }

    std::uint32_t add_with_tail(std::string_view bytes, ByteRange range) {
        const std::uint32_t first = decode(bytes.data(), bytes.data() + bytes.size()).length;
        append(bytes.substr(0, first), range);
        return add_ordered_run(bytes.substr(first), range);
    }

    // Canonical ordering sorts a run of characters with combining class > 0 by that class. Hugging Face sorts
    // the characters but not where they came from: the k-th character of the sorted run gets the range of the
    // k-th character that was read (one that a decomposition inserted gets the range of the character before
    // it). The run goes from run_begin_ to the next character of class 0; `tail` is the inserted part in
    // front of it, `owner` the range of the character that it came from. The marks of a run are dropped, so
    // only letters are appended, one class after the other: nothing is stored, and the run is read once for
    // each of the few classes that letters have.
    std::uint32_t add_ordered_run(std::string_view tail, ByteRange owner) {
        std::array<std::uint32_t, 256> sources{};  // characters read, by class
        std::array<bool, 256> has_letter{};
        for (std::string_view rest = tail; !rest.empty();) {
            const Decoded decoded = decode(rest.data(), rest.data() + rest.size());
            has_letter[tables::combining_class(decoded.code)] = true;
            rest.remove_prefix(decoded.length);
        }
        std::uint32_t end = run_begin_;
        while (end < text_.size()) {
            const Character character = read(end);
            if (character.action != tables::kDrop) {
                const std::uint8_t order = tables::combining_class(character.code);
                if (order == 0) break;
                ++sources[order];
                if (character.action == tables::kOrderedLetter) has_letter[order] = true;
            }
            end = character.range.end;
        }

        SourceCursor cursor{*this, run_begin_, owner, 0};
        std::uint32_t rank = 0;  // characters read that sort before the current one
        for (std::size_t order = 1; order < sources.size(); ++order) {
            if (!has_letter[order]) {
                rank += sources[order];
                continue;
            }
            for (std::string_view rest = tail; !rest.empty();) {
                const Decoded decoded = decode(rest.data(), rest.data() + rest.size());
                if (tables::combining_class(decoded.code) == order)
                    append(rest.substr(0, decoded.length), cursor.advance_to(rank));
                rest.remove_prefix(decoded.length);
            }
            for (std::uint32_t position = run_begin_; position < end;) {
                const Character character = read(position);
                position = character.range.end;
                if (character.action == tables::kDrop || tables::combining_class(character.code) != order)
                    continue;
                ++rank;
                if (character.action != tables::kOrderedLetter) continue;
                const ByteRange range = character.range;
                append(text_.substr(range.begin, range.end - range.begin), cursor.advance_to(rank));
            }
        }
        run_begin_ = end;
        return end;
    }

    // Finds the n-th character that was read in a run, for growing n; number 0 is the one in front of the
    // run.
    struct SourceCursor {
        const WordScanner& scanner;
        std::uint32_t position;
        ByteRange range;
        std::uint32_t number;

        ByteRange advance_to(std::uint32_t wanted) {
            while (number < wanted) {
                const Character character = scanner.read(position);
                position = character.range.end;
                if (character.action == tables::kDrop) continue;
                range = character.range;
                ++number;
            }
            return range;
        }
    };

    void append_code(std::uint32_t code, ByteRange range) {
        std::array<char, 4> bytes;
        append({bytes.data(), encode_utf8(code, bytes.data())}, range);
    }

    // Appends one character to the word. Of a word that is too long only the last range is kept.
    void append(std::string_view bytes, ByteRange range) {
        if (++word_characters_ > kMaxWordCharacters) {
            last_range_ = range;
            return;
        }
        for (const char byte : bytes) {
            word_[word_bytes_] = byte;
            ranges_[word_bytes_] = range;
            ++word_bytes_;
        }
    }

    void flush() {
        if (word_characters_ == 0) return;
        const WordPiece& vocabulary = encoder_.vocabulary_;
        if (word_characters_ > kMaxWordCharacters) {
            sink_.add(vocabulary.unknown_id(), {ranges_[0].begin, last_range_.end});
        } else {
            WordPieces pieces;
            vocabulary.split(word_.data(), word_bytes_, pieces);
            if (pieces.size == 0)
                sink_.add(vocabulary.unknown_id(), {ranges_[0].begin, ranges_[word_bytes_ - 1].end});
            std::size_t begin = 0;
            for (std::size_t i = 0; i < pieces.size; ++i) {
                const std::size_t end = pieces.ends[i];
                sink_.add(pieces.ids[i], {ranges_[begin].begin, ranges_[end - 1].end});
                begin = end;
            }
        }
        word_bytes_ = word_characters_ = 0;
    }

    const BertEncoder& encoder_;
    std::string_view text_;
    const PieceSink& sink_;
    StopPoints& stop_;
    std::uint32_t run_begin_ = 0;  // behind the last character of combining class 0
    std::array<char, kMaxWordBytes> word_;
    std::array<ByteRange, kMaxWordBytes> ranges_;  // of the character that a byte of word_ came from
    std::size_t word_bytes_ = 0;
    std::size_t word_characters_ = 0;
    ByteRange last_range_{};
};

BertEncoder::BertEncoder(const WordPiece& vocabulary, bool lowercase)
    : vocabulary_(vocabulary), lowercase_(lowercase) {
    single_ids_.fill(kOther);
    for (std::uint32_t code = 0; code < 0x80; ++code) {
        const std::uint16_t action = tables::action(code);
        if (action == tables::kSpace) single_ids_[code] = kSpace;
        if (action != tables::kPunctuation) continue;
        const std::int32_t id = vocabulary.find_short(code, 0);
        single_ids_[code] = id < 0 ? vocabulary.unknown_id() : id;
    }
}

void BertEncoder::encode(std::string_view text, const PieceSink& sink, StopPoints& stop) const {
    constexpr std::uint32_t kWide = WordPiece::kShortWord;  // bytes looked at together, and one behind them
    const std::uint64_t case_bit = lowercase_ ? 0x2020202020202020U : 0;  // digits have it anyway
    const auto size = static_cast<std::uint32_t>(text.size());
    WordScanner scanner(*this, text, sink, stop);
    std::array<char, 2 * kWide> tail;
    for (std::uint32_t position = 0; position < size;) {
        // The last bytes of the text are read from a copy with blanks behind it.
        const std::uint32_t begin = position;
        const std::uint32_t left = size - begin;
        const char* source = text.data() + begin;
        std::uint32_t part = left - std::min(left, kWide);
        if (part == 0) {
            part = left;
            tail.fill(' ');
            std::copy(source, source + left, tail.begin());
            source = tail.data();
        }
        part = std::min(part, static_cast<std::uint32_t>(kStopInterval));
        stop.pass(part);
        while (position - begin < part) {
            const char* const bytes = source + (position - begin);
            std::uint64_t low = load_little_endian(bytes);
            std::uint64_t high = load_little_endian(bytes + 8);
            const std::uint64_t low_ends = word_ends(low);
            const std::uint64_t high_ends = word_ends(high);
            // Without branches: how long a word is cannot be predicted.
            const auto low_bits = static_cast<std::uint32_t>(std::countr_zero(low_ends));
            const auto high_bits = static_cast<std::uint32_t>(std::countr_zero(high_ends));
            const std::uint32_t goes_on = -(low_bits >> 6);  // past the lower half
            const std::uint32_t length = (low_bits + (high_bits & goes_on)) / 8;
            const std::int32_t next = single_ids_[static_cast<std::uint8_t>(bytes[length])];
            if (next == kOther || length == kWide) {
                position = scanner.scan(position);
                continue;
            }
            if (length > 0) {
                // The bits below the lowest one, where the word ends.
                low = (low | case_bit) & (((low_ends & -low_ends) >> 7) - 1);
                high =
                    (high | case_bit) & (((high_ends & -high_ends) >> 7) - 1) & -std::uint64_t{goes_on & 1};
                add_word(low, high, {position, position + length}, sink);
                position += length;
            }
            if (next != kSpace) sink.add(next, {position, position + 1});
            ++position;
        }
        if (part == left) return;  // position may be that of a blank of `tail`
    }
}

void BertEncoder::add_word(std::uint64_t low, std::uint64_t high, ByteRange range,
                           const PieceSink& sink) const {
    const std::int32_t id = vocabulary_.find_short(low, high);
    if (id >= 0) return sink.add(id, range);
    std::array<char, WordPiece::kShortWord> word;
    store_little_endian(low, word.data());
    store_little_endian(high, word.data() + 8);
    WordPieces pieces;
    vocabulary_.split(word.data(), range.end - range.begin, pieces);
    if (pieces.size == 0) sink.add(vocabulary_.unknown_id(), range);
    std::uint32_t begin = range.begin;
    for (std::size_t i = 0; i < pieces.size; ++i) {
        const std::uint32_t end = range.begin + pieces.ends[i];
        sink.add(pieces.ids[i], {begin, end});
        begin = end;
    }
}

}  // namespace safetyclf::text
