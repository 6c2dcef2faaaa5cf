// libcuda.so.1 for tests: what cpp/cuda/driver.hpp uses of the driver API, over the emulation of kernels. It
// is as strict as the driver, and strict where the driver only happens to work: nothing runs before somebody
// waits for it, copies need pinned memory, a forked child may not call at all.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels.hpp"
#include "emulated_device.hpp"

#define SAFETYCLF_API extern "C" __attribute__((visibility("default")))

namespace {

using namespace safetyclf::cuda;
using namespace safetyclf::emulation;

pid_t owner = 0;
thread_local std::vector<Context> contexts;
thread_local bool captures = false;

Machine& machine() {
    if (owner != getpid()) {
        std::fputs("emulated CUDA driver: called in a forked child\n", stderr);
        std::abort();
    }
    return Machine::get();
}

// The current context's device; -1 without.
int current() {
    return contexts.empty() ? -1 : contexts.back()->device;
}

// What every call checks that works on a device.
Result ready() {
    if (owner == 0) return kNotInitialized;
    if (const Result result = machine().lost(); result != kSuccess) return result;
    return current() < 0 ? kInvalidContext : kSuccess;
}

void* address(Pointer memory) {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory));
}

Result copy(void* to, const void* from, std::size_t bytes, Stream stream, bool up) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (stream->device != current() || !machine().owns(up ? to : from, bytes, current()) ||
        !machine().owns(up ? from : to, bytes, -1))
        return kInvalidValue;
    Operation operation;
    operation.to = to;
    operation.from = from;
    operation.bytes = bytes;
    machine().enqueue(*stream, std::move(operation));
    return kSuccess;
}

ContextTag primary[8] = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};

}  // namespace

SAFETYCLF_API const int safetyclf_emulated_driver = 1;
SAFETYCLF_API void safetyclf_emulated_counts(Counts* counts) {
    *counts = machine().counts();
}

SAFETYCLF_API Result cuInit(unsigned) {
    owner = getpid();
    const Settings& settings = machine().settings;
    return settings.devices == 0 ? kNoDevice : static_cast<Result>(settings.init);
}
SAFETYCLF_API Result cuDriverGetVersion(int* version) {
    *version = static_cast<int>(Machine::get().settings.version);
    return kSuccess;
}
SAFETYCLF_API Result cuGetErrorName(Result result, const char** name) {
    *name = result == kOutOfMemory      ? "CUDA_ERROR_OUT_OF_MEMORY"
            : result == kLaunchFailed   ? "CUDA_ERROR_LAUNCH_FAILED"
            : result == kInvalidImage   ? "CUDA_ERROR_INVALID_IMAGE"
            : result == kNoBinaryForGpu ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                                        : "CUDA_ERROR_OTHER";
    return kSuccess;
}
SAFETYCLF_API Result cuGetErrorString(Result, const char** text) {
    *text = "emulated";
    return kSuccess;
}
SAFETYCLF_API Result cuDeviceGetCount(int* count) {
    *count = static_cast<int>(machine().settings.devices);
    return kSuccess;
}
SAFETYCLF_API Result cuDeviceGet(DeviceNumber* device, int number) {
    *device = number;
    return number < machine().settings.devices ? kSuccess : kInvalidDevice;
}
SAFETYCLF_API Result cuDeviceGetName(char* name, int size, DeviceNumber) {
    std::snprintf(name, static_cast<std::size_t>(size), "Emulated GPU");
    return kSuccess;
}
SAFETYCLF_API Result cuDeviceGetAttribute(int* value, int attribute, DeviceNumber) {
    const auto capability = static_cast<int>(machine().settings.capability);
    *value = attribute == kAttributeCapabilityMajor   ? capability / 10
             : attribute == kAttributeCapabilityMinor ? capability % 10
                                                      : 4;  // processors
    return kSuccess;
}

SAFETYCLF_API Result cuDevicePrimaryCtxRetain(Context* context, DeviceNumber device) {
    *context = &primary[device];
    return machine().lost();
}
SAFETYCLF_API Result cuDevicePrimaryCtxRelease_v2(DeviceNumber) {
    return machine().lost();
}
SAFETYCLF_API Result cuCtxPushCurrent_v2(Context context) {
    if (const Result result = machine().lost(); result != kSuccess) return result;
    contexts.push_back(context);
    return kSuccess;
}
SAFETYCLF_API Result cuCtxPopCurrent_v2(Context* context) {
    if (contexts.empty()) return kInvalidContext;
    *context = contexts.back();
    contexts.pop_back();
    return kSuccess;
}

