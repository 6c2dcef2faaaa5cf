#include "disguise.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "mapped_text.hpp"

namespace safetyclf::text {
namespace {

// What a byte is to the two rules.
enum ByteClass : std::uint8_t {
    kSolid = 1,    // part of a word: all but blanks and the punctuation marks other than @ and $
    kLetter = 2,   // ASCII letter
    kStandIn = 4,  // 0 1 3 4 5 7 @ $
    kLoose = 8,    // ! | +, which stand for letters only inside a word
    kDigit = 16,
    kForeign = 32,    // not ASCII, or a control character: words that touch one are left alone
    kSeparator = 64,  // may stand between letters that are set apart
};

struct ByteTables {
    std::array<std::uint8_t, 256> classes{};
    std::array<char, 256> letters{};  // the small letter that a letter, stand-in or loose sign means

    constexpr ByteTables() {
        for (std::size_t code = 0; code < classes.size(); ++code) {
            const bool blank = code == ' ' || code == '\t' || code == '\n' || code == '\r';
            if (code >= 0x7F || (code < 0x20 && !blank)) classes[code] = kForeign | kSolid;
            if (code >= '0' && code <= '9') classes[code] = kDigit | kSolid;
        }
        for (char letter = 'a'; letter <= 'z'; ++letter) {
            add(letter, letter, kLetter | kSolid);
            add(static_cast<char>(letter - 'a' + 'A'), letter, kLetter | kSolid);
        }
        constexpr std::string_view kStandIns = "0o1i3e4a5s7t@a$s";
        constexpr std::string_view kLooseSigns = "!i|i+t";
        for (std::size_t i = 0; i < kStandIns.size(); i += 2)
            add(kStandIns[i], kStandIns[i + 1], kStandIn | kSolid);
        for (std::size_t i = 0; i < kLooseSigns.size(); i += 2)
            add(kLooseSigns[i], kLooseSigns[i + 1], kLoose);
        for (const char separator : std::string_view(" .-_*,/|+~")) add(separator, 0, kSeparator);
    }

private:
    constexpr void add(char byte, char letter, std::uint8_t flags) {
        const auto code = static_cast<std::uint8_t>(byte);
        classes[code] = static_cast<std::uint8_t>(classes[code] | flags);
        if (letter != 0) letters[code] = letter;
    }
};

constexpr ByteTables kBytes;

std::uint8_t class_of(char byte) {
    return kBytes.classes[static_cast<std::uint8_t>(byte)];
}

char letter_of(char byte) {
    return kBytes.letters[static_cast<std::uint8_t>(byte)];
}

// The class of text[position]; 0 in front of the text (position wraps round) and behind it.
std::uint8_t class_at(std::string_view text, std::size_t position) {
    return position < text.size() ? class_of(text[position]) : std::uint8_t{0};
}

// --- costs -------------------------------------------------------------------------------------------------

// In units of 1/16 bit. A word of rank r has a probability of about 1 : r, so that its cost is log2(r) and
// something for being a word. The constants were tuned on spelled sentences (docs/text.md).
constexpr std::uint32_t kWordCost = 24;
constexpr std::uint32_t kTwoLettersCost = 24;  // the vocabulary's words of two letters are often none
constexpr std::uint32_t kContinuationCost = 32;
constexpr std::uint32_t kLetterWordCost = 240;  // one letter as a word: like a word of rank 30,000 ...
constexpr std::uint32_t kArticleCost = 16;      // ... but for a and i, which are words
constexpr std::uint32_t kLetterContinuationCost = 120;

// 16 * log2(value), the curve replaced by its chords.
constexpr std::uint32_t log2_sixteenths(std::uint32_t value) {
    const auto exponent = static_cast<std::uint32_t>(std::bit_width(value)) - 1U;
    return 16 * exponent + (static_cast<std::uint32_t>(std::uint64_t{value} << 4 >> exponent) & 15);
}

// --- join_spelled/1 ----------------------------------------------------------------------------------------

// Characters that are words alone, with the same single separator between neighbours: text[first],
// text[first + 2], ... text[last].
struct Row {
    std::size_t first;
    std::size_t last;

