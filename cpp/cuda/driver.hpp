// The part of the CUDA driver API that is used, opened at run time: nothing is linked, and no header of CUDA
// is needed to build. Names and signatures are those of the driver's ABI (cuda.h maps cuMemAlloc to
// cuMemAlloc_v2, and so on).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "safetyclf/error.hpp"

namespace safetyclf::cuda {

using Result = int;
using DeviceNumber = int;
using Pointer = unsigned long long;  // to memory of a device
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Graph = struct GraphTag*;
using GraphExec = struct GraphExecTag*;

constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kInvalidImage = 200,
                 kNoBinaryForGpu = 209, kUnsupportedPtx = 222;
constexpr int kAttributeProcessors = 16, kAttributeCapabilityMajor = 75, kAttributeCapabilityMinor = 76;
constexpr int kFunctionMaxDynamicShared = 8;
constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2, kHostPortable = 1;
constexpr int kCaptureThreadLocal = 1;

// X(member, symbol, types of its parameters)
#define SAFETYCLF_CUDA_DRIVER(X)                                                                    \
    X(init, cuInit, unsigned)                                                                       \
    X(driver_version, cuDriverGetVersion, int*)                                                     \
    X(error_name, cuGetErrorName, Result, const char**)                                             \
    X(error_string, cuGetErrorString, Result, const char**)                                         \
    X(device_count, cuDeviceGetCount, int*)                                                         \
    X(device_get, cuDeviceGet, DeviceNumber*, int)                                                  \
    X(device_name, cuDeviceGetName, char*, int, DeviceNumber)                                       \
    X(device_attribute, cuDeviceGetAttribute, int*, int, DeviceNumber)                              \
    X(context_retain, cuDevicePrimaryCtxRetain, Context*, DeviceNumber)                             \
    X(context_release, cuDevicePrimaryCtxRelease_v2, DeviceNumber)                                  \
    X(context_push, cuCtxPushCurrent_v2, Context)                                                   \
    X(context_pop, cuCtxPopCurrent_v2, Context*)                                                    \
    X(module_load, cuModuleLoadData, Module*, const void*)                                          \
    X(module_unload, cuModuleUnload, Module)                                                        \
    X(module_function, cuModuleGetFunction, Function*, Module, const char*)                         \
    X(function_set, cuFuncSetAttribute, Function, int, int)                                         \
    X(launch, cuLaunchKernel, Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
      unsigned, Stream, void**, void**)                                                             \
    X(allocate, cuMemAlloc_v2, Pointer*, std::size_t)                                               \
    X(free, cuMemFree_v2, Pointer)                                                                  \
    X(host_allocate, cuMemHostAlloc, void**, std::size_t, unsigned)                                 \
    X(host_free, cuMemFreeHost, void*)                                                              \
    X(upload, cuMemcpyHtoD_v2, Pointer, const void*, std::size_t)                                   \
    X(upload_async, cuMemcpyHtoDAsync_v2, Pointer, const void*, std::size_t, Stream)                \
    X(download_async, cuMemcpyDtoHAsync_v2, void*, Pointer, std::size_t, Stream)                    \
    X(stream_create, cuStreamCreate, Stream*, unsigned)                                             \
    X(stream_destroy, cuStreamDestroy_v2, Stream)                                                   \
    X(event_create, cuEventCreate, Event*, unsigned)                                                \
    X(event_destroy, cuEventDestroy_v2, Event)                                                      \
    X(event_record, cuEventRecord, Event, Stream)                                                   \
    X(event_synchronize, cuEventSynchronize, Event)                                                 \
    X(capture_begin, cuStreamBeginCapture_v2, Stream, int)                                          \
    X(capture_end, cuStreamEndCapture, Stream, Graph*)                                              \
    X(graph_instantiate, cuGraphInstantiateWithFlags, GraphExec*, Graph, unsigned long long)        \
    X(graph_launch, cuGraphLaunch, GraphExec, Stream)                                               \
    X(graph_exec_destroy, cuGraphExecDestroy, GraphExec)                                            \
    X(graph_destroy, cuGraphDestroy, Graph)

struct Driver {
#define SAFETYCLF_MEMBER(member, symbol, ...) Result (*member)(__VA_ARGS__);
    SAFETYCLF_CUDA_DRIVER(SAFETYCLF_MEMBER)
#undef SAFETYCLF_MEMBER
    pid_t owner;    // the process that opened it; it does not survive fork()
    int version;    // 1000 * major + 10 * minor of the newest CUDA it knows
    bool emulated;  // the test suite's, which brings its own kernels

    // The process's driver, opened by the first call that succeeds. Throws Error(device).
    static const Driver& open();

    // "CUDA_ERROR_LAUNCH_FAILED (unspecified launch failure)"
    [[nodiscard]] std::string describe(Result result) const;
};

// "13.0"
[[nodiscard]] std::string version_name(int version);

// To be answered by less work at once.
struct OutOfMemory : Error {
    explicit OutOfMemory(const std::string& message) : Error(ErrorCode::device, message) {}
};

}  // namespace safetyclf::cuda
