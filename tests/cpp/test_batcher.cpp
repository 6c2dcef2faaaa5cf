// Many callers of one Batcher: bits, limits, cancelling, closing, forking. Run under ThreadSanitizer it also
// proves the absence of races on these paths.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>

#include "check.hpp"
#include "engine/batcher.hpp"

using namespace safetyclf;
using engine::Batcher;
using engine::BatchLimits;
using engine::BatchReport;
using engine::Request;

namespace {

constexpr const char* kModel = "tests/data/tiny.safetensors";
using Requests = std::vector<std::unique_ptr<Request>>;

std::unique_ptr<Request> request_of(std::vector<std::string> texts) {
    auto request = std::make_unique<Request>();
    request->texts = std::move(texts);
    return request;
}

std::string words(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += i % 3 == 0 ? "angry dog " : "the music ";
    return text;
}

// Waits until the batcher has given `count` requests.
Requests take(Batcher& batcher, std::size_t count, std::vector<BatchReport>* all = nullptr) {
    Requests out;
    while (out.size() < count) {
        pollfd ready{batcher.ready_fd(), POLLIN, 0};
        CHECK(poll(&ready, 1, 20000) == 1);
        std::vector<BatchReport> reports;
        for (auto& request : batcher.take(reports)) out.push_back(std::move(request));
        if (all != nullptr) all->insert(all->end(), reports.begin(), reports.end());
    }
    return out;
}

std::vector<float> alone(const Classifier& classifier, const std::vector<std::string>& texts) {
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<float> out(texts.size() * classifier.categories().size());
    classifier.probabilities(views, out, {});
    return out;
}

void test_bits_do_not_depend_on_company(const Classifier& classifier) {
    Batcher batcher(classifier, {.batch_tokens = 300});
    constexpr std::size_t kCallers = 4, kEach = 60;
    std::vector<std::thread> callers;
    for (std::size_t c = 0; c < kCallers; ++c)
        callers.emplace_back([&batcher, c] {
            for (std::size_t i = 0; i < kEach; ++i) {
                std::vector<std::string> texts(1 + i % 3, words((7 * i + c) % 60));
                CHECK(batcher.submit(request_of(std::move(texts))) != 0);
            }
        });
    std::vector<BatchReport> reports;
    const Requests done = take(batcher, kCallers * kEach, &reports);
    for (std::thread& caller : callers) caller.join();
    for (const auto& request : done) {
        CHECK(!request->error);
        CHECK(request->probabilities == alone(classifier, request->texts));
        CHECK(request->windows.size() == request->texts.size() && request->windows[0] >= 1);
        for (std::size_t i = 0; i < request->texts.size(); ++i)
            CHECK(request->tokens[i] == classifier.tokenize(request->texts[i]).ids.size());
    }
    std::size_t requests = 0;
    for (const BatchReport& report : reports) requests += report.requests;
    CHECK(requests == kCallers * kEach);
    CHECK(reports.size() < requests);  // some had company
}

void test_no_text_has_an_empty_answer(const Classifier& classifier) {
    Batcher batcher(classifier, {});
    batcher.submit(request_of({}));
    const Requests alone_in_a_batch = take(batcher, 1);
    batcher.submit(request_of({words(3000)}));  // the others wait for this one, and become one batch
    while (batcher.waiting() > 0) std::this_thread::yield();
    batcher.submit(request_of({}));
    batcher.submit(request_of({"dog"}));
    batcher.submit(request_of({}));
    const Requests done = take(batcher, 4);
    CHECK(done[2]->probabilities == alone(classifier, done[2]->texts));
    for (const auto* request : {alone_in_a_batch[0].get(), done[1].get(), done[3].get()}) {
        CHECK(!request->error);
        CHECK(request->probabilities.empty() && request->windows.empty() && request->depths.empty());
    }
}

void test_a_full_queue_turns_away(const Classifier& classifier) {
    Batcher batcher(classifier, {.queue_requests = 2, .queue_bytes = 1000});
    std::size_t taken = 0;
    for (int i = 0; i < 50; ++i) taken += batcher.submit(request_of({words(2000)})) != 0;
    CHECK(taken >= 1 && taken < 50);  // one is always taken, however large
    take(batcher, taken);
    CHECK(batcher.submit(request_of({"dog"})) != 0);
    take(batcher, 1);
}

void test_cancelled_work_is_not_done(const Classifier& classifier) {
    Batcher batcher(classifier, {});
    const std::uint64_t running = batcher.submit(request_of({words(60000)}));
    while (batcher.waiting() > 0) std::this_thread::yield();
    const std::uint64_t waiting = batcher.submit(request_of({words(60000)}));
    const std::uint64_t kept = batcher.submit(request_of({"dog"}));
    batcher.cancel(waiting);
    CHECK(batcher.waiting() == 1);
    batcher.cancel(running);
    batcher.cancel(running);
    batcher.cancel(12345);  // nobody's
    const Requests done = take(batcher, 2);
    CHECK(done[0]->id == running && done[0]->error);
    CHECK(done[1]->id == kept && !done[1]->error);
}

void test_cancelling_the_only_request_loses_no_later_one(const Classifier& classifier) {
    Batcher batcher(classifier, {});
    for (int i = 0; i < 50; ++i) {
        // Often before the thread has seen it: then it finds nothing, and has to sleep again.
        batcher.cancel(batcher.submit(request_of({"dog"})));
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        const std::uint64_t last = batcher.submit(request_of({"cat"}));
        while (take(batcher, 1).back()->id != last) continue;
    }
}

void test_one_bad_request_does_not_fail_others(const Classifier& classifier) {
    Batcher batcher(classifier, {.batch_tokens = 1u << 20, .max_wait = std::chrono::seconds(1)});
    batcher.submit(request_of({words(3000)}));  // the others wait for this one, and become one batch
    while (batcher.waiting() > 0) std::this_thread::yield();
    batcher.submit(request_of({"dog"}));
    batcher.submit(request_of({std::string(1000000, 'x')}));
    batcher.submit(request_of({"cat"}));
    std::map<std::uint64_t, bool> failed;
    for (const auto& request : take(batcher, 4)) failed[request->id] = static_cast<bool>(request->error);
    CHECK(!failed[1] && !failed[2] && failed[3] && !failed[4]);
}

void test_closing_answers_all_that_waits(const Classifier& classifier) {
    Batcher batcher(classifier, {.batch_tokens = 50});
    for (std::size_t i = 0; i < 40; ++i) batcher.submit(request_of({words(i)}));
    batcher.close();
    CHECK(batcher.submit(request_of({"dog"})) == 0);
    std::vector<BatchReport> reports;
    CHECK(batcher.take(reports).size() == 40);
}

void test_without_closing_nothing_hangs(const Classifier& classifier) {
    Batcher batcher(classifier, {});
    for (std::size_t i = 0; i < 10; ++i) batcher.submit(request_of({words(20000)}));
}

void test_a_lone_request_does_not_wait(const Classifier& classifier) {
    Batcher batcher(classifier, {.max_wait = std::chrono::seconds(20)});
    for (int i = 0; i < 5; ++i) {
        batcher.submit(request_of({"dog"}));
        CHECK(take(batcher, 1)[0]->waited < std::chrono::seconds(10));
    }
}

void test_company_is_waited_for(const Classifier& classifier) {
    Batcher batcher(classifier, {.max_wait = std::chrono::seconds(20)});
    batcher.submit(request_of({words(20000)}));
    while (batcher.waiting() > 0) std::this_thread::yield();
    for (int i = 0; i < 3; ++i) batcher.submit(request_of({"dog"}));  // a batch of three
    take(batcher, 4);
    // The next batch waits until there are three again.
    std::vector<BatchReport> reports;
    for (int i = 0; i < 3; ++i) {
        batcher.submit(request_of({"cat"}));
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    take(batcher, 3, &reports);
    CHECK(reports.size() == 1 && reports[0].requests == 3);
}

void test_a_forked_child_leaves_it_alone(const Classifier& classifier) {
    auto batcher = std::make_unique<Batcher>(classifier, BatchLimits{});
    batcher->submit(request_of({"dog"}));
    take(*batcher, 1);
    const pid_t child = fork();
    if (child == 0) {
        bool refused = false;
        try {
            batcher->submit(request_of({"dog"}));
        } catch (const Error&) {
            refused = true;
        }
        batcher.reset();
        _exit(refused ? 0 : 1);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    batcher->submit(request_of({"dog"}));
    take(*batcher, 1);
}

}  // namespace

int main() {
    const Classifier classifier(kModel, {.threads = 1, .max_text_bytes = 999999});
    test_bits_do_not_depend_on_company(classifier);
    test_bits_do_not_depend_on_company(Classifier(kModel, {.threads = 3}));
    test_no_text_has_an_empty_answer(classifier);
    test_no_text_has_an_empty_answer(Classifier(kModel, {.threads = 3}));
    test_a_full_queue_turns_away(classifier);
    test_cancelled_work_is_not_done(classifier);
    test_cancelling_the_only_request_loses_no_later_one(classifier);
    test_one_bad_request_does_not_fail_others(classifier);
    test_closing_answers_all_that_waits(classifier);
    test_without_closing_nothing_hangs(classifier);
    test_a_lone_request_does_not_wait(classifier);
    test_company_is_waited_for(classifier);
    test_a_forked_child_leaves_it_alone(classifier);
}
