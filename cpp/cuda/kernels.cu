// The kernels of the CUDA core, one translation unit; kernels.hpp says what they take.
#include "attention.cuh"
#include "exits.cuh"
#include "linear.cuh"
#include "rows.cuh"
