// A batch on the device: its buffers, and the launches from ids to logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "cuda/device_model.hpp"

namespace safetyclf::cuda {

// Rows and windows that there is room for.
struct Capacity {
    std::uint32_t rows = 0, windows = 0;
    bool operator==(const Capacity&) const = default;
    [[nodiscard]] bool holds(const Capacity& other) const {
        return rows >= other.rows && windows >= other.windows;
    }
};

// What goes up and what comes down, each one copy; laid out alike in pinned memory and on the device.
struct Transfer {
    Transfer(std::uintptr_t base, const Capacity& capacity, std::size_t classes);

    std::uint32_t* size;        // [2] windows, rows
    std::uint32_t* begins;      // [windows + 1]
    std::int32_t* ids;          // [rows]
    std::uint16_t* position;    // [rows]
    std::uint32_t* not_finite;  // goes up as 0 and comes down
    std::uint32_t* left_at;     // [windows]
    float* logits;              // [windows, classes]
    std::size_t upload, download_from, bytes;
};

// What a batch needs besides. Feed-forward blocks take the memory of attention, which is over by then.
struct Buffers {
    Buffers(std::uintptr_t base, const Capacity& capacity, const model::Model& model);

    float* x[2];               // [rows, H]; the second of each pair is for what goes on after windows left
    Quantized input[2];        // [rows, H] of the joint layer of attention
    Quantized wide;            // [rows, max(H, F)] of the other linear layers
    std::int8_t *q, *k;        // [rows, H]
    float *q_scale, *k_scale;  // [rows, heads]
    float* v;                  // [rows, H], then attention's output
    std::uint32_t* values;
    float* value_scale;                        // [windows, H]
    float* y;                                  // [rows, F]
    std::uint32_t *size, *begins, *number[2];  // of what goes on
    std::uint32_t *keep, *source;
    float* lexical;  // [windows]
    std::size_t bytes;
};

// Queues all kernels. Grids are made for `grid` and windows of at most `longest` rows, sizes are read on the
// device: so a graph made for a capacity serves every batch that fits. With a level windows leave early.
void enqueue(const Device& device, const DeviceModel& model, const Transfer& transfer, const Buffers& buffers,
             const Capacity& grid, std::uint32_t longest, std::optional<std::size_t> level, Stream stream);

}  // namespace safetyclf::cuda
