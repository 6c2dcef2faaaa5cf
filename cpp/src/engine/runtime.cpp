#include "engine/runtime.hpp"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "safetyclf/error.hpp"

namespace safetyclf::engine {
namespace {

// Smaller micro-batches would save little: a workspace has room for one whole window besides.
constexpr std::size_t kLeastTokenBudget = 32;

// Of the buffers of a call what grows with texts and windows besides the tokenizer's own: units, of which
// there is one for 128 texts or 4 KiB, micro-batches, and what comes out of the encoder.
std::size_t share_of_text(const model::Model& model, std::size_t bytes, std::size_t not_ascii,
                          bool with_offsets) {
    const text::Tokenizer::Room room = model.tokenizer->room(bytes, not_ascii);
    const std::size_t window =
        4 * sizeof(MicroBatch) + sizeof(std::uint16_t) + sizeof(float) * (model.categories.size() + 1);
    const std::size_t unit = 4 * sizeof(Unit);
    return room.bytes(with_offsets) + room.windows * window + unit / 128 + 1 + bytes * unit / 4096 +
           sizeof(std::uint32_t);
}

}  // namespace

Limits Limits::within(std::size_t max_memory, const model::Model& model, unsigned threads,
                      std::size_t max_text_bytes) {
    const std::size_t largest =
        share_of_text(model, max_text_bytes, max_text_bytes, true) + Runtime::kShareOfCall;
    const std::size_t least = largest + Workspace::bytes(model, kLeastTokenBudget);
    if (max_memory < least)
        throw Error(ErrorCode::invalid_argument, "max_memory must be at least " + std::to_string(least) +
                                                     " bytes for this model and texts of up to " +
                                                     std::to_string(max_text_bytes) +
                                                     " bytes (max_text_bytes)");
    Limits limits;
    std::size_t each = Workspace::bytes(model, limits.token_budget);
    while (limits.token_budget > kLeastTokenBudget && largest + each * threads > max_memory) {
        limits.token_budget /= 2;
        each = Workspace::bytes(model, limits.token_budget);
    }
    // What is left serves several calls at once.
    const std::size_t spare = max_memory - largest;
    limits.workspaces =
        spare / each > threads ? std::max<std::size_t>(threads, spare / 2 / each) : spare / each;
    limits.text_bytes = max_memory - limits.workspaces * each;
    limits.chunk_bytes = limits.text_bytes / std::max<std::size_t>(limits.workspaces / threads, 1);
    return limits;
}

Runtime::Runtime(const model::Model& model, unsigned threads, const Limits& limits)
    : model_(model),
      threads_(static_cast<unsigned>(std::min<std::size_t>(threads, limits.workspaces))),
      limits_(limits),
      owner_(getpid()) {}

std::size_t Runtime::share_of(std::string_view text, bool with_offsets) const {
    if (!limits_.bounded()) return 0;
    return share_of_text(model_, text.size(), text::count_not_ascii(text), with_offsets);
}

Runtime::Share::Share(Runtime& of, std::size_t bytes) : of_(of), bytes_(of.limits_.bounded() ? bytes : 0) {
    if (bytes_ == 0) return;
    std::unique_lock lock(of_.mutex_);
    const std::uint64_t ticket = of_.next_ticket_++;
    of_.freed_.wait(lock,
                    [&] { return ticket == of_.served_ && bytes_ <= of_.limits_.text_bytes - of_.used_; });
    ++of_.served_;
    of_.used_ += bytes_;
    of_.freed_.notify_all();
}

Runtime::Share::~Share() {
    if (bytes_ == 0) return;
    const std::lock_guard lock(of_.mutex_);
    of_.used_ -= bytes_;
    of_.freed_.notify_all();
}

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
        std::unique_lock lock(mutex_);
        freed_.wait(lock, [this] { return !workspaces_.empty() || made_ < limits_.workspaces; });
        if (workspaces_.empty()) {
            item = std::make_unique<Workspace>(model_, limits_.token_budget);
            ++made_;
        } else {
            item = std::move(workspaces_.back());
            workspaces_.pop_back();
        }
    }
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
    if (limits_.bounded()) freed_.notify_all();  // one may be waiting for a share only
}

void Runtime::give_back(std::unique_ptr<Session> item) {
    if (limits_.bounded()) return;  // its buffers are part of a share
    const std::lock_guard lock(mutex_);
    sessions_.push_back(std::move(item));
}

}  // namespace safetyclf::engine
