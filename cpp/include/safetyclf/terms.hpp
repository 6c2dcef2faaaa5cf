// Terms of block and allow lists, looked for in texts. docs/term-lists.md defines them.
#pragma once

#include <cstdint>
#include <string_view>

namespace safetyclf {

// A term stands between word boundaries, or also inside a word, or is the whole text.
enum class TermMode : std::uint8_t { word, anywhere, text };

struct Term {
    std::string_view text;
    TermMode mode;
};

struct TermMatch {
    std::uint32_t term;        // number of the term in its list
    std::uint32_t begin, end;  // half-open byte range of the text
};

}  // namespace safetyclf
