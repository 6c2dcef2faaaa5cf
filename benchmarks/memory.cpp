// Memory of a classifier by number of threads and max_memory, the table of docs/embedding.md:
//     bench_memory MODEL_FILE TEXTS_FILE
// Each row is a process of its own. Resident memory from /proc/self: what loading adds, what the file shares
// with other processes, and the most that calls add, for ordinary texts (lines of TEXTS_FILE, 2,000 in a
// call, from two calling threads) and then for the worst texts there are besides: all emoji, the longest
// allowed.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dispatch.hpp"
#include "engine/workspace.hpp"
#include "safetyclf/classifier.hpp"

using namespace safetyclf;

namespace {

constexpr std::size_t kTexts = 1000;
constexpr std::size_t kLongest = 16 * 1024;
constexpr double kMiB = 1024 * 1024;

double status(const std::string& key) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(key + ":")) return std::atof(line.c_str() + key.size() + 1) * 1024 / kMiB;
    return 0;
}

void forget_peak() {
    std::ofstream("/proc/self/clear_refs") << "5";
}

double cpu_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec) + static_cast<double>(used.ru_utime.tv_usec) * 1e-6;
}

void call_from_two_threads(const Classifier& classifier, const std::vector<std::string_view>& texts,
                           std::vector<float> (&scores)[2]) {
    std::thread threads[2];
    for (int i = 0; i < 2; ++i)
        threads[i] = std::thread([&, i] { classifier.probabilities(texts, scores[i], {}); });
    for (std::thread& thread : threads) thread.join();
}

void row(const char* model, const std::vector<std::string_view>& texts, unsigned threads,
         std::size_t max_memory) {
    const double file = status("RssFile"), anonymous = status("RssAnon");
    const Classifier classifier(model,
                                {.threads = threads, .max_text_bytes = kLongest, .max_memory = max_memory});
    const double mapped = status("RssFile") - file, packed = status("RssAnon") - anonymous;

    std::string emoji;
    while (emoji.size() + 4 <= kLongest) emoji += "\xF0\x9F\xAB\xB0";
    const std::vector<std::string_view> worst(1, emoji);
    std::vector<float> scores[2];  // touched before, as results do not count
    for (auto& one : scores) one.assign(texts.size() * classifier.categories().size(), 1.0f);

    forget_peak();
    const double before = status("VmRSS"), begin = cpu_seconds();
    call_from_two_threads(classifier, texts, scores);
    const double used = cpu_seconds() - begin;
    const double ordinary = status("VmHWM") - before;
    call_from_two_threads(classifier, worst, scores);
    std::printf("| %u | %s | %.1f | %.1f | %.1f | %.1f | %.0f |\n", threads,
                max_memory == 0 ? "none" : std::to_string(max_memory >> 20).c_str(), mapped, packed, ordinary,
                status("VmHWM") - before, used * 1e6 / 2 / static_cast<double>(texts.size()));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s MODEL_FILE TEXTS_FILE\n", argv[0]);
        return 2;
    }
    std::ifstream file(argv[2]);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    std::vector<std::string_view> texts;
    while (!lines.empty() && texts.size() < kTexts) texts.emplace_back(lines[texts.size() % lines.size()]);

    std::printf(
        "| threads | max_memory, MiB | file, MiB | packed, MiB | ordinary, MiB | worst, MiB | CPU us a text "
        "|\n");
    std::printf("|---|---|---|---|---|---|---|\n");
    for (const unsigned threads : {1u, 2u, 4u})
        for (const std::size_t max_memory : {0u, 32u << 20, 16u << 20, 10u << 20}) {
            std::fflush(stdout);
            const pid_t child = fork();
            if (child == 0) {
                row(argv[1], texts, threads, max_memory);
                std::fflush(stdout);
                _exit(0);
            }
            int result = 0;
            if (child < 0 || waitpid(child, &result, 0) != child || result != 0) return 1;
        }
    const auto loaded = model::Model::load(argv[1], kernels::active());
    for (const std::size_t budget : {engine::kTokenBudget, std::size_t{32}})
        std::printf("workspace at %zu tokens: %zu bytes\n", budget,
                    engine::Workspace::bytes(*loaded, budget));
    for (const std::size_t longest : {4u << 10, 16u << 10, 64u << 10, 1u << 20}) {
        try {
            (void)Classifier(argv[1], {.threads = 1, .max_text_bytes = longest, .max_memory = 1});
        } catch (const Error& error) {
            std::printf("max_text_bytes %zu: %s\n", longest, error.what());
        }
    }
    return 0;
}
