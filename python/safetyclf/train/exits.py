"""Rules for leaving early: fitted on training texts, certified on calibration rows (docs/adaptive-depth.md).

At each depth below the last a window gets a score: how likely it is that the last depth finds some category
at or above its floor. A window whose score is below the threshold leaves. The threshold is an order statistic
of the calibration rows, so that the bound on the share of texts which leave although they would have reached
a floor is exact: the rule of `thresholds`, on scores that nothing fitted has seen.

The higher the floors, the more may leave; but they must lie below a policy's thresholds. So there are levels,
each with floors and a threshold of its own, which hold all together (Bonferroni).

Floors, scores and scales come from training and selection rows alone. Thresholds of decisions come from
calibration rows, so that floors cannot be taken from them: their places are guessed on selection rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from .._modelfile import ModelFile
from .._native import Engine
from ..policy.bounds import allowed_hits, upper_bound
from ..reference.model import pair_hashes
from .calibration import Curve
from .config import ExitsConfig

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
BATCH_TEXTS = 2048
_SHARPNESS = 2.0  # of the target: expit of this times the distance from the floor, in logits


@dataclass(frozen=True)
class Windows:
    """Windows of some texts through the engine.

    Attributes:
        pooled: float32 [windows of the first texts, depths, hidden].
        last: float32 [windows, hidden], of the last depth.
        ids: token ids of each window.
        offsets: int64 [texts + 1], the first window of each text.
    """

    pooled: Floats
    last: Floats
    ids: Sequence[npt.NDArray[np.int64]]
    offsets: npt.NDArray[np.int64]


def read_windows(engine: Engine, texts: Sequence[str], whole: int | None = None) -> Windows:
    """Reads texts through the engine.

    Only of the first `whole` texts (None: all) the hidden states of each depth are kept, which take 4 bytes
    for each depth and hidden unit.
    """
    pooled, last, ids = [], [], []
    offsets = [np.zeros(1, np.int64)]
    whole = len(texts) if whole is None else whole
    for begin in range(0, len(texts), BATCH_TEXTS):
        part = texts[begin : begin + BATCH_TEXTS]
        found, starts = engine.pooled(part)
        pooled.append(found[: starts[max(0, min(whole - begin, len(part)))]].copy())
        last.append(found[:, -1].copy())
        offsets.append(offsets[-1][-1] + starts[1:].astype(np.int64))
        for text in part:
            tokens, _, _, rows = engine.tokenize(text)
            ids += np.split(np.array(tokens, np.int64), rows[1:-1])
    return Windows(np.concatenate(pooled), np.concatenate(last), ids, np.concatenate(offsets))


# --- the lexicon


class Lexicon:
    """Weights of tokens and of hashed pairs of neighbours (after fastText, Joulin et al. 2017)."""

    def __init__(self, vocabulary: int, pairs: int) -> None:
        self.vocabulary, self.pairs = vocabulary, pairs
        self.weights = np.zeros(vocabulary + pairs, np.int8)
        self.scale = np.float32(1)

    def features(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the table that a window uses."""
        return np.concatenate([ids[1:-1], self.vocabulary + (pair_hashes(ids) & (self.pairs - 1))])

    def fit(self, ids: Sequence[npt.NDArray[np.int64]], target: Doubles, config: ExitsConfig) -> None:
        """Logistic regression on `target` in [0, 1], by Adagrad in a fixed order of rows."""
        rows = [self.features(window) for window in ids]
        norms = np.sqrt([len(window) for window in ids])
        weights = np.zeros(len(self.weights))
        squares = np.full(len(self.weights), 1e-8)
        bias = float(np.log(target.mean() / (1 - target.mean())))
        rng = np.random.default_rng(config.seed)
        for _ in range(config.lexicon_passes):
            order = rng.permutation(len(rows))
            for begin in range(0, len(order), config.lexicon_batch):
                part = order[begin : begin + config.lexicon_batch]
                used = np.concatenate([rows[i] for i in part])
                owner = np.repeat(np.arange(len(part)), [len(rows[i]) for i in part])
                scores = np.bincount(owner, weights[used], len(part)) / norms[part] + bias
                error = expit(scores) - target[part]
                bias -= 0.1 * float(error.mean())
                unique, place = np.unique(used, return_inverse=True)
                gradient = (
                    np.bincount(place, (error / norms[part])[owner]) + config.lexicon_l2 * weights[unique]
                )
                squares[unique] += gradient**2
                weights[unique] -= config.lexicon_rate * gradient / np.sqrt(squares[unique])
        limit = float(np.quantile(np.abs(weights[weights != 0]), 0.9995))
        self.scale = np.float32(limit / 127)
        self.weights = np.clip(np.rint(weights / self.scale), -127, 127).astype(np.int8)

    def sums(self, ids: Sequence[npt.NDArray[np.int64]]) -> Floats:
        """What the engine computes of each window, float32 [windows]."""
        totals = np.array([int(self.weights[self.features(w)].sum(dtype=np.int64)) for w in ids], np.float32)
        counts = np.array([len(w) for w in ids], np.float32)
        sums: Floats = totals * self.scale / np.sqrt(counts)
        return sums


