// Requests of many callers, read by the model together: a thread of its own takes what is waiting as one
// ragged batch. Nobody waits for company in an idle batcher. While several callers are about, a request waits
// for others, for a bounded time, since the model reads its weights once for all texts of a batch.
//
// Results are the bits that Classifier gives each text alone, whatever else is in the batch. All members may
// be called by any thread, but in the process that made the batcher only: make it after fork().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "safetyclf/classifier.hpp"

namespace safetyclf::engine {

struct BatchLimits {
    std::size_t batch_tokens = 1024;           // at which a batch is full, by Request::estimated_tokens
    std::chrono::microseconds max_wait{2000};  // for company
    // Beyond these a request is turned away; one alone is always taken.
    std::size_t queue_requests = 2048;
    std::size_t queue_bytes = std::size_t{16} << 20;
};

// Texts that one caller wants scores of, and then the scores.
struct Request {
    virtual ~Request() = default;  // callers may add what they need with the answer

    std::vector<std::string> texts;
    std::optional<std::size_t> level;  // of the rules for leaving early; none: every layer

    // What follows is set by the batcher; the spans of Classifier::probabilities().
    std::uint64_t id = 0;
    std::chrono::steady_clock::time_point arrived{};
    std::chrono::steady_clock::duration waited{};
    std::size_t bytes = 0;
    bool cancelled = false;
    std::vector<float> probabilities;
    std::vector<std::uint32_t> windows, tokens;
    std::vector<std::uint16_t> depths;
    std::exception_ptr error;  // instead of all of these

    // What limits count: English has a token for about four bytes.
    [[nodiscard]] std::size_t estimated_tokens() const { return bytes / 4 + 2 * texts.size(); }
};

// A batch that was worked off.
struct BatchReport {
    std::size_t requests, texts, tokens;
    std::chrono::steady_clock::duration took;
};

class Batcher {
public:
    // The classifier must outlive it.
    Batcher(const Classifier& classifier, const BatchLimits& limits);
    ~Batcher();  // without close(), what still waits is dropped
    Batcher(const Batcher&) = delete;
    Batcher& operator=(const Batcher&) = delete;

    [[nodiscard]] const Classifier& classifier() const;
    // The request's number, from 1; 0 if the queue is full or closed, and nothing happens.
    std::uint64_t submit(std::unique_ptr<Request> request);
    // Its result is no longer wanted. A request that waits is dropped at once; one in the model makes it stop
    // if nobody else wants its batch, and comes back from take() as any other.
    void cancel(std::uint64_t id);
    // Readable (poll) while take() has something to give.
    [[nodiscard]] int ready_fd() const;
    // What was finished since the last call.
    std::vector<std::unique_ptr<Request>> take(std::vector<BatchReport>& reports);
    // Requests that wait.
    [[nodiscard]] std::size_t waiting() const;
    // Takes no more, works off what waits and ends the thread. take() then has the rest.
    void close();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace safetyclf::engine
