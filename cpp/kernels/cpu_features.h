// What this CPU and operating system can run. Own CPUID/XGETBV and getauxval: compilers' helpers were seen to
// answer wrongly in wheels.
#pragma once

namespace safetyclf::kernels {

struct CpuFeatures {
    bool avx2 = false;        // AVX2, and the OS saves ymm registers
    bool avxvnni = false;     // AVX-VNNI beside it
    bool avx512vnni = false;  // F, BW, DQ, VL, VNNI, and the OS saves zmm and mask registers
    bool amx_int8 = false;    // AMX-TILE, AMX-INT8, the tile state, and the kernel's permission to use it
    bool sha = false;         // SHA-NI with SSE4.1, or the ARMv8 SHA-256 instructions
    bool neon_dotprod = false;
    bool neon_i8mm = false;
};

// Detected once, thread-safely.
[[nodiscard]] const CpuFeatures& cpu_features() noexcept;

}  // namespace safetyclf::kernels
