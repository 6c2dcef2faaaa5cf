#include "bert.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "unicode_tables.hpp"
#include "utf8.hpp"

namespace safetyclf::text {
namespace {

// Classes of bytes that do not simply continue a word.
constexpr std::uint8_t kByteSpace = 0x80;
constexpr std::uint8_t kBytePunctuation = 0x81;
constexpr std::uint8_t kByteOther = 0x82;  // not ASCII, or a control character: WordScanner's business

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
    bytes_.fill(kByteOther);
    for (std::uint32_t code = 0; code < kAscii; ++code) {
        const std::uint16_t action = tables::action(code);
        const char byte = static_cast<char>(code);
        if (action == tables::kSpace) bytes_[code] = kByteSpace;
        if (action == tables::kKeep) bytes_[code] = static_cast<std::uint8_t>(code);
        if (action >= tables::kFirstMapping)
            bytes_[code] = static_cast<std::uint8_t>(lowercase ? mapping(action).bytes[0] : byte);
        if (action == tables::kPunctuation) {
            bytes_[code] = kBytePunctuation;
            const std::int32_t id = vocabulary.find_short(code, 0);
            punctuation_ids_[code] = id < 0 ? vocabulary.unknown_id() : id;
        }
    }
}

void BertEncoder::encode(std::string_view text, const PieceSink& sink, StopPoints& stop) const {
    WordScanner scanner(*this, text, sink, stop);
    for (std::size_t position = 0; position < text.size();) {
        const std::size_t part = std::min(kStopInterval, text.size() - position);
        stop.pass(part);
        position = encode_part(text, static_cast<std::uint32_t>(position),
                               static_cast<std::uint32_t>(position + part), scanner, sink);
    }
}

std::uint32_t BertEncoder::encode_part(std::string_view text, std::uint32_t position, std::uint32_t end,
                                       WordScanner& scanner, const PieceSink& sink) const {
    const auto size = static_cast<std::uint32_t>(text.size());
    const auto byte_at = [&](std::uint32_t i) { return static_cast<std::uint8_t>(text[i]); };
    while (position < end) {
        const std::uint8_t first = bytes_[byte_at(position)];
        if (first == kByteSpace) {
            ++position;
            continue;
        }
        if (first == kBytePunctuation) {
            sink.add(punctuation_ids_[byte_at(position)], {position, position + 1});
            ++position;
            continue;
        }
        // A word of ASCII letters and digits is read here; any other one goes to the scanner from its start.
        std::array<char, kMaxWordCharacters> word;
        std::memset(word.data(), 0, WordPiece::kShortWord);
        std::uint32_t length = 0;
        std::uint8_t next = first;
        while (next < kAscii && length < kMaxWordCharacters) {
            word[length] = static_cast<char>(next);
            ++length;
            next = position + length < size ? bytes_[byte_at(position + length)] : kByteSpace;
        }
        if (next < kAscii || next == kByteOther) {
            position = scanner.scan(position);
            continue;
        }
        if (length <= WordPiece::kShortWord) {
            const std::int32_t id =
                vocabulary_.find_short(load_little_endian(word.data()), load_little_endian(word.data() + 8));
            if (id >= 0) {
                sink.add(id, {position, position + length});
                position += length;
                continue;
            }
        }
        WordPieces pieces;
        vocabulary_.split(word.data(), length, pieces);
        if (pieces.size == 0) sink.add(vocabulary_.unknown_id(), {position, position + length});
        std::uint32_t begin = position;
        for (std::size_t i = 0; i < pieces.size; ++i) {
            const std::uint32_t piece_end = position + pieces.ends[i];
            sink.add(pieces.ids[i], {begin, piece_end});
            begin = piece_end;
        }
        position += length;
    }
    return position;
}

}  // namespace safetyclf::text
