// What a classifier needs to work in one process: worker threads and memory that calls borrow and give back.
//
// Threads do not survive fork(), and a lock that another thread held at that moment stays held in the child.
// So a child never touches the parent's Runtime: it makes its own (docs/threading.md). The model is immutable
// and stays shared, copy-on-write.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
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

class Runtime {
public:
    Runtime(const model::Model& model, unsigned threads);

    [[nodiscard]] pid_t owner() const { return owner_; }
    [[nodiscard]] const model::Model& model() const { return model_; }

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

    [[nodiscard]] Borrowed<Workspace> workspace();
    [[nodiscard]] Borrowed<Session> session();

private:
    void give_back(std::unique_ptr<Workspace> item);
    void give_back(std::unique_ptr<Session> item);

    const model::Model& model_;
    const unsigned threads_;
    const pid_t owner_;
    std::once_flag started_;
    std::unique_ptr<ThreadPool> pool_;  // started by the first call with work for more than one thread
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> workspaces_;
    std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace safetyclf::engine
