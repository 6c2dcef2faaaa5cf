// A thread's floating-point mode for the length of a call: round to nearest, no flushing of subnormals. Other
// libraries in the process may have set flush-to-zero for the thread, which would change bits.
#pragma once

#include <cfenv>

#if defined(__x86_64__)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#include <cstdint>
#endif

namespace safetyclf::engine {

class FloatingPointMode {
public:
    FloatingPointMode(const FloatingPointMode&) = delete;
    FloatingPointMode& operator=(const FloatingPointMode&) = delete;

#if defined(__x86_64__)
    FloatingPointMode() : saved_(_mm_getcsr()) {
        constexpr unsigned kDefault = 0x1F80;  // all exceptions masked, nearest, no FTZ, no DAZ
        _mm_setcsr(kDefault);
    }
    ~FloatingPointMode() {
        _mm_setcsr(saved_);
    }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    FloatingPointMode() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
        const std::uint64_t plain = 0;
        __asm__ volatile("msr fpcr, %0" : : "r"(plain));
    }
    ~FloatingPointMode() {
        __asm__ volatile("msr fpcr, %0" : : "r"(saved_));
    }

private:
    std::uint64_t saved_;
#else
    FloatingPointMode() {
        std::fegetenv(&saved_), std::fesetenv(FE_DFL_ENV);
    }
    ~FloatingPointMode() {
        std::fesetenv(&saved_);
    }

private:
    std::fenv_t saved_;
#endif
};

}  // namespace safetyclf::engine
