"""Fine-tuning of the encoder together with heads at every depth."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from .._float_encoder import FloatEncoder, Floats
from .config import FinetuneConfig
from .data import UNKNOWN
from .torch_encoder import TorchEncoder

Labels = npt.NDArray[np.int8]
Ids = Sequence[npt.NDArray[np.int64]]
Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much
REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class Epoch:
    """One pass: token ids of n texts, labels int8 [n, C], and whether they are certain [n]: not smoothed."""

    ids: Ids
    labels: Labels
    certain: npt.NDArray[np.bool_]


def padded_length(tokens: int) -> int:
    """The length that a text is padded to: few different ones, as each new shape costs set-up."""
    step = 8 if tokens <= 64 else 16 if tokens <= 128 else 32
    return -(-tokens // step) * step


def batches(ids: Ids, config: FinetuneConfig, generator: np.random.Generator) -> list[list[int]]:
    """Rows of each step, in random order; texts of a step are padded to one length."""
    buckets: dict[int, list[int]] = {}
    for row in generator.permutation(len(ids)).tolist():
        buckets.setdefault(padded_length(len(ids[row])), []).append(row)
    result: list[list[int]] = []
    for length in sorted(buckets):
        size = step_rows(length, config)
        rows = buckets[length]
        result += [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    return [result[i] for i in generator.permutation(len(result)).tolist()]


def step_rows(length: int, config: FinetuneConfig) -> int:
    """How many texts padded to `length` make a step."""
    return max(1, min(config.batch_rows, config.batch_tokens // length))


def pad(ids: Ids, rows: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """Token ids int64 [size, padded length], filled up with 0, and lengths int64 [size], 1 beyond `rows`."""
    lengths = np.ones(size, np.int64)
    lengths[: len(rows)] = [len(ids[row]) for row in rows]
    padded = np.zeros((size, padded_length(int(lengths.max()))), np.int64)
    for i, row in enumerate(rows):
        padded[i, : lengths[i]] = ids[row]
    return torch.from_numpy(padded), torch.from_numpy(lengths)


@dataclass(frozen=True)
class LossWeights:
    """float32 [C] each: the factor of a category's loss, and that of its positives beside it."""

    category: Floats
    positive: Floats


def loss(
    logits: Tensor,
    labels: Tensor,
    smoothing: Tensor,
    category: Tensor,
    positive: Tensor,
    config: FinetuneConfig,
) -> Tensor:
    """Summed over rows and categories: the masked logistic loss of every depth, and self-distillation.

    Each earlier depth also learns the last one's probabilities, for all categories, labelled or not: more
    than the labels say, and what makes leaving early safe (Zhang et al. 2019, Be Your Own Teacher).

    Args:
        logits: float32 [depths, rows, C].
        labels: float32 [rows, C], UNKNOWN where there is none.
        smoothing: how far labels of a row are moved from 0 and 1 [rows, 1].
        category: factor of each category's loss [C].
        positive: factor of the positives' loss beside it [C].
        config: weights of the terms.
    """
    known = labels != UNKNOWN
    target = labels.clamp(min=0)
    weight = category * torch.where(target > 0, positive, torch.ones_like(positive)) * known
    smooth = target * (1 - 2 * smoothing) + smoothing
    every = functional.binary_cross_entropy_with_logits(
        logits, smooth.expand_as(logits), weight.expand_as(logits), reduction="none"
    ).sum(dim=(1, 2))
    total = every[-1]
    if len(logits) > 1:
        teacher = torch.sigmoid(logits[-1].detach()).expand_as(logits[:-1])
        student = functional.binary_cross_entropy_with_logits(logits[:-1], teacher, reduction="none")
        student = student * category * known.any(dim=1)[:, None]  # rows without any label only fill a step up
        total = total + config.exit_weight * every[:-1].sum() + config.distillation_weight * student.sum()
    return total


