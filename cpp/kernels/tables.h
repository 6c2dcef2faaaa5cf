// The tables, one per instruction set compiled in.
#pragma once

#include "abi.h"

namespace safetyclf::kernels {

extern const KernelTable kScalar;
#if defined(__x86_64__)
extern const KernelTable kAvx2;
extern const KernelTable kAvxVnni;
extern const KernelTable kAvx512Vnni;
extern const KernelTable kAvx512Amx;
#elif defined(__aarch64__)
extern const KernelTable kNeonDotprod;
extern const KernelTable kNeonI8mm;
#endif

}  // namespace safetyclf::kernels