    [[nodiscard]] std::size_t size() const { return (last - first) / 2 + 1; }
};

bool is_alone(std::string_view text, std::size_t position) {
    return (class_at(text, position) & (kLetter | kStandIn)) != 0 &&
           ((class_at(text, position - 1) | class_at(text, position + 1)) & kSolid) == 0;
}

// The longest row that begins at `first`, which is alone.
Row read_row(std::string_view text, std::size_t first, StopPoints& stop) {
    std::size_t last = first;
    while ((class_at(text, last + 1) & kSeparator) != 0 && text[last + 1] == text[first + 1] &&
           is_alone(text, last + 2)) {
        stop.pass(2);
        last += 2;
    }
    return {first, last};
}

// True if the character at `position`, an end of a row, belongs to no longer word on its outer side (`step`
// is 1 or -1): behind loose signs and an apostrophe nothing solid follows. fold_leet/1 would take "a|b" for
// one word, and "it's" is one.
bool is_free(std::string_view text, std::size_t position, std::size_t step, StopPoints& stop) {
    position += step;
    while ((class_at(text, position) & kLoose) != 0) {
        stop.pass(1);
        position += step;
    }
    if (position < text.size() && text[position] == '\'') position += step;
    return (class_at(text, position) & kSolid) == 0;
}

// The part of a row that may be spelled words; it has less than two characters if there is none.
Row spelled_part(std::string_view text, Row row, StopPoints& stop) {
    constexpr Row kNone{0, 0};
    constexpr std::size_t kFewest = 3;
    if (row.size() < kFewest) return kNone;
    const bool first_free = is_free(text, row.first, static_cast<std::size_t>(-1), stop);
    const bool last_free = is_free(text, row.last, 1, stop);
    // Where the separator is a loose sign itself, a word that goes on outside might be one with all of the
    // row.
    if ((class_of(text[row.first + 1]) & kLoose) != 0 && !(first_free && last_free)) return kNone;
    if (!first_free) row.first += 2;
    if (!last_free) row.last -= 2;
    std::size_t letters = 0;
    for (std::size_t i = row.first; i <= row.last; i += 2) {
        stop.pass(2);
        letters += (class_of(text[i]) & kLetter) != 0 ? 1 : 0;
    }
    return letters >= kFewest && 2 * letters > row.size() ? row : kNone;
}

// A piece of a word as RuleScratch keeps it: the number of letters, and whether it continues a word.
constexpr std::uint8_t kContinues = 0x80;
static_assert(kMaxWordCharacters < kContinues);

std::size_t piece_size(std::uint8_t piece) {
    return piece & (kContinues - 1U);
}

}  // namespace

std::uint32_t Disguise::rank_cost(std::int32_t id) const noexcept {
    return log2_sixteenths(static_cast<std::uint32_t>(std::max(id - vocabulary_.first_word_id(), 0)) + 1);
}

std::uint32_t Disguise::word_cost(std::int32_t id, std::size_t size) const noexcept {
    return kWordCost + (size == 2 ? kTwoLettersCost : 0) + rank_cost(id);
}

std::uint32_t Disguise::continuation_cost(std::int32_t id, std::size_t size) const noexcept {
    return kContinuationCost + (size == 1 ? kLetterContinuationCost : rank_cost(id));
}

// The cheapest way to cut the letters of a row into pieces of the vocabulary.
class Disguise::Segmentation {
public:
    Segmentation(const Disguise& disguise, std::string_view text, Row row, std::vector<std::uint8_t>& pieces)
        : disguise_(disguise), letters_(text.data() + row.first), size_(row.size()), pieces_(pieces) {}

