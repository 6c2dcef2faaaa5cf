"""The encoder of `_gpu_rivals` in ONNX Runtime: on its CUDA provider, and on that of TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from _gpu_rivals import LONGEST_BATCH, Floats, Ids, Rival, Tokens

if TYPE_CHECKING:
    from pathlib import Path

    from safetyclf._float_encoder import FloatEncoder


class Onnx(Rival):
    """ONNX Runtime's CUDA provider in fp16, on the operators that it has for BERT."""

    def __init__(
        self, tokenizer: Any, encoder: FloatEncoder, heads: tuple[Floats, Floats], device: str, folder: Path
    ) -> None:
        super().__init__(tokenizer)
        import onnxruntime

        wanted, options = self.provider(device)
        if wanted not in onnxruntime.get_available_providers():
            raise RuntimeError(f"this ONNX Runtime has no {wanted}")
        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA's libraries as PyTorch's packages bring them
        path = folder / f"{type(self).__name__}.onnx"
        path.write_bytes(self.graph(encoder, heads, device))
        self._session = onnxruntime.InferenceSession(path, providers=[(wanted, options)])
        if wanted not in self._session.get_providers():
            raise RuntimeError(f"ONNX Runtime could not start {wanted}")

    def provider(self, device: str) -> tuple[str, dict[str, Any]]:
        return ("CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"), {}

    def graph(self, encoder: FloatEncoder, heads: tuple[Floats, Floats], device: str) -> bytes:
        return fused_graph(encoder, heads, np.float32 if device == "cpu" else np.float16)

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        ids, _ = tokens.padded(texts)
        inputs = {"input_ids": ids, "lengths": tokens.lengths[texts].astype(np.int32)}
        return self._session.run(["logits"], inputs)[0]


class TensorRt(Onnx):
    """ONNX Runtime's TensorRT provider in fp16, which fuses a graph of standard operators by itself."""

    budgets = (16_384, 65_536)

    def provider(self, device: str) -> tuple[str, dict[str, Any]]:
        def shapes(rows: int, width: int) -> str:
            return ",".join(f"{name}:{rows}x{width}" for name in ("input_ids", "attention_mask"))

        return "TensorrtExecutionProvider", {
            "trt_fp16_enable": True,
            "trt_profile_min_shapes": shapes(1, 3),
            "trt_profile_opt_shapes": shapes(128, 64),
            "trt_profile_max_shapes": shapes(LONGEST_BATCH, 512),
        }

    def graph(self, encoder: FloatEncoder, heads: tuple[Floats, Floats], device: str) -> bytes:
        from safetyclf.onnx import graph

        data: bytes = graph.build_graph(encoder, heads).SerializeToString()
        return data

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        ids, real = tokens.padded(texts)
        inputs = {"input_ids": ids, "attention_mask": real.astype(np.int64)}
        return self._session.run(["logits"], inputs)[0]


def fused_graph(encoder: FloatEncoder, heads: tuple[Floats, Floats], dtype: type[np.floating[Any]]) -> bytes:
    """The encoder in ONNX Runtime's own operators: Attention, BiasGelu, SkipLayerNormalization."""
    from onnx import TensorProto, helper, numpy_helper

    a, p = encoder.architecture, encoder.parameters
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, kind: Any = dtype) -> str:
        name = f"constant_{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def add(operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        name = output or f"value_{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def own(operator: str, *inputs: str, **attributes: Any) -> str:
        return add(operator, *inputs, domain="com.microsoft", **attributes)

    def product(x: str, name: str) -> str:
        return add("MatMul", x, constant(p[f"{name}.weight"].T))

    zero, one = constant([0], np.int64), constant([1], np.int64)
    width = add("Shape", "input_ids", start=1, end=2)
    x = add("Gather", constant(p["words.weight"]), "input_ids")
    x = add("Add", x, add("Slice", constant(p["positions"]), zero, width, zero))
    norms = constant(p["embedding_norm.gamma"]), constant(p["embedding_norm.beta"])
    x = add("LayerNormalization", x, *norms, axis=-1, epsilon=a.norm_epsilon)
    for layer in range(a.layers):
        prefix = f"layers.{layer}"

        def ended(x: str, before: str, linear: str, norm: str, prefix: str = prefix) -> str:
            names = (f"{norm}.gamma", f"{norm}.beta", f"{linear}.bias")
            rest = [constant(p[f"{prefix}.{name}"]) for name in names]
            product_of = product(x, f"{prefix}.{linear}")
            return own("SkipLayerNormalization", product_of, before, *rest, epsilon=a.norm_epsilon)

        joint = constant(p[f"{prefix}.qkv.weight"].T), constant(p[f"{prefix}.qkv.bias"])
        mixed = own("Attention", x, *joint, "lengths", num_heads=a.heads)
        x = ended(mixed, x, "attention_output", "attention_norm")
        inner = own("BiasGelu", product(x, f"{prefix}.ffn_in"), constant(p[f"{prefix}.ffn_in.bias"]))
        x = ended(inner, x, "ffn_out", "ffn_norm")
    places = [add("Squeeze", value, zero) for value in (zero, width, one)]
    columns = add("Range", *places)
    lengths = add("Unsqueeze", add("Cast", "lengths", to=TensorProto.INT64), one)
    real = add("Cast", add("Less", columns, lengths), to=TensorProto.FLOAT)
    total = add("MatMul", add("Unsqueeze", real, one), add("Cast", x, to=TensorProto.FLOAT))
    pooled = add("Div", add("Squeeze", total, one), add("Cast", lengths, to=TensorProto.FLOAT))
    weight, bias = constant(heads[0].T, np.float32), constant(heads[1], np.float32)
    add("Add", add("MatMul", pooled, weight), bias, output="logits")
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(heads[1])])]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, constants)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=domains, ir_version=8).SerializeToString()
    return data
