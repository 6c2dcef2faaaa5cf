// GPUs that the CPU plays, for emulated_driver.cpp: memory whose bounds are watched, streams that do nothing
// until somebody waits for them, graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/driver.hpp"
#include "emulation.hpp"

namespace safetyclf::emulation {

using cuda::Result;

constexpr Result kInvalidValue = 1, kNotInitialized = 3, kInvalidContext = 201, kInvalidHandle = 400,
                 kNotFound = 500, kLaunchFailed = 719, kCaptureUnsupported = 900;

// Set by SAFETYCLF_EMULATED_CUDA="devices=2 memory=100000000": what is emulated, and what fails.
struct Settings {
    std::int64_t devices = 1;
    std::int64_t version = 13000;
    std::int64_t capability = 80;         // 75, 80 or 90
    std::int64_t memory = 1LL << 40;      // bytes of each device
    std::int64_t lost_after = 1LL << 60;  // launches
    std::int64_t image = cuda::kSuccess;  // what loading the kernels gives
    std::int64_t init = cuda::kSuccess;   // what cuInit gives
    std::int64_t plain_linear = 0;        // 1: linear layers by plain loops, which is fast
    std::int64_t order = 0;               // 0 forward, 1 backward, 2 random: of the threads in a block
    std::int64_t idle = 0;                // 1: kernels do nothing, so that what takes time is the host

    static Settings read();  // exits the process for a name it does not know
};

struct Memory {
    std::size_t bytes;
    int device;  // -1: pinned memory of the host
};

// One thing that a stream does.
struct Operation {
    const Kernel* kernel = nullptr;  // null: a copy
    std::vector<std::uint64_t> args;
    Dim3 grid;
    std::uint32_t threads = 0, shared = 0;
    void* to = nullptr;
    const void* from = nullptr;
    std::size_t bytes = 0;
};

}  // namespace safetyclf::emulation

// The handles of the driver API.
namespace safetyclf::cuda {

struct GraphTag {
    std::vector<emulation::Operation> operations;
};
struct GraphExecTag : GraphTag {
    int device;
};
struct StreamTag {
    int device;
    std::mutex mutex;  // held while an operation runs: a stream does one thing after the other
    std::deque<emulation::Operation> queue;
    std::uint64_t queued = 0, done = 0;
    GraphTag* capture = nullptr;
};
struct EventTag {
    StreamTag* stream = nullptr;
    std::uint64_t position = 0;
};
struct ContextTag {
    int device;
};
struct FunctionTag {
    const emulation::Kernel* kernel;
    int device;
    int most_shared = 48 * 1024;
};

}  // namespace safetyclf::cuda

namespace safetyclf::emulation {

// Read by tests/python/cuda_worker.py, in this order.
struct Counts {
    std::uint64_t launches, graph_launches, live_bytes, peak_bytes, live_pieces;
};

class Machine {
public:
    static Machine& get();

    const Settings settings = Settings::read();

    // Null when the device has no such room, or `device` is -1 and bytes is 0.
    void* allocate(std::size_t bytes, int device);
    Result free(void* memory, int device);
    // Whether all of it lies in one piece of that device's memory.
    bool owns(const void* memory, std::size_t bytes, int device);

    void enqueue(cuda::StreamTag& stream, Operation operation);
    // Does what was queued before `position`.
    Result run(cuda::StreamTag& stream, std::uint64_t position);

    Result lost() {
        const std::lock_guard lock(mutex_);
        return lost_;
    }
    Counts counts();
    void count_graph() {
        const std::lock_guard lock(mutex_);
        ++counts_.graph_launches;
    }

private:
    Result perform(const Operation& operation, int device);

    std::mutex mutex_;
    std::map<const std::byte*, Memory> memory_;
    std::map<int, std::size_t> used_;
    Counts counts_{};
    Result lost_ = cuda::kSuccess;
};

// The linear layers, as plain loops: for what kernel, or null.
[[nodiscard]] void (*plain_linear(std::string_view name))(const void* args);

}  // namespace safetyclf::emulation
