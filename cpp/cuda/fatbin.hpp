// The kernels as nvcc compiled them: one file for all architectures, of which the driver takes the fitting
// one.
#pragma once

#include <stdint.h>

namespace safetyclf::cuda {

extern "C" const unsigned char safetyclf_cuda_fatbin[];
extern "C" const uint64_t safetyclf_cuda_fatbin_size;  // bytes; 0 in a build without nvcc

inline constexpr char kArchitectures[] = SAFETYCLF_CUDA_ARCHITECTURES;  // "sm_75 sm_80 ... compute_80"

}  // namespace safetyclf::cuda
