// Writing a MappedText: what the rules share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "stop_points.hpp"
#include "tokenizer.hpp"

namespace safetyclf::text {

inline void append(MappedText& out, std::string_view bytes, ByteRange range) {
    out.bytes.append(bytes);
    out.ranges.insert(out.ranges.end(), bytes.size(), range);
}

// Copies in.bytes[begin, end). What a rule leaves as it is goes in one piece, not character by character.
inline void copy(const MappedText& in, std::size_t begin, std::size_t end, MappedText& out,
                 StopPoints& stop) {
    while (begin < end) {
        const std::size_t size = std::min(end - begin, kStopInterval);
        stop.pass(size);
        const auto first = in.ranges.begin() + static_cast<std::ptrdiff_t>(begin);
        out.bytes.append(in.bytes, begin, size);
        out.ranges.insert(out.ranges.end(), first, first + static_cast<std::ptrdiff_t>(size));
        begin += size;
    }
}

}  // namespace safetyclf::text
