// A pool of worker threads that help callers with indexed work. No OpenMP: two runtimes in one process fight
// over cores.
//
// run() may be called by many threads at once; the caller always works too, so a pool without workers is a
// plain loop and progress never depends on a worker being free. Exceptions of any task stop the rest of that
// run and are rethrown to its caller.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace safetyclf::engine {

class ThreadPool {
public:
    explicit ThreadPool(unsigned workers);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // One thread's share of a run: called once on each thread that takes part, with a source of indices that
    // gives each of 0 .. count - 1 to exactly one thread. `caller` is true on the thread that called run().
    using NextIndex = std::function<bool(std::size_t&)>;
    using Work = std::function<void(const NextIndex& next, bool caller)>;
    void run(std::size_t count, const Work& work);

private:
    struct Job;
    void serve();

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

// Processors this process may use: its affinity mask, cut by the control group's CPU quota.
[[nodiscard]] unsigned available_processors();

}  // namespace safetyclf::engine
