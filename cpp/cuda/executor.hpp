// Scores windows on a GPU: batches over several streams, so that one is sent while another is worked on.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/sequence.hpp"
#include "engine/accelerator.hpp"

namespace safetyclf::cuda {

// A stream and the memory of one batch at a time.
class Slot {
public:
    Slot(const Device& device, const DeviceModel& model);
    ~Slot();
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

    // Makes room. Throws OutOfMemory, and then has none.
    void reserve(const Capacity& capacity);
    [[nodiscard]] const Capacity& capacity() const { return capacity_; }
    // Queues a batch that fits, and returns. `begins` [windows + 1] are row numbers of the first window on.
    void start(const std::int32_t* ids, const std::uint32_t* begins, std::uint32_t windows,
               std::optional<std::size_t> level);
    // Waits for it and gives its windows to the sink.
    void collect(const engine::Accelerator::Sink& sink);
    // Waits whatever became of it.
    void drain() noexcept;

private:
    // A batch that is small, but one of many of its kind, costs more to launch kernel by kernel than to work
    // on.
    struct Recorded {
        Capacity capacity;
        std::optional<std::size_t> level;
        GraphExec graph;  // null until a second batch of the kind comes
    };
    void release() noexcept;
    void queue(const Capacity& shape, std::uint32_t longest, std::optional<std::size_t> level);
    GraphExec recorded(const Capacity& shape, std::optional<std::size_t> level);

    const Device& device_;
    const Driver& driver_;
    const DeviceModel& model_;
    Stream stream_ = nullptr;
    Event done_ = nullptr;
    Capacity capacity_;
    Pointer memory_ = 0;
    void* pinned_ = nullptr;
    std::vector<Recorded> graphs_;
    Capacity shape_;  // of the batch under way, as it is laid out
    std::uint32_t windows_ = 0;
    bool leaves_early_ = false;
};

class Executor : public engine::Accelerator {
public:
    Executor(std::shared_ptr<const Device> device, const model::Model& model);

    [[nodiscard]] const std::string& name() const override { return device_->name(); }
    [[nodiscard]] std::unique_ptr<Call> begin(std::optional<std::size_t> level, Sink sink) override;

private:
    class DeviceCall;
    // Null if all are taken and none is to be waited for.
    std::unique_ptr<Slot> take(bool wait);
    void give_back(std::unique_ptr<Slot> slot);
    // For a call that holds one slot, which lacks memory: gives up idle slots, or those of others once they
    // are given back, or else half of the room. False if nothing is left to give up.
    bool shrink();
    [[nodiscard]] Capacity largest();

    const std::shared_ptr<const Device> device_;
    const DeviceModel model_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<std::unique_ptr<Slot>> idle_;
    std::size_t slots_ = 0, most_slots_;
    std::uint32_t most_rows_;
};

}  // namespace safetyclf::cuda
