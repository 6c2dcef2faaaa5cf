// Choice of the instruction set. Detection runs once; the result is a pointer that callers keep.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "abi.h"

namespace safetyclf::kernels {

// The best table this CPU supports, or the one that the environment variable SAFETYCLF_ISA names. Throws
// Error(unsupported_isa) when that name is unknown or the CPU lacks it: never a quiet fallback.
[[nodiscard]] const KernelTable& active();

// The table of that name; same errors.
[[nodiscard]] const KernelTable& find(std::string_view isa);

// Names of the tables compiled in, best first, and of those that this CPU can run.
[[nodiscard]] std::vector<std::string> compiled();
[[nodiscard]] std::vector<std::string> supported();

}  // namespace safetyclf::kernels
