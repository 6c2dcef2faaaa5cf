"""The whole pipeline in plain numpy: what safetyclf computes, written to be read.

    model = load("model.safetensors")
    logits = model.logits("some text")             # float32 [categories]
    flagged, action = model.decide(model.calibrate(logits))

`arithmetic` holds the operations of docs/numerics.md, `text` the tokenizer, `model` the encoder that
strings them together. Logits and probabilities have the same bits as the engine's; tests compare them. One
text is processed at a time: this is for reading, for tests and for asking what a model file means, not for
production.
"""

from .model import ReferenceModel, load

__all__ = ["ReferenceModel", "load"]
