// Fuzzes the tokenizer. The first byte of the input chooses the options, the second the window; texts follow,
// separated by 0xFF 0x00. The vocabulary is small but has every kind of token. Whatever the bytes, these must
// hold:
//   - the batch is well-formed: offsets rise, windows have the right size and begin and end with [CLS] and
//   [SEP];
//   - every range lies inside its text and is not empty, and ranges never run backwards;
//   - ids do not depend on offsets being asked for, nor on the neighbours in the batch;
//   - normalize() twice is normalize() once, and encoding its output gives the same ids.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.hpp"

namespace {

using safetyclf::text::RaggedBatch;
using safetyclf::text::Tokenizer;
using safetyclf::text::TokenizerConfig;

constexpr std::uint32_t kLargestWindow = 16;
constexpr std::size_t kOptionBytes = 2;
constexpr std::size_t kOptions = 128;  // sets of the six rules, cased and uncased
constexpr std::int32_t kUnknown = 0;
constexpr std::int32_t kStart = 1;
constexpr std::int32_t kEnd = 2;

void require(bool condition) {
    if (!condition) std::abort();
}

std::string vocabulary() {
    std::string tokens =
        "[UNK]\n[CLS]\n[SEP]\n[PAD]\n##\nthe\nth\n##e\n##he\nface\nwoman\nflag\nred\nheart\n\xCE\xB1\n##"
        "\xCE\xB1";
    for (char letter = 'a'; letter <= 'z'; ++letter) {
        // No "##q": words with a q inside are unknown.
        tokens += std::string("\n") + letter;
        if (letter != 'q' && letter != 'e') tokens += std::string("\n##") + letter;
    }
    tokens +=
        "\nof\ncat\ndog\nstop\n##og\n##ts\n3d\n.\n:\n\xE4\xB8\x80\n\xE1\x84\x80\n##\xE1\x85\xA1\n##"
        "internationalisation";
    return tokens;
}

// Tokenizer for every set of rules, cased and uncased, and every window up to the largest; made when first
// needed.
const Tokenizer& tokenizer_for(std::uint8_t options, std::uint32_t window) {
    static std::vector<std::vector<Tokenizer>> cache(kOptions * kLargestWindow);
    std::vector<Tokenizer>& entry = cache[options * kLargestWindow + window - 1];
    if (entry.empty()) {
        TokenizerConfig config;
        config.vocabulary = vocabulary();
        const safetyclf::text::RuleNames rules = safetyclf::text::known_rules();
        for (std::size_t i = 0; i < rules.size(); ++i) {
            if ((options >> i & 1) != 0) config.rules.push_back(rules[i]);
        }
        config.lowercase = (options >> rules.size() & 1) == 0;
        config.window_tokens = window;
        config.overlap_tokens = window / 3;
        entry.emplace_back(config);
    }
    return entry.front();
}

std::vector<std::string_view> split(std::string_view data) {
    constexpr std::string_view kSeparator("\xFF\x00", 2);
    std::vector<std::string_view> texts;
    for (std::size_t end = data.find(kSeparator); end != std::string_view::npos;
         end = data.find(kSeparator)) {
        texts.push_back(data.substr(0, end));
        data.remove_prefix(end + kSeparator.size());
    }
    texts.push_back(data);
    return texts;
}

void check_batch(const RaggedBatch& batch, const std::vector<std::string_view>& texts, std::uint32_t window) {
    require(batch.texts() == texts.size() && batch.text_offsets.front() == 0 &&
            batch.row_offsets.front() == 0);
    require(batch.text_offsets.back() == batch.windows() && batch.row_offsets.back() == batch.ids.size());
    require(batch.begins.size() == batch.ids.size() && batch.ends.size() == batch.ids.size());
    for (std::size_t text = 0; text < texts.size(); ++text) {
        require(batch.text_offsets[text] < batch.text_offsets[text + 1]);
        for (std::size_t row = batch.text_offsets[text]; row < batch.text_offsets[text + 1]; ++row) {
            const std::size_t first = batch.row_offsets[row];
            const std::size_t last = batch.row_offsets[row + 1] - 1;
            require(first < last && last - first <= window + 1);
            require(batch.ids[first] == kStart && batch.begins[first] == 0 && batch.ends[first] == 0);
            require(batch.ids[last] == kEnd && batch.begins[last] == texts[text].size());
            for (std::size_t i = first + 1; i < last; ++i) {
                require(batch.ids[i] >= kUnknown && batch.ids[i] != kStart && batch.ids[i] != kEnd);
                require(batch.begins[i] < batch.ends[i] && batch.ends[i] <= texts[text].size());
                require(batch.begins[i] >= batch.begins[i - 1] && batch.ends[i] >= batch.ends[i - 1]);
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kOptionBytes) return 0;
    const std::uint8_t options = data[0] % kOptions;
    const std::uint32_t window = data[1] % kLargestWindow + 1;
    const Tokenizer& tokenizer = tokenizer_for(options, window);
    const std::string_view input(reinterpret_cast<const char*>(data) + kOptionBytes, size - kOptionBytes);
    const std::vector<std::string_view> texts = split(input);

    RaggedBatch batch;
    tokenizer.encode(texts, true, batch);
    check_batch(batch, texts, window);

    RaggedBatch reused;
    std::vector<std::int32_t> joined;
    std::string normalized;
    std::string again;
    std::vector<std::uint32_t> origin;
    for (const std::string_view text : texts) {
        reused.clear();
        tokenizer.encode({&text, 1}, false, reused);
        require(reused.begins.empty() && reused.ends.empty());
        joined.insert(joined.end(), reused.ids.begin(), reused.ids.end());

        tokenizer.normalize(text, normalized, origin);
        require(origin.size() == normalized.size() + 1 && origin.back() == text.size());
        for (std::size_t i = 1; i < origin.size(); ++i) require(origin[i - 1] <= origin[i]);
        tokenizer.normalize(normalized, again, origin);
        require(again == normalized);
        RaggedBatch from_normalized;
        const std::string_view normalized_view(normalized);
        tokenizer.encode({&normalized_view, 1}, false, from_normalized);
        require(from_normalized.ids == reused.ids);
    }
    require(joined == batch.ids);
    return 0;
}
