// SHA-256 (FIPS 180-4) in portable C++ or with the CPU's own instructions: a model file is hashed at every
// load.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "sha256.h"

namespace safetyclf::model {

struct Sha256Implementation {
    const char* name;  // "shani", "armv8", "portable"
    kernels::Sha256Compress compress;
};

// Those that this CPU can run, fastest first; the last is "portable". Detected once; safe from any thread.
[[nodiscard]] std::span<const Sha256Implementation> sha256_implementations();

// The sum as 64 lower-case hex digits.
[[nodiscard]] std::string sha256(std::span<const std::byte> bytes,
                                 const Sha256Implementation& with = sha256_implementations().front());
[[nodiscard]] std::string sha256(std::string_view bytes);

}  // namespace safetyclf::model