    // From the last letter to the first, so that the choice at a letter depends only on what follows: a part
    // between two words of the outcome would be cut in the same way alone. Of equal costs the continuation
    // wins, then the longer piece. Applying the rule twice is therefore applying it once.
    void choose(StopPoints& stop) {
        pieces_.resize(size_);
        costs_[size_ % kCosts] = 0;
        for (std::size_t i = size_; i-- > 0;) {
            const char letter = letter_at(i);
            const std::uint32_t alone = letter == 'a' || letter == 'i' ? kArticleCost : kLetterWordCost;
            best_ = kWordCost + alone + cost_from(i + 1);
            pieces_[i] = 1;
            try_pieces(i, disguise_.vocabulary_.word_root(), 0, stop);
            if (i > 0) try_pieces(i, disguise_.vocabulary_.continuation_root(), kContinues, stop);
            costs_[i % kCosts] = best_;
        }
    }

private:
    static constexpr std::size_t kCosts = 128;  // more than the longest piece, and a power of two
    static_assert(kCosts > kMaxWordCharacters);

    [[nodiscard]] char letter_at(std::size_t i) const { return letter_of(letters_[2 * i]); }
    [[nodiscard]] std::uint64_t cost_from(std::size_t i) const { return costs_[i % kCosts]; }

    void try_pieces(std::size_t begin, std::uint32_t node, std::uint8_t kind, StopPoints& stop) {
        const std::size_t longest = std::min(size_ - begin, kMaxWordCharacters);
        for (std::size_t size = 1; size <= longest; ++size) {
            stop.pass(1);
            if (!disguise_.vocabulary_.step(node, letter_at(begin + size - 1))) return;
            const std::int32_t id = disguise_.vocabulary_.token(node);
            if (id < 0 || (size == 1 && kind == 0)) continue;  // a letter as a word has its price already
            const std::uint64_t cost =
                (kind == 0 ? disguise_.word_cost(id, size) : disguise_.continuation_cost(id, size)) +
                cost_from(begin + size);
            if (cost > best_) continue;
            best_ = cost;
            pieces_[begin] = static_cast<std::uint8_t>(size | kind);
        }
    }

    const Disguise& disguise_;
    const char* letters_;
    std::size_t size_;
    std::vector<std::uint8_t>& pieces_;
    std::array<std::uint64_t, kCosts> costs_{};  // of the letters from i on, for the i's that can be reached
    std::uint64_t best_ = 0;
};

void Disguise::join_spelled(const MappedText& in, MappedText& out, std::vector<std::uint8_t>& pieces,
                            StopPoints& stop) const {
    const std::string_view text = in.bytes;
    std::size_t copied = 0;
    for (std::size_t position = 0; position < text.size();) {
        stop.pass(1);
        if (!is_alone(text, position)) {
            ++position;
            continue;
        }
        const Row row = read_row(text, position, stop);
        // The last of a row may be the first of the next, with another separator, if it stays alone.
        position = std::max(row.last, position + 1);
        const Row part = spelled_part(text, row, stop);
        if (part.size() < 2) continue;
        Segmentation(*this, text, part, pieces).choose(stop);
        for (std::size_t begin = 0; begin < part.size();) {
            std::size_t end = begin + piece_size(pieces[begin]);
            while (end < part.size() && (pieces[end] & kContinues) != 0) end += piece_size(pieces[end]);
            // A longer word would be [UNK].
            if (end - begin > 1 && end - begin <= kMaxWordCharacters) {
                for (std::size_t i = begin; i + 1 < end; ++i) {
                    copy(in, copied, part.first + 2 * i + 1, out, stop);
                    copied = part.first + 2 * i + 2;
                }
                position = std::max(position, part.first + 2 * end - 1);
            }
            begin = end;
        }
    }
    copy(in, copied, text.size(), out, stop);
}

// --- fold_leet/1 -------------------------------------------------------------------------------------------

namespace {

struct Span {
    std::size_t begin;
    std::size_t end;

