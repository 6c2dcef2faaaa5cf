from ._modelfile import quantize_weights

def quantize_encoder(encoder, windows):
    tensors = {}
    for name, value in encoder.parameters.items():
        if name.endswith(".weight"):
            q, s = quantize_weights(value)
            tensors["encoder." + name] = q
            tensors["encoder." + name.removesuffix("weight") + "scale"] = s
        else:
            tensors["encoder." + name] = value
    return tensors
