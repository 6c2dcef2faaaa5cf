// BERT's text pipeline without special tokens: normaliser, pre-tokeniser and WordPiece in one pass over the
// bytes.
//
// Contract: immutable after construction, thread-safe; encode() allocates only to grow the caller's vectors.
// Time is linear in the text and the memory besides the output is constant. Ids and byte ranges equal those
// of Hugging Face `tokenizers` (docs/text.md).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "stop_points.hpp"
#include "tokenizer.hpp"
#include "wordpiece.hpp"

namespace safetyclf::text {

// Where the pieces of a text go. `begins` and `ends` are null if nobody asked for offsets.
struct PieceSink {
    std::vector<std::int32_t>* ids;
    std::vector<std::uint32_t>* begins;
    std::vector<std::uint32_t>* ends;

    void add(std::int32_t id, ByteRange range) const {
        ids->push_back(id);
        if (begins == nullptr) return;
        begins->push_back(range.begin);
        ends->push_back(range.end);
    }
};

class BertEncoder {
public:
    // `lowercase`: lower case and strip accents, as BERT "uncased" does.
    BertEncoder(const WordPiece& vocabulary, bool lowercase);

    // Appends the pieces of `text` (any bytes, less than 4 GiB).
    void encode(std::string_view text, const PieceSink& sink, StopPoints& stop) const;

private:
    class WordScanner;

    // Appends the pieces of a word of ASCII letters and digits, given as to WordPiece::find_short().
    void add_word(std::uint64_t low, std::uint64_t high, ByteRange range, const PieceSink& sink) const;

    const WordPiece& vocabulary_;
    bool lowercase_;
    std::array<std::int32_t, 256> single_ids_;  // for each byte outside words: id, or a class of bert.cpp
};

}  // namespace safetyclf::text
