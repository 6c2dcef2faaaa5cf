#include "cuda/driver.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <mutex>

namespace safetyclf::cuda {
namespace {

// 12.4 came with drivers 550, the first that unpack what nvcc packs into a fatbin today. NVIDIA vouches for
// programs of CUDA 13 from drivers 580 on; between the two the driver decides when it loads the kernels.
constexpr int kLeastVersion = 12040;

[[noreturn]] void fail(const std::string& problem) {
    throw Error(ErrorCode::device, problem + "; or use device='cpu'");
}

Driver load() {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
        fail("no NVIDIA driver: libcuda.so.1 could not be opened (" + std::string(dlerror()) +
             "); install a driver, and in a container run it with the GPU (--gpus all)");
    Driver driver{};
    const char* missing = nullptr;
#define SAFETYCLF_LOOK_UP(member, symbol, ...)                                          \
    driver.member = reinterpret_cast<Result (*)(__VA_ARGS__)>(dlsym(library, #symbol)); \
    if (driver.member == nullptr) missing = #symbol;
    SAFETYCLF_CUDA_DRIVER(SAFETYCLF_LOOK_UP)
#undef SAFETYCLF_LOOK_UP
    driver.emulated = dlsym(library, "safetyclf_emulated_driver") != nullptr;
    if (driver.driver_version != nullptr) (void)driver.driver_version(&driver.version);
    if (missing != nullptr || driver.version < kLeastVersion)
        fail("the NVIDIA driver is too old: it knows CUDA " + version_name(driver.version) +
             (missing != nullptr ? " and lacks " + std::string(missing) : "") + ", needed is at least " +
             version_name(kLeastVersion) + " (driver 550); update it, best to 580 or newer");
    driver.owner = getpid();
    const Result result = driver.init(0);
    if (result == kNoDevice) fail("the NVIDIA driver finds no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES");
    if (result != kSuccess)
        fail("the NVIDIA driver does not start: " + driver.describe(result) + "; see nvidia-smi");
    return driver;
}

}  // namespace

const Driver& Driver::open() {
    static const Driver driver = load();  // tried again by the next call if it throws
    if (driver.owner != getpid())
        fail(
            "CUDA does not survive fork(): the process that this one was forked from has used it; start this "
            "one by spawn or forkserver");
    return driver;
}

std::string Driver::describe(Result result) const {
    const char* name = nullptr;
    const char* text = nullptr;
    if (error_name(result, &name) != kSuccess || error_string(result, &text) != kSuccess)
        return "error " + std::to_string(result);
    return std::string(name) + " (" + text + ")";
}

std::string version_name(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace safetyclf::cuda
