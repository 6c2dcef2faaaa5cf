// Compiled where NVIDIA's header is: our declarations of the driver API against it, by size and kind of each
// parameter and by value of each constant. cuda.h maps names to the versions that it declares, as
// driver.hpp does.
#include <cuda.h>

#include <type_traits>

#include "cuda/driver.hpp"

namespace {

using namespace safetyclf::cuda;

template <class Theirs, class Ours>
constexpr bool alike() {
    if constexpr (std::is_enum_v<Theirs>) return sizeof(Theirs) == sizeof(Ours);
    return std::is_same_v<Theirs, Ours> || (std::is_pointer_v<Theirs> && std::is_pointer_v<Ours>);
}
template <class R, class... Theirs, class S, class... Ours>
constexpr bool alike(R (*)(Theirs...), S (*)(Ours...)) {
    if constexpr (sizeof...(Theirs) == sizeof...(Ours)) return (alike<Theirs, Ours>() && ...);
    return false;
}

#define SAFETYCLF_ALIKE(member, symbol, ...) \
    static_assert(alike(decltype(&symbol){}, static_cast<Result (*)(__VA_ARGS__)>(nullptr)), #symbol);
SAFETYCLF_CUDA_DRIVER(SAFETYCLF_ALIKE)

template <class... Pairs>
constexpr bool equal(Pairs... pairs) {
    const long long values[] = {static_cast<long long>(pairs)...};
    for (unsigned i = 0; i < sizeof...(Pairs); i += 2)
        if (values[i] != values[i + 1]) return false;
    return true;
}
static_assert(equal(kSuccess, CUDA_SUCCESS, kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY, kNoDevice,
                    CUDA_ERROR_NO_DEVICE, kInvalidDevice, CUDA_ERROR_INVALID_DEVICE, kInvalidImage,
                    CUDA_ERROR_INVALID_IMAGE, kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU, kUnsupportedPtx,
                    CUDA_ERROR_UNSUPPORTED_PTX_VERSION));
static_assert(equal(kAttributeProcessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, kAttributeCapabilityMajor,
                    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, kAttributeCapabilityMinor,
                    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, kFunctionMaxDynamicShared,
                    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
static_assert(equal(kStreamNonBlocking, CU_STREAM_NON_BLOCKING, kEventDisableTiming, CU_EVENT_DISABLE_TIMING,
                    kHostPortable, CU_MEMHOSTALLOC_PORTABLE, kCaptureThreadLocal,
                    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));

}  // namespace
