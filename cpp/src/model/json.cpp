#include "model/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace safetyclf::model::json {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Length of the UTF-8 sequence at `at`, or 0 if it is not valid (Unicode 15, table 3-7: no overlong forms, no
// surrogates).
std::size_t utf8_length(std::string_view s, std::size_t at) {
    const auto byte = [&](std::size_t i) -> unsigned {
        return at + i < s.size() ? static_cast<unsigned char>(s[at + i]) : 0u;
    };
    const auto in = [&](std::size_t i, unsigned low, unsigned high) {
        return byte(i) >= low && byte(i) <= high;
    };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return in(1, 0x80, 0xbf) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
        const unsigned high = first == 0xed ? 0x9f : 0xbf;
        return in(1, low, high) && in(2, 0x80, 0xbf) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const unsigned low = first == 0xf0 ? 0x90 : 0x80;
        const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
        return in(1, low, high) && in(2, 0x80, 0xbf) && in(3, 0x80, 0xbf) ? 4 : 0;
    }
    return 0;
}

void append_utf8(std::string& out, unsigned code) {
    const auto put = [&](unsigned byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xc0 | code >> 6);
        put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        put(0xe0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    } else {
        put(0xf0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3f));
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    }
}

class Parser {
public:
    explicit Parser(std::string_view source) : source_(source) {}

    Value document() {
        Value value = read(0);
        skip_space();
        if (at_ < source_.size()) fail("text after the value");
        return value;
    }

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw ParseError(what + " at byte " + std::to_string(at_));
    }

    [[nodiscard]] char peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }

    void skip_space() {
        while (at_ < source_.size() &&
               std::string_view(" \t\n\r").find(source_[at_]) != std::string_view::npos)
            ++at_;
    }

    bool take(std::string_view token) {
        if (!source_.substr(at_).starts_with(token)) return false;
        at_ += token.size();
        return true;
    }

    Value read(std::size_t depth) {
        if (depth >= kMaxDepth) fail("nested deeper than " + std::to_string(kMaxDepth) + " levels");
        if (++values_ > kMaxValues) fail("more than " + std::to_string(kMaxValues) + " values");
        skip_space();
        Value value;
        value.begin = at_;
        if (take("{")) {
            read_object(value, depth);
        } else if (take("[")) {
            read_array(value, depth);
        } else if (peek() == '"') {
            value.kind = Kind::string;
            value.text = read_string();
        } else if (take("true")) {
            value.kind = Kind::boolean;
            value.boolean = true;
        } else if (take("false")) {
            value.kind = Kind::boolean;
        } else if (take("null")) {
            value.kind = Kind::null;
        } else {
            read_number(value);
        }
        value.end = at_;
        return value;
    }

    void read_object(Value& value, std::size_t depth) {
        value.kind = Kind::object;
        skip_space();
        if (take("}")) return;
        do {
            skip_space();
            if (peek() != '"') fail("a key must be a string");
            value.keys.push_back(read_string());
            skip_space();
            if (!take(":")) fail("no colon after a key");
            value.items.push_back(read(depth + 1));
            skip_space();
        } while (take(","));
        if (!take("}")) fail("an object does not end");
        std::vector<std::string_view> sorted(value.keys.begin(), value.keys.end());
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end())
            fail("duplicate key \"" + printable(*twice) + "\" in the object that ends");
    }

    void read_array(Value& value, std::size_t depth) {
        value.kind = Kind::array;
        skip_space();
        if (take("]")) return;
        do {
            value.items.push_back(read(depth + 1));
            skip_space();
        } while (take(","));
        if (!take("]")) fail("an array does not end");
    }

    unsigned read_hex4() {
        unsigned code = 0;
        const std::string_view digits = source_.substr(at_, 4);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (error != std::errc() || digits.size() != 4 || end != digits.data() + 4) fail("bad \\u escape");
        at_ += 4;
        return code;
    }

    void read_escape(std::string& out) {
        const char c = peek();
        constexpr std::string_view kFrom = "\"\\/bfnrt";
        constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
        if (const std::size_t which = kFrom.find(c);
            at_ < source_.size() && which != std::string_view::npos) {
            ++at_;
            out.push_back(kTo[which]);
            return;
        }
        if (!take("u")) fail("bad escape");
        unsigned code = read_hex4();
        if (code >= 0xdc00 && code <= 0xdfff) fail("lone surrogate");
        if (code >= 0xd800 && code <= 0xdbff) {
            if (!take("\\u")) fail("lone surrogate");
            const unsigned low = read_hex4();
            if (low < 0xdc00 || low > 0xdfff) fail("lone surrogate");
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        append_utf8(out, code);
    }

    std::string read_string() {
        ++at_;
        std::string out;
        while (true) {
            if (at_ >= source_.size()) fail("a string does not end");
            const auto c = static_cast<unsigned char>(source_[at_]);
            if (take("\"")) return out;
            if (take("\\")) {
                read_escape(out);
                continue;
            }
            if (c < 0x20) fail("control character in a string");
            const std::size_t length = utf8_length(source_, at_);
            if (length == 0) fail("invalid UTF-8");
            out.append(source_.substr(at_, length));
            at_ += length;
        }
    }

    void read_digits() {
        if (!is_digit(peek())) fail("not a JSON value");
        while (is_digit(peek())) ++at_;
    }

    void read_number(Value& value) {
        value.kind = Kind::number;
        const std::size_t begin = at_;
        take("-");
        if (!take("0")) read_digits();
        if (take(".")) read_digits();
        if (take("e") || take("E")) {
            if (!take("+")) take("-");
            read_digits();
        }
        value.text = source_.substr(begin, at_ - begin);
    }

    std::string_view source_;
    std::size_t at_ = 0;
    std::size_t values_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const {
    const auto found = std::find(keys.begin(), keys.end(), key);
    return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

std::optional<std::uint64_t> Value::as_unsigned() const {
    if (kind != Kind::number) return std::nullopt;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::optional<double> Value::as_double() const {
    if (kind != Kind::number) return std::nullopt;
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
        return std::nullopt;
    return number;
}

Value parse(std::string_view source) {
    return Parser(source).document();
}

bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_length(text, i);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

std::string printable(std::string_view text) {
    constexpr std::size_t kLimit = 200;
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        if (out.size() >= kLimit) return out + "...";
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = utf8_length(text, i);
        if (length == 0 || c < 0x20 || c == 0x7f) {
            out += {'\\', 'x', kDigits[c >> 4], kDigits[c & 15]};
            ++i;
        } else {
            out.append(text.substr(i, length));
            i += length;
        }
    }
    return out;
}

}  // namespace safetyclf::model::json