    [[nodiscard]] std::size_t size() const { return end - begin; }
};

constexpr std::size_t kShortestLeetWord = 3;
constexpr std::size_t kMostlySigns = 5;  // the shortest word that may have more signs than letters

bool is_leet_byte(std::uint8_t flags) {
    return (flags & (kSolid | kLoose)) != 0 && (flags & kForeign) == 0;
}

// The run of letters, digits and signs that begins at `begin`.
Span read_run(std::string_view text, std::size_t begin, StopPoints& stop) {
    std::size_t end = begin;
    while (end < text.size() && is_leet_byte(class_of(text[end]))) {
        stop.pass(1);
        ++end;
    }
    return {begin, end};
}

// The word of a run: what is left without the loose signs at its ends.
Span trim(std::string_view text, Span run, StopPoints& stop) {
    const Span whole = run;
    while (run.size() > 0 && (class_of(text[run.begin]) & kLoose) != 0) ++run.begin;
    while (run.size() > 0 && (class_of(text[run.end - 1]) & kLoose) != 0) --run.end;
    stop.pass(whole.size() - run.size());
    return run;
}

bool is_capital(char byte) {
    return byte >= 'A' && byte <= 'Z';
}

bool is_sign(char byte) {
    return (class_of(byte) & (kLetter | kDigit)) == 0;
}

std::size_t count(std::string_view word, std::uint8_t flags) {
    return static_cast<std::size_t>(
        std::count_if(word.begin(), word.end(), [&](char byte) { return (class_of(byte) & flags) != 0; }));
}

// True if no letter of the word is a small one.
bool is_capitals(std::string_view word) {
    return std::all_of(word.begin(), word.end(),
                       [](char byte) { return (class_of(byte) & kLetter) == 0 || is_capital(byte); });
}

bool is_no_digit(char byte) {
    return (class_of(byte) & kDigit) == 0;
}

std::size_t leading_digits(std::string_view word) {
    return static_cast<std::size_t>(std::find_if(word.begin(), word.end(), is_no_digit) - word.begin());
}

std::size_t trailing_digits(std::string_view word) {
    return static_cast<std::size_t>(std::find_if(word.rbegin(), word.rend(), is_no_digit) - word.rbegin());
}

// The letters of a word that has digits before or behind them and nothing else, such as 100k and mp3; empty
// for all other words.
std::string_view letters_of_number(std::string_view word) {
    const std::size_t letters = count(word, kLetter);
    if (leading_digits(word) + letters == word.size()) return word.substr(word.size() - letters);
    if (trailing_digits(word) + letters == word.size()) return word.substr(0, letters);
    return {};
}

// An e-mail address: the text goes on with a dot and a letter.
bool is_address(std::string_view text, Span word) {
    return text.substr(word.begin, word.size()).find('@', 1) != std::string_view::npos &&
           word.end < text.size() && text[word.end] == '.' && (class_at(text, word.end + 1) & kLetter) != 0;
}

}  // namespace

// One word, and what it would be with letters for its signs.
class Disguise::LeetWord {
public:
    LeetWord(const Disguise& disguise, std::string_view text, Span span)
        : disguise_(disguise), text_(text), span_(span), word_(text.substr(span.begin, span.size())) {}

    // True if the word is to be folded; folded() is what it becomes.
    bool folds() { return looks_like_leet() && !is_number() && !makes_sense() && choose_letters(); }

    [[nodiscard]] std::string_view folded() const { return {letters_.data(), word_.size()}; }

private:
    [[nodiscard]] bool looks_like_leet() const {
        if (word_.size() < kShortestLeetWord || word_.size() > kMaxWordCharacters) return false;
        if (((class_at(text_, span_.begin - 1) | class_at(text_, span_.end)) & kForeign) != 0) return false;
        const std::size_t letters = count(word_, kLetter);
        const std::size_t signs = count(word_, kStandIn | kLoose);
        const bool enough =
            letters >= signs || (3 * letters >= signs + letters && word_.size() >= kMostlySigns);
        return letters > 0 && signs > 0 && letters + signs == word_.size() && enough &&
               !is_address(text_, span_);
    }