SAFETYCLF_API Result cuModuleLoadData(Module* module, const void*) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (machine().settings.image != kSuccess) return static_cast<Result>(machine().settings.image);
    auto* const functions = new std::vector<std::unique_ptr<FunctionTag>>;
    for (const Kernel& kernel : kernels(static_cast<Arch>(machine().settings.capability)))
        functions->push_back(std::make_unique<FunctionTag>(FunctionTag{&kernel, current()}));
    *module = reinterpret_cast<Module>(functions);
    return kSuccess;
}
SAFETYCLF_API Result cuModuleUnload(Module module) {
    delete reinterpret_cast<std::vector<std::unique_ptr<FunctionTag>>*>(module);
    return machine().lost();
}
SAFETYCLF_API Result cuModuleGetFunction(Function* function, Module module, const char* name) {
    for (const auto& item : *reinterpret_cast<std::vector<std::unique_ptr<FunctionTag>>*>(module)) {
        if (item->kernel->name != name) continue;
        *function = item.get();
        return ready();
    }
    return kNotFound;
}
SAFETYCLF_API Result cuFuncSetAttribute(Function function, int attribute, int value) {
    if (attribute != kFunctionMaxDynamicShared ||
        value > (machine().settings.capability == 75 ? 64 : 99) * 1024)
        return kInvalidValue;
    function->most_shared = value;
    return ready();
}
SAFETYCLF_API Result cuLaunchKernel(Function function, unsigned x, unsigned y, unsigned z, unsigned threads,
                                    unsigned threads_y, unsigned threads_z, unsigned shared, Stream stream,
                                    void** parameters, void**) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (function->device != current() || stream->device != current() || x == 0 || y == 0 || z == 0 ||
        x > 0x7FFFFFFF || y > 65535 || z > 65535 || threads == 0 || threads > function->kernel->threads ||
        threads_y != 1 || threads_z != 1 || static_cast<int>(shared) > function->most_shared)
        return kInvalidValue;
    Operation operation;
    operation.kernel = function->kernel;
    operation.args.resize((function->kernel->args_size + 7) / 8);
    std::memcpy(operation.args.data(), parameters[0], function->kernel->args_size);
    operation.grid = {x, y, z};
    operation.threads = threads;
    operation.shared = shared;
    machine().enqueue(*stream, std::move(operation));
    return kSuccess;
}

SAFETYCLF_API Result cuMemAlloc_v2(Pointer* memory, std::size_t bytes) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (captures) return kCaptureUnsupported;
    if (bytes == 0) return kInvalidValue;
    *memory = reinterpret_cast<std::uintptr_t>(machine().allocate(bytes, current()));
    return *memory == 0 ? kOutOfMemory : kSuccess;
}
SAFETYCLF_API Result cuMemFree_v2(Pointer memory) {
    if (const Result result = ready(); result != kSuccess) return result;
    return machine().free(address(memory), current());
}
SAFETYCLF_API Result cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (captures) return kCaptureUnsupported;
    *memory = machine().allocate(bytes, -1);
    return *memory == nullptr ? kOutOfMemory : kSuccess;
}
SAFETYCLF_API Result cuMemFreeHost(void* memory) {
    if (const Result result = ready(); result != kSuccess) return result;
    return machine().free(memory, -1);
}
SAFETYCLF_API Result cuMemcpyHtoD_v2(Pointer to, const void* from, std::size_t bytes) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (!machine().owns(address(to), bytes, current())) return kInvalidValue;
    std::memcpy(address(to), from, bytes);
    return kSuccess;
}
SAFETYCLF_API Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, std::size_t bytes, Stream stream) {
    return copy(address(to), from, bytes, stream, true);
}
SAFETYCLF_API Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, std::size_t bytes, Stream stream) {
    return copy(to, address(from), bytes, stream, false);
}

SAFETYCLF_API Result cuStreamCreate(Stream* stream, unsigned) {
    if (const Result result = ready(); result != kSuccess) return result;
    *stream = new StreamTag;
    (*stream)->device = current();
    return kSuccess;
}
SAFETYCLF_API Result cuStreamDestroy_v2(Stream stream) {
    const Result result = machine().run(*stream, stream->queued);
    delete stream;
    return result;
}
SAFETYCLF_API Result cuEventCreate(Event* event, unsigned) {
    *event = new EventTag;
    return ready();
}
SAFETYCLF_API Result cuEventDestroy_v2(Event event) {
    delete event;
    return machine().lost();
}
SAFETYCLF_API Result cuEventRecord(Event event, Stream stream) {
    if (stream->capture != nullptr) return kCaptureUnsupported;
    event->stream = stream;
    event->position = stream->queued;
    return ready();
}
SAFETYCLF_API Result cuEventSynchronize(Event event) {
    if (captures) return kCaptureUnsupported;
    if (const Result result = ready(); result != kSuccess) return result;
    return event->stream == nullptr ? kSuccess : machine().run(*event->stream, event->position);
}

SAFETYCLF_API Result cuStreamBeginCapture_v2(Stream stream, int mode) {
    if (mode != kCaptureThreadLocal || stream->capture != nullptr) return kInvalidValue;
    stream->capture = new GraphTag;
    captures = true;
    return ready();
}
SAFETYCLF_API Result cuStreamEndCapture(Stream stream, Graph* graph) {
    *graph = stream->capture;
    stream->capture = nullptr;
    captures = false;
    return *graph == nullptr ? kInvalidValue : ready();
}
SAFETYCLF_API Result cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long) {
    *exec = new GraphExecTag{*graph, current()};
    return ready();
}
SAFETYCLF_API Result cuGraphLaunch(GraphExec exec, Stream stream) {
    if (const Result result = ready(); result != kSuccess) return result;
    if (exec->device != current() || stream->capture != nullptr) return kInvalidValue;
    for (const Operation& operation : exec->operations) machine().enqueue(*stream, operation);
    machine().count_graph();
    return kSuccess;
}
SAFETYCLF_API Result cuGraphExecDestroy(GraphExec exec) {
    delete exec;
    return machine().lost();
}
SAFETYCLF_API Result cuGraphDestroy(Graph graph) {
    delete graph;
    return machine().lost();
}

namespace {

// Every entry of the table is there, and of the type that the table says.
#define SAFETYCLF_SAME(member, symbol, ...) \
    static_assert(std::is_same_v<decltype(&symbol), Result (*)(__VA_ARGS__)>);
SAFETYCLF_CUDA_DRIVER(SAFETYCLF_SAME)

}  // namespace
