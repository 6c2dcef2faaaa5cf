// A device that gives windows the bits that the CPU gives them, faster. The engine knows no more about it
// than this; cpp/cuda has one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace safetyclf::engine {

class Accelerator {
public:
    // Takes a window's logits [categories] and the depth they are of: the last, or where the window left
    // early. At the last depth without a level each head's logit is that of the depth where it reads.
    using Sink = std::function<void(std::span<const float> logits, std::size_t depth)>;

    // Windows that one thread wants scored. Those of several add() calls may share a batch, and batches of
    // several calls run at the same time.
    class Call {
    public:
        virtual ~Call() = default;  // waits for what is under way
        // Windows as in text::RaggedBatch. May give results of earlier ones to the sink, in order.
        virtual void add(std::span<const std::int32_t> ids, std::span<const std::uint32_t> row_offsets) = 0;
        // Gives what is left to the sink.
        virtual void finish() = 0;
    };

    virtual ~Accelerator() = default;
    [[nodiscard]] virtual const std::string& name() const = 0;  // "cuda:0"
    // With a level, windows leave early by the rules of the model file. The sink is called on the thread that
    // calls add() and finish(). These throw Error(device) once the device failed, and Error(internal) for a
    // logit that is not finite.
    [[nodiscard]] virtual std::unique_ptr<Call> begin(std::optional<std::size_t> level, Sink sink) = 0;
};

}  // namespace safetyclf::engine
