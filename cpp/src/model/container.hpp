// The safetensors container under the model file: section 1 of docs/model-format.md. Knows nothing of what
// the tensors mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace safetyclf::model {

enum class DType : std::uint8_t { f32, i32, i8, u8 };
[[nodiscard]] std::string_view dtype_name(DType dtype);

using Shape = std::vector<std::uint64_t>;
[[nodiscard]] std::string shape_name(const Shape& shape);  // "12x384"

struct Tensor {
    DType dtype;
    Shape shape;
    std::span<const std::byte>
        bytes;  // into the file; its offset in the file is a multiple of the element size
};

struct Container {
    std::map<std::string, Tensor, std::less<>> tensors;  // in byte order of the names, as the hashes want it
    std::map<std::string, std::string, std::less<>> metadata;
    std::string metadata_json;  // the metadata object as it stands in the header
    std::string header_sha256;
};

// Throws Error(model_format); the message names the rule and the tensor. The result refers to `file`.
[[nodiscard]] Container read_container(std::span<const std::byte> file);

}  // namespace safetyclf::model
