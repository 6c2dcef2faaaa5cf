// What only C++ can see of the tokenizer: appending to a batch, buffers that are not allocated again, errors
// that leave the batch empty, moving, and use from several threads. Everything else is tested from Python
// (tests/python/test_text_*.py).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "safetyclf/error.hpp"
#include "text/tokenizer.hpp"

namespace {

using safetyclf::ErrorCode;
using safetyclf::text::RaggedBatch;
using safetyclf::text::Tokenizer;
using safetyclf::text::TokenizerConfig;
using Texts = std::vector<std::string_view>;

TokenizerConfig small_config() {
    TokenizerConfig config;
    config.vocabulary = "[UNK]\n[CLS]\n[SEP]\na\n##a\nred\nheart\n.";
    config.rules = safetyclf::text::known_rules();
    config.window_tokens = 4;
    config.overlap_tokens = 1;
    return config;
}

void test_calls_append() {
    const Tokenizer tokenizer(small_config());
    RaggedBatch batch;
    tokenizer.encode(Texts{"a"}, true, batch);
    tokenizer.encode(Texts{"", "a.a.a"}, true, batch);
    CHECK((batch.ids == std::vector<std::int32_t>{1, 3, 2, 1, 2, 1, 3, 7, 3, 2, 1, 3, 7, 3, 2}));
    CHECK((batch.row_offsets == std::vector<std::uint32_t>{0, 3, 5, 10, 15}));
    CHECK((batch.text_offsets == std::vector<std::uint32_t>{0, 1, 2, 4}));
}

void test_warm_batch_is_not_allocated_again() {
    const Tokenizer tokenizer(small_config());
    const Texts texts{"a a a a a a a a a", "a \xE2\x9D\xA4\xEF\xB8\x8F a", "r e d he@rt"};
    RaggedBatch batch;
    tokenizer.encode(texts, true, batch);
    const RaggedBatch first = batch;
    const auto buffers = [&] {
        return std::vector<const void*>{batch.ids.data(),
                                        batch.row_offsets.data(),
                                        batch.text_offsets.data(),
                                        batch.begins.data(),
                                        batch.ends.data(),
                                        batch.scratch.first.bytes.data(),
                                        batch.scratch.first.ranges.data(),
                                        batch.scratch.pieces.data()};
    };
    const auto before = buffers();
    batch.clear();
    tokenizer.encode(texts, true, batch);
    CHECK(buffers() == before);
    CHECK(batch.ids == first.ids && batch.begins == first.begins);
}

template <typename Action>
std::optional<ErrorCode> error_code_of(const Action& action) {
    try {
        action();
    } catch (const safetyclf::Error& error) {
        return error.code();
    }
    return std::nullopt;
}

void test_disguises() {
    const Tokenizer tokenizer(small_config());
    RaggedBatch batch;
    tokenizer.encode(Texts{"r e d he@rt"}, true, batch);
    CHECK((batch.ids == std::vector<std::int32_t>{1, 5, 6, 2}));
    CHECK((batch.begins == std::vector<std::uint32_t>{0, 0, 6, 11}));
    CHECK((batch.ends == std::vector<std::uint32_t>{0, 5, 11, 11}));
}

void test_errors() {
    TokenizerConfig config = small_config();
    config.rules = {"no_such_rule/1"};
    CHECK(error_code_of([&] { const Tokenizer tokenizer(config); }) == ErrorCode::model_format);
    if constexpr (sizeof(std::size_t) > 4) {
        const Tokenizer tokenizer(small_config());
        RaggedBatch batch;
        // The size is refused before a byte is read, so the text need not exist.
        const char byte = 'a';
        const Texts texts{"a", std::string_view(&byte, std::size_t{1} << 32)};
        CHECK(error_code_of([&] { tokenizer.encode(texts, false, batch); }) == ErrorCode::input_too_large);
        CHECK(batch.ids.empty() && batch.windows() == 0 && batch.texts() == 0);
    }
}

void test_stop() {
    const Tokenizer tokenizer(small_config());
    const std::string large(1 << 20, 'a');
    const Texts texts{"a", large};
    RaggedBatch batch;
    std::size_t asked = 0;
    const auto code =
        error_code_of([&] { tokenizer.encode(texts, true, batch, [&] { return ++asked == 3; }); });
    CHECK(code == ErrorCode::cancelled && asked == 3);
    CHECK(batch.ids.empty() && batch.windows() == 0 && batch.texts() == 0);
    asked = 0;
    tokenizer.encode(texts, true, batch, [&] { return ++asked, false; });
    CHECK(batch.texts() == 2 && asked >= 2 * (large.size() / (64 * 1024)));  // is a rule concerned; pieces
}

void test_move() {
    Tokenizer first(small_config());
    Tokenizer second(std::move(first));
    TokenizerConfig other = small_config();
    other.vocabulary += "\nb";
    first = Tokenizer(other);
    CHECK(second.vocabulary_size() == 8 && first.vocabulary_size() == 9);
}

void test_threads() {
    const Tokenizer tokenizer(small_config());
    const Texts texts{"a a a a a a", "aaa \xE2\x9D\xA4 .", std::string_view("\0\xFF", 2)};
    RaggedBatch expected;
    tokenizer.encode(texts, true, expected);
    std::vector<RaggedBatch> found(4);
    std::vector<std::thread> threads;
    for (RaggedBatch& batch : found) {
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                batch.clear();
                tokenizer.encode(texts, true, batch);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const RaggedBatch& batch : found) CHECK(batch.ids == expected.ids && batch.ends == expected.ends);
}

}  // namespace

int main() {
    test_calls_append();
    test_warm_batch_is_not_allocated_again();
    test_disguises();
    test_errors();
    test_stop();
    test_move();
    test_threads();
    return 0;
}
