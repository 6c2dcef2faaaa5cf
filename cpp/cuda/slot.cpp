#include <algorithm>
#include <bit>
#include <cstring>

#include "cuda/executor.hpp"

namespace safetyclf::cuda {
namespace {

// Batches of up to so many rows are replayed as graphs.
constexpr std::uint32_t kGraphRows = 1024;

// The smallest of few capacities that holds a batch: each has a graph of its own.
Capacity bucket(const Capacity& batch) {
    return {.rows = std::max(std::bit_ceil(batch.rows), 32U),
            .windows = batch.windows == 1 ? 1 : std::max(std::bit_ceil(batch.windows), 8U)};
}

}  // namespace

Slot::Slot(const Device& device, const DeviceModel& model)
    : device_(device), driver_(device.driver()), model_(model) {
    const Device::Current current(device_);
    device_.check(driver_.stream_create(&stream_, kStreamNonBlocking), "making a stream");
    const Result result = driver_.event_create(&done_, kEventDisableTiming);
    if (result != kSuccess) (void)driver_.stream_destroy(stream_);
    device_.check(result, "making an event");
}

Slot::~Slot() {
    try {
        const Device::Current current(device_);
        release();
        (void)driver_.event_destroy(done_);
        (void)driver_.stream_destroy(stream_);
    } catch (const Error&) {  // a lost device has nothing to give back
    }
}

void Slot::release() noexcept {
    for (const Recorded& kind : graphs_)
        if (kind.graph != nullptr) (void)driver_.graph_exec_destroy(kind.graph);
    graphs_.clear();
    if (memory_ != 0) (void)driver_.free(memory_);
    if (pinned_ != nullptr) (void)driver_.host_free(pinned_);
    memory_ = 0;
    pinned_ = nullptr;
    capacity_ = {};
}

void Slot::reserve(const Capacity& capacity) {
    if (capacity_.holds(capacity)) return;
    const Device::Current current(device_);
    release();
    const std::size_t classes = model_.host().categories.size();
    const std::size_t transfer = Transfer(0, capacity, classes).bytes;
    const std::size_t rest = Buffers(0, capacity, model_.host()).bytes;
    try {
        memory_ = device_.allocate(transfer + rest + 256);
        pinned_ = device_.allocate_host(transfer);
    } catch (const OutOfMemory&) {
        release();
        throw;
    }
    capacity_ = capacity;
}

void Slot::start(const std::int32_t* ids, const std::uint32_t* begins, std::uint32_t windows,
                 std::optional<std::size_t> level) {
    const Capacity batch{.rows = begins[windows] - begins[0], .windows = windows};
    const Capacity rounded = bucket(batch);
    const bool replayed = rounded.rows <= kGraphRows && capacity_.holds(rounded);
    shape_ = replayed ? rounded : batch;
    windows_ = windows;
    leaves_early_ = level.has_value();
    const Transfer host(reinterpret_cast<std::uintptr_t>(pinned_), shape_, model_.host().categories.size());
    host.size[0] = batch.windows;
    host.size[1] = batch.rows;
    std::memcpy(host.ids, ids, batch.rows * sizeof *ids);
    for (std::uint32_t w = 0; w <= windows; ++w) host.begins[w] = begins[w] - begins[0];
    std::uint32_t longest = 0;
    for (std::uint32_t w = 0; w < windows; ++w) {
        longest = std::max(longest, host.begins[w + 1] - host.begins[w]);
        for (std::uint32_t row = host.begins[w]; row < host.begins[w + 1]; ++row)
            host.position[row] = static_cast<std::uint16_t>(row - host.begins[w]);
    }
    *host.not_finite = 0;

    const Device::Current current(device_);
    if (const GraphExec graph = replayed ? recorded(shape_, level) : nullptr)
        device_.check(driver_.graph_launch(graph, stream_), "starting a graph");
    else
        queue(shape_, longest, level);
    device_.check(driver_.event_record(done_, stream_), "recording an event");
}

// The graph for batches of this kind; null for the first of them, which is queued kernel by kernel.
GraphExec Slot::recorded(const Capacity& shape, std::optional<std::size_t> level) {
    const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const Recorded& kind) {
        return kind.capacity == shape && kind.level == level;
    });
    if (found == graphs_.end()) {
        graphs_.push_back({shape, level, nullptr});
        return nullptr;
    }
    if (found->graph != nullptr) return found->graph;
    Graph graph = nullptr;
    device_.check(driver_.capture_begin(stream_, kCaptureThreadLocal), "recording a graph");
    try {
        queue(shape, std::min(shape.rows, model_.host().architecture.positions), level);
    } catch (...) {
        if (driver_.capture_end(stream_, &graph) == kSuccess) (void)driver_.graph_destroy(graph);
        throw;
    }
    device_.check(driver_.capture_end(stream_, &graph), "recording a graph");
    const Result result = driver_.graph_instantiate(&found->graph, graph, 0);
    (void)driver_.graph_destroy(graph);
    if (result == kOutOfMemory) return nullptr;  // goes without
    device_.check(result, "making a graph");
    return found->graph;
}

void Slot::queue(const Capacity& shape, std::uint32_t longest, std::optional<std::size_t> level) {
    const model::Model& model = model_.host();
    const std::size_t classes = model.categories.size();
    const auto base = static_cast<std::uintptr_t>(memory_);
    const Transfer here(reinterpret_cast<std::uintptr_t>(pinned_), shape, classes);
    const Transfer there(base, shape, classes);
    const std::size_t room = (Transfer(0, capacity_, classes).bytes + 255) / 256 * 256;
    device_.check(driver_.upload_async(memory_, pinned_, here.upload, stream_), "sending a batch");
    enqueue(device_, model_, there, Buffers(base + room, capacity_, model), shape, longest, level, stream_);
    device_.check(driver_.download_async(here.not_finite, memory_ + here.download_from,
                                         here.bytes - here.download_from, stream_),
                  "fetching scores");
}

void Slot::collect(const engine::Accelerator::Sink& sink) {
    const std::size_t classes = model_.host().categories.size();
    {
        const Device::Current current(device_);
        device_.check(driver_.event_synchronize(done_), "working on a batch");
    }
    const Transfer host(reinterpret_cast<std::uintptr_t>(pinned_), shape_, classes);
    if (*host.not_finite != 0) throw Error(ErrorCode::internal, "a logit is not finite");
    for (std::uint32_t w = 0; w < windows_; ++w)
        sink({host.logits + w * classes, classes},
             leaves_early_ ? host.left_at[w] : model_.host().layers.size());
}

void Slot::drain() noexcept {
    try {
        const Device::Current current(device_);
        (void)driver_.event_record(done_, stream_);  // of what was queued before something failed, too
        (void)driver_.event_synchronize(done_);
    } catch (const Error&) {
    }
}

}  // namespace safetyclf::cuda