# --- rules


@dataclass(frozen=True)
class Rules:
    """The tensors `exits.*` of the model file, and what they promise."""

    tensors: Mapping[str, npt.NDArray[Any]]
    statement: Mapping[str, Any]


def fit_exits(
    config: ExitsConfig,
    file: ModelFile,
    engine: Engine,
    floor_logits: Floats,
    curves: Sequence[Curve],
    texts: Mapping[str, Sequence[str]],
    report: Callable[[str], None],
) -> Rules:
    """Fits the rules and certifies them.

    Args:
        config: of `train.exits`.
        file: the complete file that gets them.
        engine: of this file, or of one with the same weights.
        floor_logits: float32 [levels, C], what stands for the floors at the last depth; scores are fitted to
            the first level.
        curves: of the file.
        texts: "train" for the lexicon and, the first `config.texts` of them, for the weights; "selection" for
            how these add up; "calibration" for the thresholds.
        report: gets a line now and then.
    """
    layers = file.architecture.layers
    floor_logit = floor_logits[0]
    windows = {
        name: read_windows(engine, part, config.texts if name == "train" else None)
        for name, part in texts.items()
    }
    heads, bias = file.tensors["heads.weight"], file.tensors["heads.bias"]
    logits = {
        name: [part.pooled[:, depth] @ heads[depth].T + bias[depth] for depth in range(layers)]
        for name, part in windows.items()
        if name != "train"
    }
    last = {name: part.last @ heads[-1].T + bias[-1] for name, part in windows.items()}
    target = {
        name: expit(_SHARPNESS * (z - floor_logit).max(axis=1).astype(np.float64)) for name, z in last.items()
    }

    lexicon = Lexicon(file.architecture.vocabulary, config.pairs)
    lexicon.fit(windows["train"].ids, target["train"], config)
    report(f"exits: lexicon of {len(lexicon.weights)} weights fitted to {len(target['train'])} windows")
    sums = {name: lexicon.sums(part.ids) for name, part in windows.items()}

    tensors: dict[str, npt.NDArray[Any]] = {
        "lexicon": lexicon.weights,
        "lexicon.scale": np.array([lexicon.scale], np.float32),
        "floor_logit": floor_logit,
        # A logit below the floor's means a probability below it, on flat parts of a curve as well.
        "floor": np.array(
            [
                [np.nextafter(curve(level[[c]])[0], np.float32(2)) for c, curve in enumerate(curves)]
                for level in floor_logits
            ],
            np.float32,
        ),
    }
    rows: dict[str, list[Any]] = {
        name: [] for name in ("weight", "bias", "lexical", "highest", "slope", "shift")
    }
    scores: dict[str, list[Doubles]] = {"selection": [], "calibration": []}
    for depth in range(layers):
        pooled = windows["train"].pooled[:, depth]
        weight = _direction(pooled, target["train"][: len(pooled)], config.l2)

        def terms(name: str, depth: int = depth, weight: Floats = weight) -> Doubles:
            highest = (logits[name][depth] - floor_logit).max(axis=1)
            direction = windows[name].pooled[:, depth] @ weight
            return np.stack([direction, highest, sums[name]], axis=1).astype(np.float64)

        factors, constant = _logistic(terms("selection"), target["selection"], 1e-4)
        # A rule that falls where a logit rises would let a harmful text leave for being harmful.
        factors = np.maximum(factors, 0)
        rows["weight"].append(weight * np.float32(factors[0]))
        rows["highest"].append(factors[1])
        rows["lexical"].append(factors[2])
        rows["bias"].append(constant)
        for name, found in scores.items():
            found.append(terms(name) @ factors + constant)
        slope, shift = _lines(logits["selection"][depth], last["selection"])
        rows["slope"].append(slope)
        rows["shift"].append(shift)
    tensors |= {name: np.array(values, np.float32) for name, values in rows.items()}
    above = [(last["calibration"] - level).max(axis=1).astype(np.float64) for level in floor_logits]
    return _certified(config, tensors, windows["calibration"], above, scores["calibration"])


