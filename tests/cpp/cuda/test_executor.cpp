// Classifiers on the emulated driver, for sanitizers: what tests/python/test_cuda.py does from outside, with
// little memory, many threads, and callers that stop in the middle.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>

#include "check.hpp"
#include "cuda/accelerator.hpp"
#include "emulated_device.hpp"
#include "safetyclf/classifier.hpp"

using namespace safetyclf;

extern "C" void safetyclf_emulated_counts(emulation::Counts* counts);

namespace {

constexpr const char* kModel = "tests/data/tiny.safetensors";

emulation::Counts counts() {
    emulation::Counts found{};
    safetyclf_emulated_counts(&found);
    return found;
}

std::vector<std::string> some_texts(std::size_t count) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < count; ++i) {
        std::string text;
        for (std::size_t word = 0; word < i * i % 60; ++word)
            text += word % 3 == 0 ? "angry dog " : "the music ";
        texts.push_back(text);
    }
    return texts;
}

std::vector<float> scores(const Classifier& classifier, const std::vector<std::string>& texts,
                          const StopCheck& stop = {}) {
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<float> probabilities(texts.size() * classifier.categories().size());
    classifier.probabilities(views, probabilities, {}, stop);
    return probabilities;
}

void threads_with_little_memory() {
    const std::vector<std::string> texts = some_texts(40);
    const Classifier cpu(kModel, {.threads = 1});
    const Classifier gpu(kModel, {.threads = 2, .accelerator = cuda::open(0)});
    const std::vector<float> expected = scores(cpu, texts);
    std::atomic<int> same = 0;
    std::vector<std::thread> callers;
    for (int t = 0; t < 6; ++t) callers.emplace_back([&] { same += scores(gpu, texts) == expected ? 1 : 0; });
    for (std::thread& caller : callers) caller.join();
    CHECK(same == 6);
    CHECK(counts().peak_bytes <= 400'000);
}

void callers_that_stop() {
    const std::vector<std::string> texts = some_texts(40);
    const Classifier gpu(kModel, {.threads = 1, .accelerator = cuda::open(0)});
    const std::vector<float> expected = scores(gpu, texts);
    for (int questions : {1, 2, 3}) {
        bool stopped = false;
        try {
            scores(gpu, texts, [&] { return questions-- == 0; });
        } catch (const Error& error) {
            stopped = error.code() == ErrorCode::cancelled;
        }
        CHECK(stopped || questions >= 0);
        CHECK(scores(gpu, texts) == expected);
    }
}

void a_forked_child_works_on_the_cpu() {
    const std::vector<std::string> texts = some_texts(10);
    const Classifier gpu(kModel, {.threads = 1, .accelerator = cuda::open(0)});
    const std::vector<float> expected = scores(gpu, texts);
    const pid_t child = fork();
    if (child == 0) _exit(scores(gpu, texts) == expected ? 0 : 1);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

int main() {
    // Room for the model and few rows: three slots are made, two given up, and the rest halved.
    setenv("SAFETYCLF_EMULATED_CUDA", "plain_linear=1 memory=400000 order=2", 1);
    threads_with_little_memory();
    callers_that_stop();
    a_forked_child_works_on_the_cpu();
    CHECK(counts().live_bytes == 0 && counts().live_pieces == 0);
    return 0;
}
