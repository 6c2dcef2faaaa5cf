#include "cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace safetyclf::kernels {
namespace {

#if defined(__x86_64__)

std::uint64_t enabled_states() {
    std::uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<std::uint64_t>(high) << 32) | low;
}

// Linux grants the tile state on request, per process (arch_prctl ARCH_REQ_XCOMP_PERM, state 18); kernels
// before 5.16 refuse.
bool request_tiles() {
    constexpr long kRequestPermission = 0x1023;
    constexpr long kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures detect() {
    CpuFeatures f;
    std::uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return f;
    const bool sse41 = (ecx >> 19 & 1) != 0;
    const bool osxsave = (ecx >> 27 & 1) != 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return f;
    f.sha = sse41 && (ebx >> 29 & 1) != 0;
    if (!osxsave) return f;
    const std::uint64_t states = enabled_states();
    const auto saved = [states](std::uint64_t mask) { return (states & mask) == mask; };
    constexpr std::uint64_t kYmm = 0x6, kZmm = 0xE6, kTiles = 0x60000;
    f.avx2 = saved(kYmm) && (ebx >> 5 & 1) != 0;
    const bool avx512 =
        (ebx >> 16 & 1) != 0 && (ebx >> 17 & 1) != 0 && (ebx >> 30 & 1) != 0 && (ebx >> 31 & 1) != 0;
    f.avx512vnni = saved(kZmm) && avx512 && (ecx >> 11 & 1) != 0;
    f.amx_int8 =
        f.avx512vnni && saved(kTiles) && (edx >> 24 & 1) != 0 && (edx >> 25 & 1) != 0 && request_tiles();
    f.avxvnni = f.avx2 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1) != 0;
    return f;
}

#elif defined(__aarch64__)

CpuFeatures detect() {
    // Bits of Linux's asm/hwcap.h, which old headers lack.
    constexpr unsigned long kSha2 = 1ul << 6, kAsimdDotprod = 1ul << 20, kI8mm = 1ul << 13;
    CpuFeatures f;
    const unsigned long first = getauxval(AT_HWCAP);
    f.sha = (first & kSha2) != 0;
    f.neon_dotprod = (first & kAsimdDotprod) != 0;
    f.neon_i8mm = f.neon_dotprod && (getauxval(AT_HWCAP2) & kI8mm) != 0;
    return f;
}

#else

CpuFeatures detect() {
    return {};
}

#endif

}  // namespace

const CpuFeatures& cpu_features() noexcept {
    static const CpuFeatures features = detect();
    return features;
}

}  // namespace safetyclf::kernels
