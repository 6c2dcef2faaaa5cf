#include "cuda/device_model.hpp"

namespace safetyclf::cuda {

// Calls tensor(where its address on the device goes, host address, number of values) for each.
template <class Tensor>
void DeviceModel::for_each_tensor(Tensor tensor) {
    const model::Architecture& shape = model_.architecture;
    const std::size_t hidden = shape.hidden, vocabulary = shape.vocabulary;
    const auto norm = [&](Norm& to, const kernels::Norm& from) {
        to.epsilon = from.epsilon;
        tensor(to.gamma, from.gamma, hidden);
        tensor(to.beta, from.beta, hidden);
    };
    const auto linear = [&](Linear& to, const float*& smooth, const kernels::Linear& from,
                            const std::int8_t* weight) {
        to.n = static_cast<std::uint32_t>(from.n);
        to.k = static_cast<std::uint32_t>(from.k);
        tensor(to.weight, weight, from.n * from.k);
        tensor(to.scale, from.column_scale, from.n);
        tensor(to.bias, from.bias, from.n);
        tensor(smooth, from.inverse_smooth, from.k);
    };
    tensor(words, model_.words, vocabulary * hidden);
    tensor(word_scale, model_.word_scale, vocabulary);
    tensor(positions, model_.positions, shape.positions * hidden);
    norm(embedding_norm, model_.embedding_norm);
    layers.resize(model_.layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const model::Layer& from = model_.layers[i];
        DeviceLayer& to = layers[i];
        linear(to.qkv, to.qkv_smooth, from.qkv, from.weights[0]);
        linear(to.attention_output, to.attention_output_smooth, from.attention_output, from.weights[1]);
        linear(to.ffn_in, to.ffn_in_smooth, from.ffn_in, from.weights[2]);
        linear(to.ffn_out, to.ffn_out_smooth, from.ffn_out, from.weights[3]);
        norm(to.attention_norm, from.attention_norm);
        norm(to.ffn_norm, from.ffn_norm);
    }
    const std::size_t heads = model_.categories.size(), depths = layers.size() + 1;
    tensor(head_weight, model_.head_weight, depths * heads * hidden);
    tensor(head_bias, model_.head_bias, depths * heads);
    tensor(head_depth, model_.head_depth.data(), heads);
    if (!model_.exits) return;
    tensor(exit_weight, model_.exits->weight, layers.size() * hidden);
    tensor(floor_logit, model_.exits->floor_logit, heads);
    tensor(lexicon, model_.exits->lexicon, vocabulary + model_.exits->pairs);
}

DeviceModel::DeviceModel(const Device& device, const model::Model& model) : device_(device), model_(model) {
    const model::Architecture& shape = model.architecture;
    if (shape.positions > 65536 ||
        head_shared(shape.hidden, static_cast<std::uint32_t>(model.categories.size())) > 48 * 1024)
        throw Error(ErrorCode::device,
                    device.name() + ": this model is too wide for the kernels; use device='cpu'");
    Carver counter(0);
    for_each_tensor(
        [&]<class T>(const T*& to, const T*, std::size_t count) { to = counter.take<const T>(count); });
    const Device::Current current(device);
    try {
        memory_ = device.allocate(counter.used());
        Carver carver(memory_);
        for_each_tensor([&]<class T>(const T*& to, const T* from, std::size_t count) {
            to = carver.take<const T>(count);
            if (count > 0)
                device.check(device.driver().upload(reinterpret_cast<Pointer>(to), from, count * sizeof(T)),
                             "sending the model");
        });
    } catch (const OutOfMemory& error) {
        if (memory_ != 0) (void)device.driver().free(memory_);
        throw Error(ErrorCode::device, std::string(error.what()) + ": the model needs " +
                                           std::to_string(counter.used() >> 20) +
                                           " MiB there; free some, choose another GPU or use device='cpu'");
    }
}

DeviceModel::~DeviceModel() {
    try {
        const Device::Current current(device_);
        (void)device_.driver().free(memory_);
    } catch (const Error&) {  // a lost device has nothing to give back
    }
}

}  // namespace safetyclf::cuda
