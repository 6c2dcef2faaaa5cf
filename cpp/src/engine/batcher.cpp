#include "engine/batcher.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <span>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

namespace safetyclf::engine {
namespace {

using Clock = std::chrono::steady_clock;
using Requests = std::vector<std::unique_ptr<Request>>;

// One call of the classifier for all texts. Returns the number of tokens.
std::size_t score(const Classifier& classifier, std::span<const std::unique_ptr<Request>> batch,
                  const StopCheck& stop) {
    std::vector<std::string_view> texts;
    for (const auto& request : batch) texts.insert(texts.end(), request->texts.begin(), request->texts.end());
    const std::size_t classes = classifier.categories().size();
    std::vector<float> probabilities(texts.size() * classes);
    std::vector<std::uint32_t> windows(texts.size()), tokens(texts.size());
    std::vector<std::uint16_t> depths(texts.size(), static_cast<std::uint16_t>(classifier.depths() - 1));
    const Sizes sizes{windows, tokens};
    if (const auto level = batch.front()->level)
        classifier.adaptive_probabilities(texts, *level, probabilities, sizes, depths, stop);
    else
        classifier.probabilities(texts, probabilities, sizes, stop);

    std::size_t first = 0;
    for (const auto& request : batch) {
        const auto part = [&, last = first + request->texts.size()](const auto& all, std::size_t width) {
            const auto at = [&](std::size_t text) {
                return all.begin() + static_cast<std::ptrdiff_t>(text * width);
            };
            return std::decay_t<decltype(all)>(at(first), at(last));
        };
        request->probabilities = part(probabilities, classes);
        request->windows = part(windows, 1);
        request->tokens = part(tokens, 1);
        request->depths = part(depths, 1);
        first += request->texts.size();
    }
    return std::accumulate(tokens.begin(), tokens.end(), std::size_t{0});
}

}  // namespace

struct Batcher::Impl {
    Impl(const Classifier& classifier_in, const BatchLimits& limits_in)
        : classifier(classifier_in), limits(limits_in), ready(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (ready < 0) throw Error(ErrorCode::internal, "no event descriptor could be made");
        thread = std::thread([this] { work(); });
    }
    ~Impl() { ::close(ready); }

    const Classifier& classifier;
    const BatchLimits limits;
    const pid_t owner = getpid();
    const int ready;
    std::thread thread;

    std::mutex mutex;
    std::condition_variable wake;  // of the thread, and only for what it waits for
    enum class Wait { nothing, first, full } wait = Wait::nothing;
    std::deque<std::unique_ptr<Request>> queue;
    std::size_t queue_bytes = 0, queue_tokens = 0;
    Requests running;
    std::atomic<std::size_t> wanted = 0;  // requests of `running` that were not cancelled
    Requests done;
    std::vector<BatchReport> reports;
    std::uint64_t last_id = 0;
    std::size_t company = 1;  // requests in the batch before
    bool closing = false;

    // Whether more requests would not change the next batch, or not soon.
    [[nodiscard]] bool full() const {
        return closing || queue.size() >= company || queue_tokens >= limits.batch_tokens;
    }

    // The condition of a wait. Sets `wait` anew: the request that woke the thread may be cancelled by now.
    bool waits(Wait what, bool over) {
        wait = over ? Wait::nothing : what;
        return over;
    }

    std::unique_ptr<Request> pop(std::deque<std::unique_ptr<Request>>::iterator place) {
        std::unique_ptr<Request> request = std::move(*place);
        queue.erase(place);
        queue_bytes -= request->bytes;
        queue_tokens -= request->estimated_tokens();
        return request;
    }

    void work() {
        std::unique_lock lock(mutex);
        for (;;) {
            wake.wait(lock, [this] { return waits(Wait::first, closing || !queue.empty()); });
            if (queue.empty()) return;
            wake.wait_until(lock, queue.front()->arrived + limits.max_wait,
                            [this] { return waits(Wait::full, queue.empty() || full()); });
            wait = Wait::nothing;
            if (queue.empty()) continue;  // cancelled
            take_batch();
            lock.unlock();
            const BatchReport report = score_batch();
            lock.lock();
            reports.push_back(report);
            std::move(running.begin(), running.end(), std::back_inserter(done));
            running.clear();
            eventfd_write(ready, 1);
        }
    }

