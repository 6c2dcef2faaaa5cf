#include "cuda/device.hpp"

#include "cuda/fatbin.hpp"

namespace safetyclf::cuda {
namespace {

struct Declared {
    const char* symbol;
    unsigned threads;
};
constexpr Declared kDeclared[] = {
#define SAFETYCLF_DECLARED(name, args, threads, grid) {"safetyclf_" #name, threads},
    SAFETYCLF_CUDA_KERNELS(SAFETYCLF_DECLARED)
#undef SAFETYCLF_DECLARED
};

}  // namespace

Device::Device(unsigned number) : driver_(Driver::open()), name_("cuda:" + std::to_string(number)) {
    const auto require = [&](Result result, const char* doing) {
        if (result != kSuccess)
            throw Error(ErrorCode::device, name_ + ": " + doing + ": " + driver_.describe(result) +
                                               "; see nvidia-smi, or use device='cpu'");
    };
    int count = 0;
    require(driver_.device_count(&count), "counting devices");
    if (number >= static_cast<unsigned>(count))
        throw Error(ErrorCode::device, "there is no " + name_ + ": the driver shows " +
                                           std::to_string(count) + " GPU" + (count == 1 ? "" : "s") +
                                           ", numbered from 0; see CUDA_VISIBLE_DEVICES");
    char model[128] = "";
    int major = 0, minor = 0;
    require(driver_.device_get(&number_, static_cast<int>(number)), "opening");
    require(driver_.device_name(model, sizeof model, number_), "reading its name");
    require(driver_.device_attribute(&major, kAttributeCapabilityMajor, number_), "reading its architecture");
    require(driver_.device_attribute(&minor, kAttributeCapabilityMinor, number_), "reading its architecture");
    require(driver_.device_attribute(&processors_, kAttributeProcessors, number_), "counting processors");
    require(driver_.context_retain(&context_, number_), "making a context");
    try {
        load_kernels(std::string(model) + ", sm_" + std::to_string(10 * major + minor));
    } catch (...) {
        (void)driver_.context_release(number_);
        throw;
    }
}

// Errors are not looked at: a process that ends may have no driver any more.
Device::~Device() {
    if (driver_.context_push(context_) == kSuccess) {
        (void)driver_.module_unload(module_);
        Context popped;
        (void)driver_.context_pop(&popped);
    }
    (void)driver_.context_release(number_);
}

void Device::load_kernels(const std::string& description) {
    if (safetyclf_cuda_fatbin_size == 0 && !driver_.emulated)
        throw Error(ErrorCode::device,
                    "this build of safetyclf has no CUDA kernels: no nvcc was found when it was made; build "
                    "it where nvcc is, or use device='cpu'");
    const Current current(*this);
    const Result result = driver_.module_load(&module_, safetyclf_cuda_fatbin);
    if (result == kInvalidImage || result == kNoBinaryForGpu || result == kUnsupportedPtx)
        throw Error(ErrorCode::device,
                    name_ + " (" + description + "): the driver, which knows CUDA " +
                        version_name(driver_.version) + ", takes none of this build's kernels (" +
                        kArchitectures + "): " + driver_.describe(result) +
                        "; update the driver to 580 or newer if the GPU is among them or newer, or use "
                        "device='cpu'");
    check(result, "loading the kernels");
    for (std::size_t i = 0; i < kernels_.size(); ++i) {
        Loaded& kernel = kernels_[i];
        kernel.threads = kDeclared[i].threads;
        check(driver_.module_function(&kernel.function, module_, kDeclared[i].symbol), kDeclared[i].symbol);
    }
    for (const Kernel kernel : {Kernel::linear_qkv, Kernel::linear_add, Kernel::linear_gelu})
        check(driver_.function_set(kernels_[static_cast<std::size_t>(kernel)].function,
                                   kFunctionMaxDynamicShared, static_cast<int>(kLinearShared)),
              "asking for shared memory");
}

Device::Current::Current(const Device& device) : driver_(device.driver_) {
    if (device.lost()) device.throw_lost();
    device.check(driver_.context_push(device.context_), "entering its context");
}

Device::Current::~Current() {
    Context popped;
    (void)driver_.context_pop(&popped);
}

void Device::check(Result result, const char* doing) const {
    if (result == kSuccess) return;
    const std::string problem = name_ + ": " + doing + ": " + driver_.describe(result);
    if (result == kOutOfMemory) throw OutOfMemory(problem);
    {
        const std::lock_guard lock(mutex_);
        if (cause_.empty()) cause_ = problem;
    }
    lost_.store(true, std::memory_order_release);
    throw_lost();
}

void Device::throw_lost() const {
    const std::lock_guard lock(mutex_);
    throw Error(ErrorCode::device,
                cause_ +
                    "; the GPU failed, and this process cannot go on with it: see nvidia-smi and the "
                    "system's log, then start the process again, or make a classifier with device='cpu'");
}

Pointer Device::allocate(std::size_t bytes) const {
    Pointer memory = 0;
    check(driver_.allocate(&memory, bytes), "taking memory of the device");
    return memory;
}

void* Device::allocate_host(std::size_t bytes) const {
    void* memory = nullptr;
    check(driver_.host_allocate(&memory, bytes, kHostPortable), "taking pinned memory");
    return memory;
}

void Device::launch(Kernel kernel, Stream stream, const Grid& grid, void* args) const {
    const Loaded& loaded = kernels_[static_cast<std::size_t>(kernel)];
    void* parameters[] = {args};
    check(driver_.launch(loaded.function, grid.x, grid.y, grid.z,
                         grid.threads != 0 ? grid.threads : loaded.threads, 1, 1, grid.shared, stream,
                         parameters, nullptr),
          "starting a kernel");
}

}  // namespace safetyclf::cuda
