// The one exception type of the core. Kernels never throw; everything else reports failure through Error.
#pragma once

#include <stdexcept>
#include <string>

namespace safetyclf {

enum class ErrorCode {
    invalid_argument,  // a caller's option or argument is out of range
    input_too_large,   // a text exceeds the size cap
    model_io,          // the model file cannot be opened, mapped or read
    model_format,      // the model file breaks a rule of docs/model-format.md
    unsupported_isa,   // SAFETYCLF_ISA names an unknown instruction set or one this CPU lacks
    device,            // a GPU or its driver is missing, does not fit, is out of memory or failed
    cancelled,         // the caller's stop check asked to stop
    internal,          // a broken invariant: a bug in this library
};

class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

}  // namespace safetyclf