    void take_batch() {
        const Clock::time_point now = Clock::now();
        std::size_t tokens = 0;
        while (!queue.empty()) {
            const Request& next = *queue.front();
            if (!running.empty() && (tokens + next.estimated_tokens() > limits.batch_tokens ||
                                     next.level != running.front()->level))
                break;
            tokens += next.estimated_tokens();
            running.push_back(pop(queue.begin()));
            running.back()->waited = now - running.back()->arrived;
        }
        wanted = company = running.size();
    }

    BatchReport score_batch() {
        const Clock::time_point start = Clock::now();
        const StopCheck unwanted = [this] { return wanted == 0; };
        BatchReport report{running.size(), 0, 0, {}};
        for (const auto& request : running) report.texts += request->texts.size();
        try {
            report.tokens = score(classifier, running, unwanted);
        } catch (...) {
            // What one request causes must not fail the others.
            for (const auto& request : running) {
                try {
                    report.tokens += score(classifier, {&request, 1}, unwanted);
                } catch (...) {
                    request->error = std::current_exception();
                }
            }
        }
        report.took = Clock::now() - start;
        return report;
    }
};

Batcher::Batcher(const Classifier& classifier, const BatchLimits& limits)
    : impl_(std::make_unique<Impl>(classifier, limits)) {}

Batcher::~Batcher() {
    if (impl_->owner != getpid()) {
        static_cast<void>(impl_.release());  // the thread and its locks are the parent's
        return;
    }
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->queue.clear();
        impl_->wanted = 0;
    }
    close();
}

const Classifier& Batcher::classifier() const {
    return impl_->classifier;
}

std::uint64_t Batcher::submit(std::unique_ptr<Request> request) {
    Impl& i = *impl_;
    if (i.owner != getpid())
        throw Error(ErrorCode::invalid_argument, "a batcher works in the process that made it");
    for (const std::string& text : request->texts) request->bytes += text.size();
    request->arrived = Clock::now();
    std::unique_lock lock(i.mutex);
    if (i.closing || i.queue.size() >= i.limits.queue_requests ||
        (!i.queue.empty() && i.queue_bytes + request->bytes > i.limits.queue_bytes))
        return 0;
    const std::uint64_t id = request->id = ++i.last_id;
    i.queue_bytes += request->bytes;
    i.queue_tokens += request->estimated_tokens();
    i.queue.push_back(std::move(request));
    const bool wake = i.wait == Impl::Wait::first || (i.wait == Impl::Wait::full && i.full());
    if (wake) i.wait = Impl::Wait::nothing;
    lock.unlock();  // or the thread would wake only to wait for it
    if (wake) i.wake.notify_one();
    return id;
}

void Batcher::cancel(std::uint64_t id) {
    const std::lock_guard lock(impl_->mutex);
    const auto same = [id](const std::unique_ptr<Request>& request) { return request->id == id; };
    const auto waiting = std::find_if(impl_->queue.begin(), impl_->queue.end(), same);
    if (waiting != impl_->queue.end()) return static_cast<void>(impl_->pop(waiting));
    const auto running = std::find_if(impl_->running.begin(), impl_->running.end(), same);
    if (running != impl_->running.end() && !std::exchange((*running)->cancelled, true)) --impl_->wanted;
}

int Batcher::ready_fd() const {
    return impl_->ready;
}

std::vector<std::unique_ptr<Request>> Batcher::take(std::vector<BatchReport>& reports) {
    eventfd_t unused;
    eventfd_read(impl_->ready, &unused);
    const std::lock_guard lock(impl_->mutex);
    reports = std::exchange(impl_->reports, {});
    return std::exchange(impl_->done, {});
}

std::size_t Batcher::waiting() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->queue.size();
}

void Batcher::close() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->closing = true;
        impl_->wake.notify_one();
    }
    if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace safetyclf::engine
