"""The encoder with heads at every depth as a PyTorch module, under the parameter names of the model file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .._float_encoder import FloatEncoder, Floats

INITIAL_HEAD_BIAS = -2.0  # most texts are harmless: training need not begin by learning that


class _Dropout(nn.Module):
    """Drops features of a whole text at once, not of each token.

    That is Gal and Ghahramani's variational dropout (2016), and far fewer random numbers: on a CPU those of
    common dropout take a third of the time of a step.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """X [rows, tokens, hidden]."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))


class _Layer(nn.Module):
    """One layer of a post-norm transformer (Devlin et al. 2019, BERT)."""

    def __init__(self, hidden: int, intermediate: int, heads: int, epsilon: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, epsilon)
        self.ffn_in = nn.Linear(hidden, intermediate)
        self.ffn_out = nn.Linear(intermediate, hidden)
        self.ffn_norm = nn.LayerNorm(hidden, epsilon)
        self.dropout = _Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        rows, tokens, hidden = x.shape
        size = hidden // self.heads
        q, k, v = self.qkv(x).view(rows, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        # Two plain products: the fused CPU kernel's backward pass is much slower at these lengths.
        with torch.autocast(x.device.type, enabled=False):
            scores = torch.matmul(q.float(), k.float().transpose(-1, -2)) * size**-0.5 + bias
            context = torch.matmul(torch.softmax(scores, dim=-1), v.float())
        context = context.transpose(1, 2).reshape(rows, tokens, hidden)
        x = self.attention_norm(x + self.dropout(self.attention_output(context)))
        inner = functional.gelu(self.ffn_in(x))
        y: Tensor = self.ffn_norm(x + self.dropout(self.ffn_out(inner)))
        return y


class TorchEncoder(nn.Module):
    """Mean-pooled linear heads at every depth of a BERT encoder.

    Args:
        encoder: the parameters to begin with.
        classes: number of categories.
        dropout: share of features dropped from the embedding and from what each block adds, in training.
    """

    def __init__(self, encoder: FloatEncoder, classes: int, dropout: float) -> None:
        super().__init__()
        a = encoder.architecture
        self.source = encoder
        self.words = nn.Embedding(a.vocabulary, a.hidden)
        self.positions = nn.Parameter(torch.empty(a.positions, a.hidden))
        self.embedding_norm = nn.LayerNorm(a.hidden, a.norm_epsilon)
        self.layers = nn.ModuleList(
            _Layer(a.hidden, a.intermediate, a.heads, a.norm_epsilon, dropout) for _ in range(a.layers)
        )
        self.dropout = _Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(a.hidden, classes) for _ in range(a.layers + 1))
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, INITIAL_HEAD_BIAS)
        state = self.state_dict()
        for name, value in encoder.parameters.items():
            if name.endswith("inverse_smooth"):
                continue
            smooth = encoder.parameters.get(name.replace(".weight", ".inverse_smooth"))
            folded = value if smooth is None or not name.endswith(".weight") else value * smooth
            state[_torch_name(name)].copy_(torch.from_numpy(np.array(folded)))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits float32 [depths, rows, classes] of token ids int64 [rows, tokens], padded with any id.

        `lengths` int64 [rows] says how many tokens of each row are real.
        """
        real = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        bias = torch.zeros(real.shape, device=ids.device).masked_fill(~real, -1e4)[:, None, None, :]
        share = real.float() / lengths[:, None]
        x = self.embedding_norm(self.words(ids) + self.positions[: ids.shape[1]])
        x = self.dropout(x)
        logits = []
        for depth, head in enumerate(self.heads):
            if depth:
                x = self.layers[depth - 1](x, bias)
            with torch.autocast(ids.device.type, enabled=False):
                pooled = torch.bmm(share[:, None], x.float())[:, 0]
                logits.append(head(pooled))
        return torch.stack(logits)

    def to_float_encoder(self) -> FloatEncoder:
        """The encoder's present parameters, without the smoothing that the source may have come with."""
        state = {name: value.detach().float().cpu().numpy() for name, value in self.state_dict().items()}
        parameters: dict[str, Floats] = {}
        for name, value in self.source.parameters.items():
            smooth = name.endswith("inverse_smooth")
            parameters[name] = np.ones_like(value) if smooth else state[_torch_name(name)].copy()
        return replace(self.source, parameters=parameters, smoothed=False)

    def head_arrays(self) -> tuple[Floats, Floats]:
        """Weights float32 [depths, classes, hidden] and biases [depths, classes] of the heads."""
        weights, biases = [], []
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            weights.append(head.weight.detach().float().cpu().numpy())
            biases.append(head.bias.detach().float().cpu().numpy())
        return np.stack(weights), np.stack(biases)


def _torch_name(name: str) -> str:
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")
