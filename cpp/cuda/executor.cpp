#include "cuda/executor.hpp"

#include <algorithm>
#include <bit>

#include "cuda/accelerator.hpp"

namespace safetyclf::cuda {
namespace {

// One batch is sent while the next is worked on and the last comes back.
constexpr std::size_t kSlots = 3;
constexpr std::uint32_t kMostRows = 16384;
constexpr std::uint32_t kLeastRows = 1024;  // at first: a slot grows with the batches it gets

// Windows of four tokens and longer fill all rows.
Capacity with_rows(std::uint32_t rows) {
    return {.rows = rows, .windows = std::max(rows / 4, 8U)};
}

}  // namespace

Executor::Executor(std::shared_ptr<const Device> device, const model::Model& model)
    : device_(std::move(device)),
      model_(*device_, model),
      most_slots_(kSlots),
      most_rows_(std::max(kMostRows, std::bit_ceil(model.architecture.positions))) {}

Capacity Executor::largest() {
    const std::lock_guard lock(mutex_);
    return with_rows(most_rows_);
}

std::unique_ptr<Slot> Executor::take(bool wait) {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return !idle_.empty() || slots_ < most_slots_; };
    if (!ready() && !wait) return nullptr;
    freed_.wait(lock, ready);
    if (idle_.empty()) {
        auto fresh = std::make_unique<Slot>(*device_, model_);
        ++slots_;
        return fresh;
    }
    std::unique_ptr<Slot> slot = std::move(idle_.back());
    idle_.pop_back();
    return slot;
}

void Executor::give_back(std::unique_ptr<Slot> slot) {
    const std::lock_guard lock(mutex_);
    if (slots_ > most_slots_)
        --slots_;  // and its memory is freed
    else
        idle_.push_back(std::move(slot));
    freed_.notify_one();
}

bool Executor::shrink() {
    std::vector<std::unique_ptr<Slot>> freed;
    const std::lock_guard lock(mutex_);
    most_slots_ = 1;
    freed.swap(idle_);
    slots_ -= freed.size();
    if (!freed.empty() || slots_ > 1) return true;
    if (most_rows_ <= std::bit_ceil(model_.host().architecture.positions)) return false;
    most_rows_ /= 2;
    return true;
}

// Windows wait here until they fill a batch.
class Executor::DeviceCall : public engine::Accelerator::Call {
public:
    DeviceCall(Executor& executor, std::optional<std::size_t> level, Sink sink)
        : executor_(executor), level_(level), sink_(std::move(sink)) {}

    ~DeviceCall() override {
        for (auto& slot : under_way_) {
            slot->drain();
            executor_.give_back(std::move(slot));
        }
    }

    void add(std::span<const std::int32_t> ids, std::span<const std::uint32_t> row_offsets) override {
        const Capacity full = executor_.largest();
        for (std::size_t w = 1; w < row_offsets.size(); ++w) {
            const std::uint32_t begin = row_offsets[w - 1], length = row_offsets[w] - begin;
            if (ids_.size() + length > full.rows || begins_.size() > full.windows) start_batch();
            ids_.insert(ids_.end(), ids.begin() + begin, ids.begin() + begin + length);
            begins_.push_back(static_cast<std::uint32_t>(ids_.size()));
        }
    }

    void finish() override {
        while (begins_.size() > 1) start_batch();
        while (!under_way_.empty()) collect_oldest();
    }

private:
    // Starts a batch of the windows that wait: of all, or as many as there is memory for.
    void start_batch() {
        std::unique_ptr<Slot> slot =
            slot_for(static_cast<std::uint32_t>(ids_.size()), static_cast<std::uint32_t>(begins_.size() - 1));
        const Capacity& room = slot->capacity();
        std::uint32_t windows = 0;
        while (windows + 1 < begins_.size() && windows < room.windows && begins_[windows + 1] <= room.rows)
            ++windows;
        under_way_.push_back(std::move(slot));
        under_way_.back()->start(ids_.data(), begins_.data(), windows, level_);
        const std::uint32_t rows = begins_[windows];
        ids_.erase(ids_.begin(), ids_.begin() + rows);
        begins_.erase(begins_.begin(), begins_.begin() + windows);
        for (std::uint32_t& begin : begins_) begin -= rows;
    }

    // A slot with room for this, or for the most there is memory for.
    std::unique_ptr<Slot> slot_for(std::uint32_t rows, std::uint32_t windows) {
        for (;;) {
            // Who waits for a slot must hold none, or all could be held by calls that wait.
            std::unique_ptr<Slot> slot = executor_.take(under_way_.empty());
            if (slot == nullptr) {
                collect_oldest();
                continue;
            }
            const std::uint32_t wanted =
                std::max({kLeastRows, std::bit_ceil(rows), std::bit_ceil(4 * windows)});
            try {
                slot->reserve(with_rows(std::min(wanted, executor_.largest().rows)));
                return slot;
            } catch (const OutOfMemory& error) {
                const bool other_way = !under_way_.empty() || executor_.shrink();
                executor_.give_back(std::move(slot));
                if (!other_way)
                    throw Error(ErrorCode::device, std::string(error.what()) +
                                                       ": not even one window fits beside what else is "
                                                       "on the GPU; free memory there, choose another "
                                                       "GPU or use device='cpu'");
                if (!under_way_.empty()) collect_oldest();
            } catch (...) {
                executor_.give_back(std::move(slot));
                throw;
            }
        }
    }

    void collect_oldest() {
        std::unique_ptr<Slot> slot = std::move(under_way_.front());
        under_way_.pop_front();
        try {
            slot->collect(sink_);
        } catch (...) {
            executor_.give_back(std::move(slot));
            throw;
        }
        executor_.give_back(std::move(slot));
    }

    Executor& executor_;
    const std::optional<std::size_t> level_;
    const Sink sink_;
    std::vector<std::int32_t> ids_;
    std::vector<std::uint32_t> begins_ = {0};
    std::deque<std::unique_ptr<Slot>> under_way_;
};

std::unique_ptr<engine::Accelerator::Call> Executor::begin(std::optional<std::size_t> level, Sink sink) {
    return std::make_unique<DeviceCall>(*this, level, std::move(sink));
}

AcceleratorFactory open(unsigned number) {
    return [device = std::make_shared<const Device>(number)](const model::Model& model) {
        return std::make_unique<Executor>(device, model);
    };
}

}  // namespace safetyclf::cuda
