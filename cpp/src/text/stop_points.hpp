// Where the work on a text can be stopped: about once per kStopInterval bytes the caller's check is asked.
//
// Every loop over a text says what it reads, the inner ones too, so that no text can put off the question:
// one word, one run of marks or one emoji sequence may be as long as the whole text.
#pragma once

#include <cstddef>

#include "safetyclf/error.hpp"
#include "safetyclf/stop_check.hpp"

namespace safetyclf::text {

// At most a millisecond or so of work. Much shorter, and asking would cost something.
inline constexpr std::size_t kStopInterval = 64 * 1024;

class StopPoints {
public:
    explicit StopPoints(const StopCheck& stop) : stop_(stop) {}  // keeps a reference; may be empty

    // Counts `bytes` as read. Throws Error(cancelled) if the check, asked now, says so.
    void pass(std::size_t bytes) {
        if (bytes < left_) {
            left_ -= bytes;
        } else {
            ask();
        }
    }

private:
    [[gnu::cold, gnu::noinline]] void ask() {
        left_ = kStopInterval;
        if (stop_ && stop_()) throw Error(ErrorCode::cancelled, "stopped by the caller");
    }

    const StopCheck& stop_;
    std::size_t left_ = kStopInterval;
};

}  // namespace safetyclf::text
