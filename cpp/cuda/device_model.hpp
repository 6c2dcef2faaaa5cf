// A model's tensors in the memory of a device, as the kernels take them.
#pragma once

#include <vector>

#include "cuda/device.hpp"
#include "model/model.hpp"

namespace safetyclf::cuda {

// One allocation of the device, handed out in aligned pieces. From address 0 on it only counts.
class Carver {
public:
    explicit Carver(std::uintptr_t base) : base_(base) {}
    template <class T>
    T* take(std::size_t count) {
        used_ = (used_ + kAlignment - 1) / kAlignment * kAlignment;
        T* const piece = reinterpret_cast<T*>(base_ + used_);
        used_ += count * sizeof(T);
        return piece;
    }
    void rewind(std::size_t used) { used_ = used; }
    [[nodiscard]] std::size_t used() const { return used_; }

private:
    static constexpr std::size_t kAlignment = 256;
    std::uintptr_t base_;
    std::size_t used_ = 0;
};

struct DeviceLayer {
    Linear qkv, attention_output, ffn_in, ffn_out;
    const float *qkv_smooth, *attention_output_smooth, *ffn_in_smooth, *ffn_out_smooth;
    Norm attention_norm, ffn_norm;
};

class DeviceModel {
public:
    // Throws Error(device) when the device has no room for it. The device must outlive it.
    DeviceModel(const Device& device, const model::Model& model);
    ~DeviceModel();
    DeviceModel(const DeviceModel&) = delete;
    DeviceModel& operator=(const DeviceModel&) = delete;

    [[nodiscard]] const model::Model& host() const { return model_; }

    const std::int8_t* words;
    const float *word_scale, *positions;
    Norm embedding_norm;
    std::vector<DeviceLayer> layers;
    const float *head_weight, *head_bias;
    const std::uint32_t* head_depth;
    const float *exit_weight, *floor_logit;  // these two and the lexicon: null without rules for exits
    const std::int8_t* lexicon;

private:
    template <class Tensor>
    void for_each_tensor(Tensor tensor);

    const Device& device_;
    const model::Model& model_;
    Pointer memory_ = 0;
};

}  // namespace safetyclf::cuda
