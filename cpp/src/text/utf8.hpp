// UTF-8 decoding of arbitrary bytes. Every maximal ill-formed subpart (Unicode standard, section 3.9, "U+FFFD
// Substitution of Maximal Subparts") reads as one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>

namespace safetyclf::text {

inline constexpr std::uint32_t kReplacement = 0xFFFD;

struct Decoded {
    std::uint32_t code;    // a Unicode scalar value
    std::uint32_t length;  // bytes read, 1 to 4
    bool well_formed;
};

// Precondition: begin < end.
[[nodiscard]] inline Decoded decode(const char* begin, const char* end) noexcept {
    const auto byte = [begin](std::size_t i) { return static_cast<std::uint8_t>(begin[i]); };
    const std::uint32_t lead = byte(0);
    if (lead < 0x80) return {lead, 1, true};
    if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1, false};

    const std::uint32_t trailing = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    // The second byte has a narrower range after four leads: no overlong forms, no surrogates, nothing past
    // U+10FFFF.
    const std::uint32_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const std::uint32_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    const auto available = static_cast<std::size_t>(end - begin);
    std::uint32_t code = lead & (0x3FU >> trailing);
    for (std::uint32_t i = 1; i <= trailing; ++i) {
        if (i == available) return {kReplacement, i, false};
        const std::uint32_t next = byte(i);
        if (next < (i == 1 ? lowest : 0x80U) || next > (i == 1 ? highest : 0xBFU))
            return {kReplacement, i, false};
        code = code << 6 | (next & 0x3F);
    }
    return {code, trailing + 1, true};
}

// Writes a scalar value to `out` (4 bytes of room) and returns the number of bytes.
inline std::uint32_t encode_utf8(std::uint32_t code, char* out) noexcept {
    const auto put = [out](std::size_t i, std::uint32_t byte) { out[i] = static_cast<char>(byte); };
    if (code < 0x80) {
        put(0, code);
        return 1;
    }
    if (code < 0x800) {
        put(0, 0xC0 | code >> 6);
        put(1, 0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        put(0, 0xE0 | code >> 12);
        put(1, 0x80 | (code >> 6 & 0x3F));
        put(2, 0x80 | (code & 0x3F));
        return 3;
    }
    put(0, 0xF0 | code >> 18);
    put(1, 0x80 | (code >> 12 & 0x3F));
    put(2, 0x80 | (code >> 6 & 0x3F));
    put(3, 0x80 | (code & 0x3F));
    return 4;
}

}  // namespace safetyclf::text
