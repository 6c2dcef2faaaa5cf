"""The encoder of `_gpu_rivals` in PyTorch, in four ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from _gpu_rivals import Floats, Ids, Rival, Tokens

if TYPE_CHECKING:
    from safetyclf._float_encoder import FloatEncoder


class Torch(Rival):
    """PyTorch's own attention over padded batches; where lengths are alike without a mask, for flash."""

    packed = False

    def __init__(
        self, tokenizer: Any, encoder: FloatEncoder, heads: tuple[Floats, Floats], device: str
    ) -> None:
        super().__init__(tokenizer)
        import torch

        self._torch, self._device = torch, device
        # The CPU computes in fp32: there it is for the tests of this program.
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        attention = packed_attention(device) if self.packed else None
        self._model = torch_encoder(encoder, heads, attention).to(device, dtype).eval()

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        ids, real = tokens.padded(texts)
        mask = None if real.all() else self._sent(real)
        with self._torch.inference_mode():
            return self._model(self._sent(ids), mask)

    def finish(self, result: Any) -> Floats:
        logits: Floats = result.float().cpu().numpy()
        return logits

    def _sent(self, array: npt.NDArray[Any]) -> Any:
        tensor = self._torch.from_numpy(array)
        return tensor if self._device == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)


class TorchCompiled(Torch):
    """The same by torch.compile, for any shape."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._model = self._torch.compile(self._model, dynamic=True)


class TorchPacked(Torch):
    """No padding: PyTorch's flash attention for sequences of unequal lengths, and torch.compile."""

    packed = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if self._device != "cpu":
            self._model = self._torch.compile(self._model, dynamic=True)

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        lengths = tokens.lengths[texts]
        ends = np.cumsum(lengths)
        columns = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        ids = tokens.flat[np.repeat(tokens.starts[texts], lengths) + columns]
        begins = np.concatenate([[0], ends]).astype(np.int32)
        with self._torch.inference_mode():
            rows = (np.repeat(np.arange(len(texts)), lengths), columns, begins)
            return self._model(self._sent(ids), None, (*map(self._sent, rows), int(lengths.max())))


class TorchGraphs(Torch):
    """One text at a time as a CUDA graph for each length, padded to a multiple of 16: a single launch."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._graphs: dict[int, Any] = {}

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        width = -(-int(tokens.lengths[texts].max()) // 16) * 16
        ids, real = tokens.padded(texts, width)
        if width not in self._graphs:
            self._graphs[width] = self._captured(ids, real)
        graph, places, output = self._graphs[width]
        for place, array in zip(places, (ids, real), strict=True):
            place.copy_(self._torch.from_numpy(array), non_blocking=True)
        graph.replay()
        return output

    def _captured(self, ids: Ids, real: npt.NDArray[np.bool_]) -> Any:
        torch = self._torch
        places = [torch.from_numpy(array).to(self._device) for array in (ids, real)]
        with torch.inference_mode():
            for _ in range(3):  # what is made on first use must be there before the capture
                self._model(*places)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._model(*places)
        return graph, places, output


def packed_attention(device: str) -> Callable[..., Any]:
    """Attention over packed rows (q, k, v [rows, heads, size], begins, longest): flash, or plain on a CPU."""
    import torch

    if device != "cpu":
        from torch.nn.attention.varlen import varlen_attn

        return lambda q, k, v, begins, longest: varlen_attn(q, k, v, begins, begins, longest, longest)

    def plain(q: Any, k: Any, v: Any, begins: Any, _: int) -> Any:
        parts = [
            torch.nn.functional.scaled_dot_product_attention(*(x[a:b].transpose(0, 1) for x in (q, k, v)))
            for a, b in itertools.pairwise(begins.tolist())
        ]
        return torch.cat([part.transpose(0, 1) for part in parts])

    return plain


def torch_encoder(
    encoder: FloatEncoder, heads: tuple[Floats, Floats], packed: Callable[..., Any] | None
) -> Any:
    """The encoder with its heads as a module: ids and a mask, or None, to logits.

    A packed batch comes as ids [rows] and, for each row, its text and its place in it; then where texts begin
    and the length of the longest.
    """
    import torch
    from torch import nn

    a = encoder.architecture

    def linear(name: str) -> Any:
        weight, bias = encoder.parameters[f"{name}.weight"], encoder.parameters[f"{name}.bias"]
        return _filled(nn.Linear(*reversed(weight.shape)), weight, bias)

    def norm(name: str) -> Any:
        gamma, beta = encoder.parameters[f"{name}.gamma"], encoder.parameters[f"{name}.beta"]
        return _filled(nn.LayerNorm(a.hidden, a.norm_epsilon), gamma, beta)

    def _filled(module: Any, weight: Floats, bias: Floats) -> Any:
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.array(weight)))
            module.bias.copy_(torch.from_numpy(np.array(bias)))
        return module

    class Layer(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            names = ("qkv", "attention_output", "ffn_in", "ffn_out")
            self.qkv, self.attended, self.inner, self.outer = (linear(f"layers.{number}.{n}") for n in names)
            self.first, self.second = (norm(f"layers.{number}.{n}") for n in ("attention_norm", "ffn_norm"))

        def forward(self, x: Any, mask: Any, rows: Any) -> Any:
            q, k, v = self.qkv(x).unflatten(-1, (3, a.heads, a.hidden // a.heads)).unbind(-3)
            if rows is not None:
                assert packed is not None
                mixed = packed(q, k, v, *rows[2:])
            else:
                mixed = nn.functional.scaled_dot_product_attention(
                    *(y.transpose(1, 2) for y in (q, k, v)), attn_mask=mask
                ).transpose(1, 2)
            x = self.first(x + self.attended(mixed.flatten(-2)))
            return self.second(x + self.outer(nn.functional.gelu(self.inner(x))))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tables = (encoder.parameters["words.weight"], encoder.parameters["positions"])
            self.words, self.positions = (
                nn.Embedding.from_pretrained(torch.from_numpy(np.array(t))) for t in tables
            )
            self.norm = norm("embedding_norm")
            self.layers = nn.ModuleList(Layer(number) for number in range(a.layers))
            self.heads = _filled(nn.Linear(a.hidden, len(heads[1])), *heads)

        def forward(self, ids: Any, mask: Any, rows: Any = None) -> Any:
            columns = torch.arange(ids.shape[-1], device=ids.device) if rows is None else rows[1]
            x = self.norm(self.words(ids) + self.positions(columns))
            keys = None if mask is None else mask[:, None, None]
            for layer in self.layers:
                x = layer(x, keys, rows)
            if rows is not None:
                lengths = rows[2].diff()[:, None]
                pooled = x.new_zeros(len(lengths), a.hidden, dtype=torch.float32)
                pooled = pooled.index_add(0, rows[0], x.float()) / lengths
            elif mask is None:
                pooled = x.float().mean(1)
            else:
                pooled = (x.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return self.heads(pooled.to(x.dtype))

    return Encoder()
