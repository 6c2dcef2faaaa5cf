#include "cuda/fatbin.hpp"

namespace safetyclf::cuda {

#ifdef SAFETYCLF_CUDA_FATBIN
// In the section in which CUDA's own programs have their kernels, so that cuobjdump and wheels/check_wheel.py
// find them.
asm(R"(
    .section .nv_fatbin, "a", @progbits
    .balign 16
    .globl safetyclf_cuda_fatbin
    .hidden safetyclf_cuda_fatbin
safetyclf_cuda_fatbin:
    .incbin ")" SAFETYCLF_CUDA_FATBIN R"("
.Lend_of_fatbin:
    .balign 8
    .globl safetyclf_cuda_fatbin_size
    .hidden safetyclf_cuda_fatbin_size
safetyclf_cuda_fatbin_size:
    .quad .Lend_of_fatbin - safetyclf_cuda_fatbin
    .text
)");
#else
const unsigned char safetyclf_cuda_fatbin[1] = {};
const uint64_t safetyclf_cuda_fatbin_size = 0;
#endif

}  // namespace safetyclf::cuda
