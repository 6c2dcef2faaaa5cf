#include "engine/thread_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fstream>
#include <string>

namespace safetyclf::engine {

struct ThreadPool::Job {
    Job(std::size_t count_in, const Work& work_in) : count(count_in), work(work_in) {}

    const std::size_t count;
    const Work& work;  // outlives the job: run() waits for every thread that entered
    std::atomic<std::size_t> next{0};

    std::mutex mutex;
    std::condition_variable left;
    std::size_t inside = 0;  // workers that take part now
    bool closed = false;     // no worker may enter any more
    std::exception_ptr error;

    [[nodiscard]] bool exhausted() const { return next.load(std::memory_order_relaxed) >= count; }

    void take_part(bool caller) {
        const NextIndex next_index = [this](std::size_t& index) {
            index = next.fetch_add(1, std::memory_order_relaxed);
            return index < count;
        };
        try {
            work(next_index, caller);
        } catch (...) {
            next.store(count, std::memory_order_relaxed);
            const std::lock_guard lock(mutex);
            if (!error) error = std::current_exception();
        }
    }
};

ThreadPool::ThreadPool(unsigned workers) {
    threads_.reserve(workers);
    try {
        for (unsigned i = 0; i < workers; ++i) threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
        // The system gives no more threads: the pool works with those it has, and the caller always works.
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
}

void ThreadPool::serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (stopping_) return;
        const std::shared_ptr<Job> job = jobs_.front();
        if (job->exhausted()) {
            jobs_.pop_front();
            continue;
        }
        lock.unlock();
        bool entered = false;
        {
            const std::lock_guard job_lock(job->mutex);
            if (!job->closed) {
                ++job->inside;
                entered = true;
            }
        }
        if (entered) {
            job->take_part(false);
            const std::lock_guard job_lock(job->mutex);
            if (--job->inside == 0) job->left.notify_all();
        }
        lock.lock();
    }
}

void ThreadPool::run(std::size_t count, const Work& work) {
    const auto job = std::make_shared<Job>(count, work);
    if (count > 1 && !threads_.empty()) {
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(job);
        }
        wake_.notify_all();
    }
    job->take_part(true);
    {
        const std::lock_guard lock(mutex_);
        std::erase(jobs_, job);
    }
    std::unique_lock lock(job->mutex);
    job->closed = true;
    job->left.wait(lock, [&job] { return job->inside == 0; });
    if (job->error) std::rethrow_exception(job->error);
}

unsigned available_processors() {
    unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0)
        processors = static_cast<unsigned>(std::max(1, CPU_COUNT(&mask)));
    // Control groups, version 2: "quota period", or "max period".
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) {
        char* end = nullptr;
        const double share = std::ceil(std::strtod(quota.c_str(), &end) / period);
        if (end != quota.c_str() && share >= 1 && share < processors)
            processors = static_cast<unsigned>(share);
    }
    return processors;
}

}  // namespace safetyclf::engine
