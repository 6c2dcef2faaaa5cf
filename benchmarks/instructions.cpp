// Fixed pieces of work whose instructions callgrind counts; instructions.py runs this program and reads the
// counts. Usage: bench_instructions MODEL. Prints the compiler, then name and number of texts and tokens of
// each section in order. One thread, no clock.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "safetyclf/classifier.hpp"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "g++ " __VERSION__
#endif

using safetyclf::Classifier;
using Words = std::span<const std::string_view>;
using Texts = std::vector<std::string_view>;

// Callgrind counts from each entry of this function to its end, and knows it by this name.
extern "C" [[gnu::noinline]] void measured_section(const std::function<void()>& work) {
    work();
}

namespace {

// Plain words are one token each, in the vocabulary of the model in the package and in that of
// instructions.py. In the marked ones letters have accents, and two are pictures.
constexpr std::string_view kPlain[] = {"hello", "friend", "the",  "weather", "is",  "nice", "day",
                                       "and",   "we",     "like", "to",      "see", "the",  "river"};
constexpr std::string_view kMarked[] = {"hell\u00f3", "friend",     "th\u00e9", "w\u00e9ather", "is",
                                        "n\u00efce",  "\U0001f31e", "and",      "w\u0113",      "like",
                                        "t\u00f6",    "s\u00e9e",   "the",      "\U0001f33f"};

// As many words as make `tokens` tokens with [CLS] and [SEP], if each is one; `first` tells texts apart.
std::string text_of(Words words, std::size_t tokens, std::size_t first = 0) {
    std::string text;
    for (std::size_t i = 2; i < tokens; ++i) {
        if (i > 2) text += ' ';
        text += words[(first + i) % words.size()];
    }
    return text;
}

void read(const Classifier& classifier, const Texts& texts) {
    std::vector<float> logits(texts.size() * classifier.categories().size());
    classifier.logits(texts, 0, logits, {});
}

void score(const Classifier& classifier, const Texts& texts) {
    std::vector<float> probabilities(texts.size() * classifier.categories().size());
    classifier.probabilities(texts, probabilities, {});
}

void score_adaptively(const Classifier& classifier, const Texts& texts) {
    std::vector<float> probabilities(texts.size() * classifier.categories().size());
    std::vector<std::uint16_t> depths(texts.size());
    classifier.adaptive_probabilities(texts, 0, probabilities, {}, depths);
}

void run(const std::string& path) {
    std::printf("%s\n", COMPILER);
    std::optional<Classifier> classifier;
    measured_section([&] { classifier.emplace(path, safetyclf::Options{.threads = 1}); });
    std::printf("load\t0\t0\n");

    const auto section = [&](const char* name, auto work, const Texts& texts) {
        work(*classifier, {"hello"});  // buffers are made and symbols bound before anything is counted
        measured_section([&] { work(*classifier, texts); });
        std::size_t tokens = 0;
        for (const std::string_view text : texts) tokens += classifier->tokenize(text).ids.size();
        std::printf("%s\t%zu\t%zu\n", name, texts.size(), tokens);
    };
    const std::string plain[] = {text_of(kPlain, 8), text_of(kPlain, 64), text_of(kPlain, 512)};
    const std::string marked[] = {text_of(kMarked, 64), text_of(kMarked, 512)};
    std::vector<std::string> owned;
    for (std::size_t i = 0; i < 24; ++i) owned.push_back(text_of(kPlain, 4 + i % 8, i));
    const Texts many(owned.begin(), owned.end());

    section("read 512", read, {plain[2]});
    section("read 512 marked", read, {marked[1]});
    section("full 8", score, {plain[0]});
    section("full 64", score, {plain[1]});
    section("full 64 marked", score, {marked[0]});
    section("full 512", score, {plain[2]});
    section("full many short", score, many);
    section("adaptive many short", score_adaptively, many);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: bench_instructions MODEL\n");
        return 2;
    }
    try {
        run(argv[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