class Finetuner:
    """Trains one model; goes on from `checkpoint` if that file holds a state of the same run.

    Args:
        encoder: the parameters to begin with.
        config: of the run.
        epoch_of: the texts of an epoch, by number; called again after an interruption, so deterministic.
        weights: of the loss.
        key: hash of all that determines the run; a checkpoint of another key is ignored.
    """

    def __init__(
        self,
        encoder: FloatEncoder,
        config: FinetuneConfig,
        epoch_of: Callable[[int], Epoch],
        weights: LossWeights,
        key: str,
    ) -> None:
        self.config, self.epoch_of, self.key = config, epoch_of, key
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and _fast_bf16(self.device))
        torch.manual_seed(config.seed)
        self.model = TorchEncoder(encoder, len(weights.category), config.dropout).to(self.device)
        self.category = torch.from_numpy(weights.category).to(self.device)
        self.positive = torch.from_numpy(weights.positive).to(self.device)
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, config), lr=config.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.epoch = self.step = 0  # where training goes on: a step within an epoch

    def run(
        self,
        checkpoint: Path,
        report: Report,
        progress: Progress = lambda task, done, total: None,
        save_seconds: float = 120.0,
    ) -> TorchEncoder:
        """Trains to the end and returns the averaged model."""
        _keep_freed_memory()
        self._load(checkpoint, report)
        saved = time.monotonic()
        while self.epoch < self.config.epochs:
            epoch = self.epoch_of(self.epoch)
            generator = np.random.default_rng([self.config.seed, self.epoch])
            plan = batches(epoch.ids, self.config, generator)
            rows_per_step = len(epoch.ids) / len(plan)
            meter = _Meter(self.epoch, self.config.epochs, len(plan), self.step, report, progress)
            while self.step < len(plan):
                rows = plan[self.step]
                value = self._train_step(epoch, rows, rows_per_step, len(plan))
                self.step += 1
                meter(self.step, value, len(rows))
                if time.monotonic() - saved > save_seconds:
                    self._save(checkpoint)
                    saved = time.monotonic()
            self.epoch, self.step = self.epoch + 1, 0
            self._save(checkpoint)
        self.model.load_state_dict(self.average)
        return self.model.eval()

    def _train_step(self, epoch: Epoch, rows: list[int], rows_per_step: float, steps: int) -> float:
        done = self.epoch * steps + self.step
        total = self.config.epochs * steps
        # The state of the generator follows from the step, so that a resumed run draws the same dropout.
        torch.manual_seed((self.config.seed << 32) + (self.epoch << 20) + self.step)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * schedule(done / total, self.config.warmup_share)
        self.model.train()
        size = step_rows(padded_length(len(epoch.ids[rows[0]])), self.config)
        ids, lengths = pad(epoch.ids, rows, size)
        labels = torch.full((size, epoch.labels.shape[1]), float(UNKNOWN))
        labels[: len(rows)] = torch.from_numpy(epoch.labels[rows].astype(np.float32))
        labels = labels.to(self.device)
        smoothing = torch.zeros((size, 1))
        smoothing[: len(rows), 0] = torch.from_numpy(
            np.where(epoch.certain[rows], 0.0, self.config.label_smoothing)
        )
        smoothing = smoothing.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.model(ids.to(self.device), lengths.to(self.device))
        # Divided by the mean number of rows of a step: each text counts the same, in long and short batches.
        value = loss(logits, labels, smoothing, self.category, self.positive, self.config) / rows_per_step
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        # The average forgets its beginning: early on it covers a tenth of the steps made.
        decay = min(self.config.average_decay, (1 + done) / (10 + done))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(
                [self.average[name] for name in state], [state[name] for name in state], 1 - decay
            )
        return float(value.detach()) * rows_per_step / len(rows)

    def _save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        torch.save(
            {
                "key": self.key,
                "epoch": self.epoch,
                "step": self.step,
                "model": self.model.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
            },
            temporary,
        )
        temporary.replace(path)

    def _load(self, path: Path, report: Report) -> None:
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["key"] != self.key:
            return
        self.epoch, self.step = state["epoch"], state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        report(f"fine-tuning: goes on from epoch {self.epoch + 1}, step {self.step}")


def schedule(progress: float, warmup: float) -> float:
    """Factor of the learning rate at a share of all steps: up in a line, then down as half a cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.inference_mode()
def logits_of(model: TorchEncoder, ids: Ids, config: FinetuneConfig, bf16: bool = False) -> Floats:
    """Logits float32 [depths, n, C] of texts of one window."""
    model.eval()
    device = model.positions.device
    result: Floats | None = None
    for rows in batches(ids, config, np.random.default_rng(0)):
        padded, lengths = pad(ids, rows, len(rows))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = model(padded.to(device), lengths.to(device)).float().cpu().numpy()
        if result is None:
            result = np.empty((len(found), len(ids), found.shape[2]), np.float32)
        result[:, rows] = found
    assert result is not None  # there is at least one text
    return result


class _Meter:
    """Says how far an epoch is: at each step for a progress bar, and now and then in a line."""

    def __init__(
        self, epoch: int, epochs: int, steps: int, first: int, report: Report, progress: Progress
    ) -> None:
        self.name = f"fine-tuning: epoch {epoch + 1}/{epochs}"
        self.steps, self.first, self.report, self.progress = steps, first, report, progress
        self.begin = self.last = time.monotonic()
        self.sum = self.rows = 0.0

    def __call__(self, step: int, value: float, rows: int) -> None:
        self.sum += value * rows
        self.rows += rows
        self.progress(f"{self.name}, steps", step, self.steps)
        now = time.monotonic()
        if now - self.last > REPORT_SECONDS or step == self.steps:
            rate = (step - self.first) / (now - self.begin)
            left = (self.steps - step) / rate / 60
            self.report(
                f"{self.name}, step {step}/{self.steps}, loss {self.sum / self.rows:.4f}, "
                f"{left:.1f} minutes left of the epoch"
            )
            self.last, self.sum, self.rows = now, 0.0, 0.0


def _groups(model: TorchEncoder, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate and decay: lower layers learn more slowly, vectors do not decay."""
    depth_of = len(model.layers)
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("heads."):
            rate = config.head_learning_rate
        else:
            depth = int(name.split(".")[1]) + 1 if name.startswith("layers.") else 0
            rate = config.learning_rate * config.layer_decay ** (depth_of - depth)
        groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": config.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def _fast_bf16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cpu._is_amx_tile_supported()


def _keep_freed_memory() -> None:
    """Lets the allocator keep large blocks: giving them back costs a tenth of a step on a CPU."""
    try:
        mallopt = ctypes.CDLL(None).mallopt  # glibc alone has it
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


def run_key(*parts: object) -> str:
    """Hash of what determines a run."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
