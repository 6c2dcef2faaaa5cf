// A small strict JSON reader (RFC 8259) for model files, which may come from anyone: depth and number of
// values are limited, duplicate keys, invalid UTF-8 and lone surrogates are refused, and every value
// remembers where it stood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace safetyclf::model::json {

inline constexpr std::size_t kMaxDepth = 32;
inline constexpr std::size_t kMaxValues = 262144;

// What is wrong, with the byte at which it was found; ASCII.
struct ParseError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Kind : std::uint8_t { null, boolean, number, string, array, object };

struct Value {
    Kind kind = Kind::null;
    bool boolean = false;
    std::string text;                // a string's content, or a number as written
    std::vector<std::string> keys;   // of an object, in the order written
    std::vector<Value> items;        // of an array or, in the order of keys, of an object
    std::size_t begin = 0, end = 0;  // bytes of the source that hold this value

    // The member of that name, or null.
    [[nodiscard]] const Value* find(std::string_view key) const;
    // A number written as a plain non-negative integer (digits only) that fits.
    [[nodiscard]] std::optional<std::uint64_t> as_unsigned() const;
    // Any number that is finite as a double.
    [[nodiscard]] std::optional<double> as_double() const;
};

// Throws ParseError. Bytes after the value must be JSON white space.
[[nodiscard]] Value parse(std::string_view source);

// Whether all of `text` is valid UTF-8.
[[nodiscard]] bool is_utf8(std::string_view text);

// Text for an error message: valid UTF-8 without control characters; all other bytes as \xNN; at most about
// 200 bytes.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace safetyclf::model::json
