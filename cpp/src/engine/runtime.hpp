// What a classifier needs to work in one process: worker threads and memory that calls borrow and give back.
//
// Threads do not survive fork(), and a lock that another thread held at that moment stays held in the child.
// So a child never touches the parent's Runtime: it makes its own (docs/threading.md). The model is immutable
// and stays shared, copy-on-write.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "engine/thread_pool.hpp"
#include "engine/workspace.hpp"
#include "text/tokenizer.hpp"

namespace safetyclf::engine {

// A group of texts tokenised together.
struct Unit {
    std::size_t first, count;
    text::RaggedBatch batch;
};

// Consecutive windows of one unit that go through the encoder together.
struct MicroBatch {
    std::size_t unit, first_window, windows;
    std::size_t slot;  // number of the first window within the chunk
};

// Buffers of one call, reused by later ones.
struct Session {
    std::vector<Unit> units;
    std::size_t used_units = 0;
    std::vector<MicroBatch> micro_batches;
    std::vector<float> window_values;  // logits or probabilities
    std::vector<std::uint16_t> window_depths;
    std::vector<float> text_values;
};

// What may be in use at the same time. Every limit leaves each result as it is, bit by bit.
struct Limits {
    static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

    // Keeps to `max_memory` bytes: workspaces, and buffers for texts. Throws Error(invalid_argument), which
    // names the least that works, if a text of `max_text_bytes` could need more.
    static Limits within(std::size_t max_memory, const model::Model& model, unsigned threads,
                         std::size_t max_text_bytes);

    std::size_t token_budget = kTokenBudget;  // at which a micro-batch is full
    std::size_t workspaces = kNone;
    std::size_t text_bytes = kNone;   // for the texts of all calls
    std::size_t chunk_bytes = kNone;  // for a chunk of several texts

    [[nodiscard]] bool bounded() const { return text_bytes != kNone; }
};

class Runtime {
public:
    Runtime(const model::Model& model, unsigned threads, const Limits& limits);

    [[nodiscard]] pid_t owner() const { return owner_; }
    [[nodiscard]] const model::Model& model() const { return model_; }
    [[nodiscard]] const Limits& limits() const { return limits_; }

    // Indices 0 .. count - 1, each once, on the caller and the workers.
    void run(std::size_t count, const ThreadPool::Work& work);

    template <class T>
    class Borrowed {
    public:
        Borrowed(Runtime& from, std::unique_ptr<T> item) : from_(from), item_(std::move(item)) {}
        ~Borrowed() { from_.give_back(std::move(item_)); }
        Borrowed(const Borrowed&) = delete;
        Borrowed& operator=(const Borrowed&) = delete;
        T& operator*() const { return *item_; }
        T* operator->() const { return item_.get(); }

    private:
        Runtime& from_;
        std::unique_ptr<T> item_;
    };

    [[nodiscard]] Borrowed<Workspace> workspace();  // waits for one if there are limits
    [[nodiscard]] Borrowed<Session> session();

    // A share of limits().text_bytes, for which it waits, first come, first served. Who holds one may wait
    // for a workspace, but never the other way round.
    class Share {
    public:
        Share(Runtime& of, std::size_t bytes);
        ~Share();
        Share(const Share&) = delete;
        Share& operator=(const Share&) = delete;

    private:
        Runtime& of_;
        const std::size_t bytes_;
    };
    // The largest share that a text can make necessary, or texts in sum, but for kShareOfCall; 0 without
    // limits.
    [[nodiscard]] std::size_t share_of(std::string_view text, bool with_offsets = false) const;
    static constexpr std::size_t kShareOfCall = 64 * 1024;

private:
    void give_back(std::unique_ptr<Workspace> item);
    void give_back(std::unique_ptr<Session> item);

    const model::Model& model_;
    const unsigned threads_;
    const Limits limits_;
    const pid_t owner_;
    std::once_flag started_;
    std::unique_ptr<ThreadPool> pool_;  // started by the first call with work for more than one thread
    std::mutex mutex_;
    std::condition_variable freed_;
    std::size_t made_ = 0;  // workspaces
    std::size_t used_ = 0;  // of limits_.text_bytes
    std::uint64_t next_ticket_ = 0, served_ = 0;
    std::vector<std::unique_ptr<Workspace>> workspaces_;
    std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace safetyclf::engine