    // 100k, 5hrs, 1st, mp3, covid19, ETHE1. A single digit may be a letter where the others are no word
    // without it.
    [[nodiscard]] bool is_number() const {
        constexpr std::size_t kLongestUnit = 3;
        const std::string_view letters = letters_of_number(word_);
        if (letters.empty() || (letters.size() > kLongestUnit && letters.data() != word_.data()))
            return false;
        if (letters.size() + 1 < word_.size() || is_capitals(word_)) return true;
        std::array<char, kMaxWordCharacters> lower;
        std::transform(letters.begin(), letters.end(), lower.begin(), letter_of);
        WordPieces pieces;
        disguise_.vocabulary_.split(lower.data(), letters.size(), pieces);
        return pieces.size == 1;
    }

    // Cuts the word as BERT does. True if it is in the vocabulary, or all words between its signs are, as in
    // a handle or "this+that". A dollar sign does not join words.
    bool makes_sense() {
        std::transform(word_.begin(), word_.end(), letters_.begin(),
                       [](char byte) { return is_capital(byte) ? letter_of(byte) : byte; });
        bool known = word_.find('$') == std::string_view::npos;
        for (std::size_t begin = 0; begin < word_.size();) {
            std::size_t end = begin;
            while (end < word_.size() && !is_sign(word_[end])) ++end;
            if (end == begin) {
                ++original_pieces_;
                ++begin;
                continue;
            }
            WordPieces pieces;
            disguise_.vocabulary_.split(letters_.data() + begin, end - begin, pieces);
            original_pieces_ += std::max<std::size_t>(pieces.size, 1);
            known = known && pieces.size == 1 && end - begin >= kShortestLeetWord;
            begin = end;
        }
        return known;
    }

    // 1, ! and | are an i or an l, the same in all of the word.
    bool choose_letters() {
        const Reading with_i = read_as('i');
        const Reading with_l = read_as('l');
        const bool l_is_better =
            std::pair(with_l.pieces, with_l.cost) < std::pair(with_i.pieces, with_i.cost);
        const Reading& best = l_is_better ? with_l : with_i;
        if (!l_is_better) read_as('i');
        // An exclamation mark may well be one, so that it takes more to be read as a letter.
        const std::size_t saved = word_.find('!') == std::string_view::npos ? 1 : 2;
        const bool shorter = best.pieces + saved <= original_pieces_ && 2 * best.pieces < word_.size();
        if (best.pieces != 1 && (best.pieces == kUnknown || !shorter || looks_like_name())) return false;
        restore_case();
        return true;
    }

    struct Reading {
        std::size_t pieces;
        std::uint32_t cost;
    };
    static constexpr std::size_t kUnknown = kMaxWordCharacters + 1;

    // Writes letters_ with `letter` for the ambiguous signs.
    Reading read_as(char letter) {
        std::transform(word_.begin(), word_.end(), letters_.begin(), [&](char byte) {
            return byte == '1' || byte == '!' || byte == '|' ? letter : letter_of(byte);
        });
        WordPieces pieces;
        disguise_.vocabulary_.split(letters_.data(), word_.size(), pieces);
        Reading reading{pieces.size == 0 ? kUnknown : pieces.size, 0};
        std::size_t begin = 0;
        for (std::size_t i = 0; i < pieces.size; ++i) {
            const std::size_t size = pieces.ends[i] - begin;
            reading.cost += i == 0 ? disguise_.word_cost(pieces.ids[i], size)
                                   : disguise_.continuation_cost(pieces.ids[i], size);
            begin = pieces.ends[i];
        }
        return reading;
    }

