// Many threads in one Classifier, many Classifiers at once, and stopped calls among them: every result must
// be the bits that a lone caller gets. Run under ThreadSanitizer it also proves the absence of races on these
// paths.
#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "check.hpp"
#include "safetyclf/classifier.hpp"

using namespace safetyclf;

namespace {

constexpr const char* kModel = "tests/data/tiny.safetensors";
constexpr std::size_t kCallers = 8;
constexpr std::size_t kRounds = 12;

std::vector<std::string> make_texts() {
    const char* const words[] = {"good",  "dog",  "they",  "think",           "rude",
                                 "music", "help", "three", "\xF0\x9F\x98\x80"};
    std::vector<std::string> texts{"", " "};
    for (std::size_t length = 1; length < 120; length += 7) {
        std::string text;
        for (std::size_t i = 0; i < length; ++i) text.append(words[(i * i + length) % 9]).append(" ");
        texts.push_back(text);
    }
    return texts;
}

struct Result {
    std::vector<float> probabilities;
    std::vector<std::uint32_t> windows;
};

Result classify(const Classifier& classifier, std::span<const std::string_view> texts) {
    Result result;
    result.probabilities.resize(texts.size() * classifier.categories().size());
    result.windows.resize(texts.size());
    classifier.probabilities(texts, result.probabilities, result.windows);
    return result;
}

bool same_bits(const float* a, const float* b, std::size_t count) {
    return std::memcmp(a, b, count * sizeof(float)) == 0;
}

template <class Body>
void in_parallel(std::size_t threads, Body body) {
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t) running.emplace_back([&body, t] { body(t); });
    for (std::thread& thread : running) thread.join();
}

// Every caller asks for another slice of the texts each round.
void test_shared_classifier(const std::vector<std::string_view>& texts, const Result& expected) {
    const Classifier shared(kModel, {.threads = 3});
    const std::size_t classes = shared.categories().size();
    in_parallel(kCallers, [&](std::size_t caller) {
        for (std::size_t round = 0; round < kRounds; ++round) {
            const std::size_t first = (caller + round) % texts.size();
            const std::size_t count = 1 + (caller * round) % (texts.size() - first);
            const Result got = classify(shared, std::span(texts).subspan(first, count));
            CHECK(same_bits(got.probabilities.data(), expected.probabilities.data() + first * classes,
                            count * classes));
            CHECK(std::equal(got.windows.begin(), got.windows.end(),
                             expected.windows.begin() + static_cast<std::ptrdiff_t>(first)));
        }
    });
}

void test_different_calls_at_once(const std::vector<std::string_view>& texts) {
    const Classifier shared(kModel, {.threads = 2});
    const std::string_view text = texts.back();
    const Explanation explanation = shared.explain(text, 0);
    const std::vector<std::int32_t> ids = shared.tokenize(text).ids;
    const std::string normalized = shared.normalize(text);
    in_parallel(kCallers, [&](std::size_t caller) {
        for (std::size_t round = 0; round < kRounds; ++round) {
            switch ((caller + round) % 4) {
                case 0: {
                    const float logit = shared.explain(text, 0).logit;
                    CHECK(same_bits(&logit, &explanation.logit, 1));
                    break;
                }
                case 1:
                    CHECK(shared.tokenize(text).ids == ids);
                    break;
                case 2:
                    CHECK(shared.normalize(text) == normalized);
                    break;
                default:
                    (void)classify(shared, texts);
            }
        }
    });
}

void test_many_classifiers(const std::vector<std::string_view>& texts, const Result& expected) {
    in_parallel(kCallers, [&](std::size_t caller) {
        const Classifier own(kModel, {.threads = static_cast<unsigned>(1 + caller % 3)});
        const Result got = classify(own, texts);
        CHECK(same_bits(got.probabilities.data(), expected.probabilities.data(),
                        expected.probabilities.size()));
    });
}

// Whether the call was stopped; if not, its result must be complete.
bool stopped(const Classifier& classifier, std::span<const std::string_view> texts, const Result& expected) {
    Result got{std::vector<float>(expected.probabilities.size()),
               std::vector<std::uint32_t>(expected.windows.size())};
    try {
        classifier.probabilities(texts, got.probabilities, got.windows, [] { return true; });
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::cancelled);
        return true;
    }
    CHECK(same_bits(got.probabilities.data(), expected.probabilities.data(), expected.probabilities.size()));
    return false;
}

// A stopped call leaves the classifier as it was for the others. Only the calling thread asks whether to
// stop, so workers may have finished everything before it could.
void test_stopped_calls(const std::vector<std::string_view>& texts, const Result& expected) {
    const Classifier shared(kModel, {.threads = 3});
    in_parallel(kCallers, [&](std::size_t caller) {
        if (caller % 2 == 0) {
            (void)stopped(shared, texts, expected);
            return;
        }
        const Result got = classify(shared, texts);
        CHECK(same_bits(got.probabilities.data(), expected.probabilities.data(),
                        expected.probabilities.size()));
    });
    CHECK(stopped(Classifier(kModel, {.threads = 1}), texts, expected));
}

// One text can be long work before anything is encoded. This one has a single piece, and so a single window.
void test_stop_while_one_text_is_tokenised() {
    const Classifier classifier(kModel, {.threads = 2});
    const std::string word(1 << 20, 'a');
    const std::string_view text = word;
    std::vector<float> probabilities(classifier.categories().size());
    std::vector<std::uint32_t> offsets;
    const std::function<void(const StopCheck&)> calls[] = {
        [&](const StopCheck& stop) {
            classifier.probabilities({&text, 1}, probabilities, {}, stop);
        },
        [&](const StopCheck& stop) {
            (void)classifier.pooled({&text, 1}, offsets, stop);
        },
        [&](const StopCheck& stop) { (void)classifier.explain(text, 0, stop); },
        [&](const StopCheck& stop) { (void)classifier.tokenize(text, stop); },
        [&](const StopCheck& stop) { (void)classifier.normalize(text, stop); },
    };
    for (const auto& call : calls) {
        std::size_t asked = 0;
        call([&] { return ++asked, false; });
        CHECK(asked >= word.size() / (64 * 1024));
        const std::size_t last = asked / 2;
        asked = 0;
        bool cancelled = false;
        try {
            call([&] { return ++asked == last; });
        } catch (const Error& error) {
            cancelled = error.code() == ErrorCode::cancelled;
        }
        CHECK(cancelled && asked == last);
    }
}

}  // namespace

int main() {
    const std::vector<std::string> owned = make_texts();
    const std::vector<std::string_view> texts(owned.begin(), owned.end());
    const Classifier alone(kModel, {.threads = 1});
    const Result expected = classify(alone, texts);
    test_shared_classifier(texts, expected);
    test_different_calls_at_once(texts);
    test_many_classifiers(texts, expected);
    test_stopped_calls(texts, expected);
    test_stop_while_one_text_is_tokenised();
    return 0;
}
