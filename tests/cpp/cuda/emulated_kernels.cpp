// The kernels, compiled for the CPU as they are for compute capability SAFETYCLF_EMULATED: 75, 80 or 90.
#include "kernels.cu"

namespace safetyclf::emulation {

#define SAFETYCLF_ENTRY(name, Args, threads, grid)    \
    {"safetyclf_" #name, sizeof(cuda::Args), threads, \
     [](const void* args) { cuda::safetyclf_##name(*static_cast<const cuda::Args*>(args)); }},

template <>
std::span<const Kernel> kernels_of<static_cast<Arch>(SAFETYCLF_EMULATED)>() {
    static constexpr Kernel all[] = {SAFETYCLF_CUDA_KERNELS(SAFETYCLF_ENTRY)};
    return all;
}

}  // namespace safetyclf::emulation