    // What is folded only if the outcome is in the vocabulary: a handle, two words with a sign between them,
    // a number with its unit, capitals that end like COL4A1 and CMT4D, and what is mostly signs.
    [[nodiscard]] bool looks_like_name() const {
        const std::size_t tail = word_.size() - ((class_of(word_.back()) & kDigit) != 0 ? 1 : 2);
        return word_[0] == '@' || word_.find_first_of("|+") != std::string_view::npos ||
               !letters_of_number(word_).empty() ||
               (is_capitals(word_) && (class_of(word_[tail]) & kDigit) != 0) ||
               2 * count(word_, kLetter) < word_.size();
    }

    // Letters keep their case, signs become capitals where all letters are.
    void restore_case() {
        const bool capitals = is_capitals(word_);
        for (std::size_t i = 0; i < word_.size(); ++i) {
            if ((class_of(word_[i]) & kLetter) != 0) {
                letters_[i] = word_[i];
            } else if (capitals) {
                letters_[i] = static_cast<char>(letters_[i] - 'a' + 'A');
            }
        }
    }

    const Disguise& disguise_;
    std::string_view text_;
    Span span_;
    std::string_view word_;
    std::array<char, kMaxWordCharacters> letters_;
    std::size_t original_pieces_ = 0;
};

void Disguise::fold_leet(const MappedText& in, MappedText& out, StopPoints& stop) const {
    const std::string_view text = in.bytes;
    std::size_t copied = 0;
    for (std::size_t position = 0; position < text.size();) {
        const Span run = read_run(text, position, stop);
        if (run.size() == 0) {
            stop.pass(1);
            ++position;
            continue;
        }
        position = run.end;
        const Span span = trim(text, run, stop);
        LeetWord word(*this, text, span);
        if (!word.folds()) continue;
        copy(in, copied, span.begin, out, stop);
        for (std::size_t i = 0; i < span.size(); ++i)
            append(out, word.folded().substr(i, 1), in.ranges[span.begin + i]);
        copied = span.end;
    }
    copy(in, copied, text.size(), out, stop);
}

// --- does a text concern the rules? ------------------------------------------------------------------------

namespace {

constexpr std::size_t kBlock = 64;
constexpr std::size_t kContext = 8;  // what is_suspicious() looks back, at least

// Bytes that are worked on together: a register of the oldest vector instructions on x86-64 and 64-bit ARM.
using Bytes = std::uint8_t __attribute__((vector_size(16)));

// The first four flags of the classes of a block of bytes and of those before it; 0 outside the text.
using BlockClasses = std::array<std::uint8_t, kContext + kBlock>;

Bytes load(const void* from) {
    Bytes bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

// What the table says, computed: looking up byte by byte would take most of the time.
Bytes classes_of(Bytes bytes) {
    const auto mask = [](auto comparison) { return reinterpret_cast<Bytes>(comparison); };
    const auto is = [&](char code) { return mask(bytes == static_cast<std::uint8_t>(code)); };
    const auto is_in = [&](Bytes codes, char first, char last) {
        return mask(codes - static_cast<std::uint8_t>(first) <= static_cast<std::uint8_t>(last - first));
    };
    const Bytes letter = is_in(bytes | std::uint8_t{0x20}, 'a', 'z');
    const Bytes sign = is('@') | is('$');
    const Bytes stand_in = (is_in(bytes, '0', '7') & ~is('2') & ~is('6')) | sign;
    const Bytes loose = is('!') | is('|') | is('+');
    const Bytes blank = is_in(bytes, '\t', '\n') | is('\r');
    const Bytes foreign = ~is_in(bytes, ' ', '~') & ~blank;
    const Bytes solid = letter | is_in(bytes, '0', '9') | sign | foreign;
    return (solid & std::uint8_t{kSolid}) | (letter & std::uint8_t{kLetter}) |
           (stand_in & std::uint8_t{kStandIn}) | (loose & std::uint8_t{kLoose});
}

// Moves on to the block at `begin`, which may be the end of the text.
void read_block(std::string_view text, std::size_t begin, BlockClasses& classes) {
    std::copy(classes.end() - kContext, classes.end(), classes.begin());
    const char* bytes = text.data() + begin;
    std::array<char, kBlock> last;
    if (text.size() - begin < kBlock) {
        last.fill(' ');  // has no class
        std::copy(bytes, text.data() + text.size(), last.begin());
        bytes = last.data();
    }
    for (std::size_t i = 0; i < kBlock; i += sizeof(Bytes)) {
        const Bytes found = classes_of(load(bytes + i));
        std::memcpy(classes.data() + kContext + i, &found, sizeof found);
    }
}

// False if no byte of the block, with the bytes before it, can be what a rule looks for: a letter next to a
// stand-in, a loose sign with something before and behind it, or the blank behind three characters that are
// words alone.
bool is_suspicious(const BlockClasses& classes) {
    Bytes found{};
    for (std::size_t i = kContext; i < classes.size(); i += sizeof(Bytes)) {
        const auto back = [&](std::size_t distance) { return load(classes.data() + i - distance); };
        const Bytes current = back(0), previous = back(1), before = back(2);
        const Bytes next_to_letter =
            ((previous << 1 & current) | (current << 1 & previous)) & std::uint8_t{kStandIn};
        const Bytes around_sign = previous >> 3 & current & (before | before >> 3);
        const Bytes alone = previous & back(3) & back(5) & ~(current | before | back(4) | back(6));
        found |= next_to_letter | ((around_sign | alone) & std::uint8_t{kSolid});
    }
    static_assert(kLetter << 1 == kStandIn && kLoose >> 3 == kSolid);
    std::array<std::uint64_t, 2> halves;
    std::memcpy(halves.data(), &found, sizeof found);
    return (halves[0] | halves[1]) != 0;
}

// True if three characters alone, two of them letters, end before `position`. In a spelled run letters are
// more than half, so that there must be such three.
bool is_spelled(std::string_view text, std::size_t position) {
    std::size_t letters = 0;
    for (std::size_t distance = 1; distance <= 5; distance += 2) {
        if (!is_alone(text, position - distance)) return false;
        letters += (class_at(text, position - distance) & kLetter) != 0 ? 1 : 0;
    }
    return letters >= 2;
}

// True if text[position] may be in a word that fold_leet/1 changes.
bool may_be_leet(std::string_view text, std::size_t position) {
    const unsigned current = class_at(text, position);
    const unsigned previous = class_at(text, position - 1);
    const unsigned before = class_at(text, position - 2);
    if ((previous & kLoose) != 0) return (current & kSolid) != 0 && (before & (kSolid | kLoose)) != 0;
    return (((previous << 1 & current) | (current << 1 & previous)) & kStandIn) != 0;
}

}  // namespace

bool Disguise::concerns(std::string_view text, Rules rules, StopPoints& stop) const {
    BlockClasses classes{};
    std::size_t checked = 0;  // words up to here are no leet
    // Behind the last byte there is a blank, so to speak.
    for (std::size_t begin = 0; begin <= text.size(); begin += kBlock) {
        stop.pass(std::min(kBlock, text.size() - begin));
        read_block(text, begin, classes);
        if (!is_suspicious(classes)) continue;
        for (std::size_t i = begin; i < std::min(begin + kBlock, text.size() + 1); ++i) {
            if (rules.joins && is_spelled(text, i)) return true;
            if (!rules.leet || i < checked || !may_be_leet(text, i)) continue;
            std::size_t run_begin = i;
            while (run_begin > checked && is_leet_byte(class_of(text[run_begin - 1]))) --run_begin;
            const Span run = read_run(text, run_begin, stop);
            if (LeetWord(*this, text, trim(text, run, stop)).folds()) return true;
            checked = run.end;
        }
    }
    return false;
}

}  // namespace safetyclf::text
