#include "engine/runtime.hpp"

#include <unistd.h>

namespace safetyclf::engine {

Runtime::Runtime(const model::Model& model, unsigned threads)
    : model_(model), threads_(threads), owner_(getpid()) {}

void Runtime::run(std::size_t count, const ThreadPool::Work& work) {
    if (threads_ == 1 || count <= 1) {
        std::size_t next = 0;
        work(
            [&next, count](std::size_t& index) {
                index = next++;
                return index < count;
            },
            true);
        return;
    }
    std::call_once(started_, [this] { pool_ = std::make_unique<ThreadPool>(threads_ - 1); });
    pool_->run(count, work);
}

Runtime::Borrowed<Workspace> Runtime::workspace() {
    std::unique_ptr<Workspace> item;
    {
        const std::lock_guard lock(mutex_);
        if (!workspaces_.empty()) {
            item = std::move(workspaces_.back());
            workspaces_.pop_back();
        }
    }
    if (!item) item = std::make_unique<Workspace>(model_);
    return {*this, std::move(item)};
}

Runtime::Borrowed<Session> Runtime::session() {
    std::unique_ptr<Session> item;
    {
        const std::lock_guard lock(mutex_);
        if (!sessions_.empty()) {
            item = std::move(sessions_.back());
            sessions_.pop_back();
        }
    }
    if (!item) item = std::make_unique<Session>();
    return {*this, std::move(item)};
}

void Runtime::give_back(std::unique_ptr<Workspace> item) {
    const std::lock_guard lock(mutex_);
    workspaces_.push_back(std::move(item));
}

void Runtime::give_back(std::unique_ptr<Session> item) {
    const std::lock_guard lock(mutex_);
    sessions_.push_back(std::move(item));
}

}  // namespace safetyclf::engine
