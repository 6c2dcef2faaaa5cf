// One GPU as a classifier uses it: its context, the kernels loaded for it, and whether it still works.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <string>

#include "cuda/driver.hpp"
#include "cuda/kernels.hpp"

namespace safetyclf::cuda {

enum class Kernel : unsigned {
#define SAFETYCLF_NAME(name, ...) name,
    SAFETYCLF_CUDA_KERNELS(SAFETYCLF_NAME)
#undef SAFETYCLF_NAME
        count
};

struct Grid {
    unsigned x, y = 1, z = 1;
    unsigned threads = 0;  // of a block; 0: as many as kernels.hpp names
    unsigned shared = 0;   // dynamic shared memory of a block, bytes
};

class Device {
public:
    // Throws Error(device): no driver, too old a driver, no such device, no kernels for it.
    explicit Device(unsigned number);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }  // "cuda:0"
    [[nodiscard]] const Driver& driver() const { return driver_; }
    [[nodiscard]] unsigned processors() const { return static_cast<unsigned>(processors_); }

    // Makes the device's context the calling thread's for a while. Throws once the device is lost.
    class Current {
    public:
        explicit Current(const Device& device);
        ~Current();
        Current(const Current&) = delete;
        Current& operator=(const Current&) = delete;

    private:
        const Driver& driver_;
    };

    // Throws Error(device) if a call failed. After anything but a lack of memory, which is OutOfMemory, the
    // state of the device is unknown: it counts as lost from then on.
    void check(Result result, const char* doing) const;
    [[nodiscard]] bool lost() const { return lost_.load(std::memory_order_acquire); }

    [[nodiscard]] Pointer allocate(std::size_t bytes) const;
    [[nodiscard]] void* allocate_host(std::size_t bytes) const;
    template <class Args>
    void launch(Kernel kernel, Stream stream, const Grid& grid, Args args) const {
        launch(kernel, stream, grid, static_cast<void*>(&args));
    }

private:
    struct Loaded {
        Function function;
        unsigned threads;
    };
    void load_kernels(const std::string& description);
    void launch(Kernel kernel, Stream stream, const Grid& grid, void* args) const;
    [[noreturn]] void throw_lost() const;

    const Driver& driver_;
    std::string name_;
    DeviceNumber number_ = 0;
    int processors_ = 0;
    Context context_ = nullptr;
    Module module_ = nullptr;
    std::array<Loaded, static_cast<std::size_t>(Kernel::count)> kernels_{};
    mutable std::atomic<bool> lost_ = false;
    mutable std::mutex mutex_;
    mutable std::string cause_;  // of the loss
};

}  // namespace safetyclf::cuda