def _direction(pooled: Floats, target: Doubles, l2: float) -> Floats:
    """Logistic regression on standardised features; weights float32 [hidden] of the features as they are."""
    deviation = pooled.std(axis=0).astype(np.float64) + 1e-3
    standardised = (pooled - pooled.mean(axis=0)) / deviation
    factors, _ = _logistic(standardised, target, l2)
    weights: Floats = (factors / deviation).astype(np.float32)
    return weights


def _logistic(x: npt.NDArray[Any], target: Doubles, l2: float) -> tuple[Doubles, float]:
    """Weights [columns] and bias that minimise the mean logistic loss + l2 |w|^2."""

    def loss(parameters: Doubles) -> tuple[float, Doubles]:
        weights, bias = parameters[:-1], parameters[-1]
        z = x @ weights + bias
        error = (expit(z) - target) / len(z)
        value = float(np.mean(np.logaddexp(0, z) - target * z) + l2 * weights @ weights)
        return value, np.append(x.T @ error + 2 * l2 * weights, error.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x[:-1], float(found.x[-1])


def _lines(here: Floats, last: Floats) -> tuple[Doubles, Doubles]:
    """Per category the line that gives the last depth's logit from this one's, rising, by least squares."""
    x, y = here.astype(np.float64), last.astype(np.float64)
    spread = x.var(axis=0) + 1e-9
    slope = np.clip(((x - x.mean(axis=0)) * (y - y.mean(axis=0))).mean(axis=0) / spread, 0, None)
    return slope, y.mean(axis=0) - slope * x.mean(axis=0)


def _certified(
    config: ExitsConfig,
    tensors: dict[str, npt.NDArray[Any]],
    windows: Windows,
    above: Sequence[Doubles],
    scores: Sequence[Doubles],
) -> Rules:
    """Thresholds for each level; `above` is how far each window lies above the level's floors."""
    texts, layers = len(windows.offsets) - 1, len(scores)
    confidence = 1 - (1 - config.confidence) / len(above)
    allowed = allowed_hits(texts, config.rate, confidence)
    tokens = np.array([len(ids) for ids in windows.ids])
    thresholds, levels = [], []
    for margin in above:
        lowest = np.min(scores, axis=0)
        lowest[margin < 0] = np.inf  # may leave
        wrong = np.minimum.reduceat(lowest, windows.offsets[:-1])
        threshold = -np.inf if allowed < 0 else float(np.sort(wrong)[allowed])
        # Just below in single precision: sums of the engine and of numpy may differ in the last bits.
        limit = np.float32(min(threshold, 1e6) - 1e-4) if np.isfinite(threshold) else np.float32(-1e6)
        thresholds.append(np.full(layers, limit, np.float32))
        leaves = np.stack(scores) < limit
        depth = np.where(leaves.any(axis=0), leaves.argmax(axis=0), layers)
        levels.append(
            {
                "violations": int((wrong < limit).sum()),
                "mean_depth": float((depth * tokens).sum() / tokens.sum()),
                "left_at_depth": np.bincount(depth, minlength=layers + 1).tolist(),
            }
        )
    tensors["threshold"] = np.stack(thresholds)
    statement = {
        "rule": "of texts like the calibration rows at most the share `bound` leaves early although at full "
        "depth some category would be at or above its floor, with probability `confidence` for all levels "
        "together (exact, one-sided)",
        "set": "calibration rows",
        "texts": texts,
        "target": config.rate,
        "confidence": config.confidence,
        "bound": upper_bound(max(allowed, 0), texts, confidence),
        "levels": levels,
    }
    return Rules(tensors, statement)
