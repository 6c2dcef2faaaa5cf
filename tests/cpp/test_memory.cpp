// Options::max_memory: what calls allocate stays below it whatever the texts are and however many calls run,
// and scores stay the same bits. Counts what operator new gives out, as the core allocates in no other way.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "check.hpp"
#include "safetyclf/classifier.hpp"
#include "text/tokenizer.hpp"
#include "text/unicode_tables.hpp"
#include "text/utf8.hpp"

using namespace safetyclf;

namespace {

std::atomic<std::size_t> live{0}, peak{0};
constexpr std::size_t kHeader = 64;  // in front of each piece: its size

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t align) {
    const std::size_t step = std::max(static_cast<std::size_t>(align), kHeader);
    auto* const start = static_cast<char*>(std::aligned_alloc(step, step + (size + step - 1) / step * step));
    if (start == nullptr) throw std::bad_alloc();
    std::memcpy(start + step - sizeof size, &size, sizeof size);
    const std::size_t now = live += size;
    for (std::size_t seen = peak; now > seen && !peak.compare_exchange_weak(seen, now);) {
    }
    return start + step;
}
[[gnu::noinline]] void* operator new(std::size_t size) {
    return operator new (size, std::align_val_t{kHeader});
}
[[gnu::noinline]] void operator delete(void* p, std::align_val_t align) noexcept {
    if (p == nullptr) return;
    std::size_t size;
    std::memcpy(&size, static_cast<char*>(p) - sizeof size, sizeof size);
    live -= size;
    std::free(static_cast<char*>(p) - std::max(static_cast<std::size_t>(align), kHeader));
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    operator delete (p, std::align_val_t{kHeader});
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    operator delete (p, std::align_val_t{kHeader});
}

namespace {

constexpr std::size_t kLongest = 600;

std::string repeated(std::string_view part, std::size_t size = kLongest) {
    std::string out;
    while (out.size() + part.size() <= size) out += part;
    return out;
}

// Texts that make much out of few bytes, and many short ones.
std::vector<std::string> hostile_texts() {
    std::vector<std::string> texts{repeated("\xF0\x9F\xAB\xB0"),
                                   repeated("\xFF"),
                                   repeated("!"),
                                   repeated("a "),
                                   repeated("1\xE2\x83\xA3"),
                                   repeated("\xED\x9E\xA3"),
                                   repeated("\xEF\xB7\xBA"),
                                   repeated("z")};
    for (std::size_t i = 0; i < 100; ++i)
        texts.push_back(i % 3 == 0 ? "" : repeated(i % 3 == 1 ? "help " : "\xE2\x9C\x8A", i % 41));
    return texts;
}

using Texts = std::vector<std::string_view>;

std::vector<float> scores(const Classifier& classifier, const Texts& texts) {
    std::vector<float> out(texts.size() * classifier.categories().size());
    classifier.probabilities(texts, out, {});
    return out;
}

std::size_t least_memory(const std::string& model, Options options) {
    options.max_memory = 1;
    try {
        (void)Classifier(model, options);
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::invalid_argument);
        std::size_t least = 0;
        CHECK(std::sscanf(error.what(), "max_memory must be at least %zu bytes", &least) == 1);
        return least;
    }
    CHECK(false);
    return 0;
}

void test_bound(const std::string& model, const Texts& texts, const std::vector<float>& expected,
                Options options, std::size_t callers) {
    const Classifier classifier(model, options);
    std::vector<std::vector<float>> got(callers, std::vector<float>(expected.size()));
    const std::size_t before = live;
    peak = before;
    std::vector<std::thread> threads;
    threads.reserve(callers);
    for (std::size_t i = 0; i < callers; ++i)
        threads.emplace_back([&, i] {
            for (const std::string_view text : {texts[i % 8], texts[0]}) (void)classifier.explain(text, 0);
            classifier.probabilities(texts, got[i], {});
        });
    for (std::thread& thread : threads) thread.join();
    std::printf("max_memory %zu, %u threads, %zu callers: %zu\n", options.max_memory, options.threads,
                callers, peak - before);
    CHECK(peak - before <= options.max_memory);
    for (const std::vector<float>& one : got)
        CHECK(std::memcmp(one.data(), expected.data(), expected.size() * sizeof(float)) == 0);
}

void test_model(const std::string& model) {
    const std::vector<std::string> owned = hostile_texts();
    const Texts texts(owned.begin(), owned.end());
    const std::vector<float> expected = scores(Classifier(model, {.threads = 1}), texts);
    Options options{.threads = 1, .max_text_bytes = kLongest};
    const std::size_t least = least_memory(model, options);
    CHECK(least == least_memory(model, {.threads = 4, .max_text_bytes = kLongest}));
    CHECK(least > least_memory(model, {.threads = 1, .max_text_bytes = kLongest / 2}));
    options.max_memory = least - 1;
    try {
        (void)Classifier(model, options);
        CHECK(false);
    } catch (const Error&) {
    }
    for (const std::size_t memory : {least, 2 * least, std::size_t{1} << 30})
        for (const unsigned threads : {1u, 3u}) {
            options.max_memory = memory;
            options.threads = threads;
            test_bound(model, texts, expected, options, memory == least ? 1 : 3);
        }
}

// The factor by which text may grow, upon which the bound relies, for all characters and emoji sequences.
void test_growth() {
    const text::Tokenizer tokenizer({.vocabulary = "[UNK]\n[CLS]\n[SEP]\na", .rules = text::known_rules()});
    std::string out;
    std::vector<std::uint32_t> origin;
    std::size_t highest = 0;
    const auto grows_as_said = [&](std::string_view text) {
        tokenizer.normalize(text, out, origin);
        CHECK(out.size() <= tokenizer.room(text.size(), text::count_not_ascii(text)).mapped);
        highest = std::max(highest, out.size() * 2 / std::max<std::size_t>(text.size(), 1));
    };
    char bytes[4];
    for (std::uint32_t code = 1; code < 0x110000; ++code)
        if (code < 0xD800 || code > 0xDFFF) grows_as_said({bytes, text::encode_utf8(code, bytes)});
    CHECK(highest == 21);
    grows_as_said("\xFF\xFF");
    // Every path of the tree of emoji; node 0 is the root.
    const auto walk = [&](const auto& self, std::uint32_t node, const std::string& path) -> void {
        if (text::tables::kEmojiName[node] != 0) grows_as_said(path);
        for (std::uint32_t edge = text::tables::kEmojiFirstEdge[node];
             edge < text::tables::kEmojiFirstEdge[node + 1]; ++edge)
            self(self, edge + 1,
                 path + std::string(bytes, text::encode_utf8(text::tables::kEmojiEdge[edge], bytes)));
    };
    walk(walk, 0, "");
}

}  // namespace

int main() {
    test_growth();
    test_model("tests/data/tiny.safetensors");
    // With normalisation rules, which need most; absent from builds without a model.
    const std::string packaged = "python/safetyclf/models/default.safetensors";
    if (std::FILE* file = std::fopen(packaged.c_str(), "rb")) {
        std::fclose(file);
        test_model(packaged);
    }
    return 0;
}
