"""The training run: data, encoder, features, heads, calibration, thresholds, evaluation, file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from .. import _modelfile
from .._errors import DataFileError, InvalidArgumentError
from .._modelfile import NEVER, Category, Coverage, ModelFile
from .._native import Engine, build_info
from ..convert import convert
from .calibration import Curve, fit_curve
from .config import TrainingConfig
from .data import CALIBRATION, SELECTION, SPLIT_NAMES, TEST, TRAIN, UNKNOWN, Dataset, read_dataset
from .evaluation import benign_flagged, evaluate, rounded
from .features import compute_features
from .selection import REFERENCE_KINDS, Recipe, Trainer
from .thresholds import choose_threshold, needed_negatives

MAX_TEXT_BYTES = 1 << 20
BATCH_TEXTS = 2048
Report = Callable[[str], None]
Floats = npt.NDArray[np.float32]


def train_heads(
    config: TrainingConfig,
    *,
    data: str | os.PathLike[str],
    encoder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    sample: float = 1.0,
    threads: int = 0,
    report: Report = lambda _: None,
) -> ModelFile:
    """Fits heads on a frozen encoder, calibrates them and writes a complete model file.

    Everything is determined by the configuration, the data and the encoder. Features and the converted
    encoder are kept in `cache`, so that a run that was interrupted, or changed in its later stages, goes on
    from there.

    Args:
        config: of `load_config`.
        data: the folder that the configuration's globs start from.
        encoder: a model file, whose heads (if any) are replaced; or what `safetyclf convert` takes, which is
            converted first, with training texts to balance activation ranges.
        output: the model file to write.
        cache: a folder; made if absent.
        sample: share of the training rows to use, for a quick try.
        threads: of the engine; 0 for as many as the process may use.
        report: gets a line of progress now and then.

    Returns:
        The file as read back, with its id.

    Raises:
        DataFileError: the data are wrong, or a category has too few rows; the message says which and how
            many are needed.
        ModelFileError: the encoder cannot be read or the output not written.
        InvalidArgumentError: an argument is out of its range.
    """
    if not 0 < sample <= 1:
        raise InvalidArgumentError(f"sample must be above 0 and at most 1, not {sample}")
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(Path(data), config, sample)
    counts = {name: len(dataset.rows(split)) for split, name in enumerate(SPLIT_NAMES)}
    report(f"data: {dataset.rows_read} rows, {len(dataset.texts)} distinct texts: {counts}")
    _check_counts(dataset, config)

    base = _encoder(Path(encoder), dataset, config, cache, report)
    kept = _first_layers(base.file, config.encoder.layers)
    depths = kept.architecture.layers + 1
    weights = base.file.weights_sha256()
    engine = Engine(str(base.path), threads=threads, max_text_bytes=MAX_TEXT_BYTES, isa="")
    rows = np.flatnonzero((dataset.split == TRAIN) | (dataset.split == SELECTION))
    features = compute_features(engine, weights, dataset.texts_of(rows), cache, report)
    features = replace(features, pooled=features.pooled[:depths])
    trainer = Trainer(dataset, features, rows, config)
    recipe = trainer.choose(report)
    report(f"selection: reference_factor {recipe.reference_factor:g}, l2 {dict(_named(config, recipe.l2))}")

    heads = []
    selection_precision = []
    for depth in range(depths):
        heads.append(trainer.fit(recipe, depth))
        selection_precision.append(float(np.nanmean(trainer.precision(heads[-1], depth))))
        report(
            f"heads: depth {depth}: mean average precision {selection_precision[-1]:.4f} on selection rows"
        )

    categories, positives = _coverage(dataset, config)
    file = replace(kept, info=config.model, provenance={}, evaluation={}).with_heads(
        categories, np.stack([h.weight for h in heads]), np.stack([h.bias for h in heads])
    )
    scorer = _Scorer(file, cache / "heads.safetensors", depths - 1, threads, report)
    held_back = dataset.rows(CALIBRATION)
    decision = _decide(config, scorer(dataset, held_back), dataset, held_back)
    test = dataset.rows(TEST)
    test_logits = scorer(dataset, test)

    file = file.with_decision(
        [(curve.logit, curve.probability) for curve in decision.curves],
        decision.review,
        decision.block,
        {
            "numerics_revision": _modelfile.NUMERICS_REVISION,
            "data_sha256": dataset.sha256,
            "n": len(held_back),
            "methods": {name: c.method for name, c in zip(config.scored, decision.curves, strict=True)},
        },
        tuple(replace(c, threshold_statement=decision.statements.get(c.name)) for c in categories),
    )
    evaluation = _evaluation(config, dataset, test, test_logits, decision)
    evaluation["selection_average_precision_by_depth"] = [rounded(value) for value in selection_precision]
    provenance = _provenance(config, dataset, base, weights, recipe, sample, positives)
    _modelfile.write(output, replace(file, evaluation=evaluation, provenance=provenance))
    return _modelfile.read(output)  # as everyone else gets it, so that its card is the same, too


@dataclass(frozen=True)
class _Encoder:
    path: Path
    file: ModelFile


@dataclass(frozen=True)
class _Decision:
    curves: list[Curve]
    review: Floats
    block: Floats
    statements: dict[str, dict[str, Any]]


def _encoder(source: Path, dataset: Dataset, config: TrainingConfig, cache: Path, report: Report) -> _Encoder:
    """The encoder as a model file: `source` itself, or converted into the cache."""
    if not source.is_dir() and source.suffix != ".onnx":
        return _Encoder(source, _modelfile.read(source))
    rows = dataset.rows(TRAIN)
    step = max(1, len(rows) // config.encoder.calibration_texts)
    texts = dataset.texts_of(rows[::step][: config.encoder.calibration_texts])
    report(f"encoder: converting {source.name} with {len(texts)} training texts")
    path = cache / "encoder.safetensors"
    info = config.model
    file = convert(
        source,
        path,
        name=info.name,
        version=info.version,
        licence=info.licence,
        calibration=texts,
        rules=config.encoder.rules,
    )
    return _Encoder(path, file)


def _first_layers(file: ModelFile, layers: int) -> ModelFile:
    """The encoder without its heads and without what follows the first `layers` layers; 0 keeps all."""
    found = file.architecture.layers
    if layers > found:
        raise InvalidArgumentError(f"encoder.layers is {layers}, but the encoder has {found}")
    layers = layers or found
    dropped = tuple(f"encoder.layers.{i}." for i in range(layers, found))
    return replace(
        file,
        architecture=replace(file.architecture, layers=layers),
        tensors={name: tensor for name, tensor in file.tensors.items() if not name.startswith(dropped)},
    )


def _check_counts(dataset: Dataset, config: TrainingConfig) -> None:
    """Refuses categories that cannot be trained or calibrated, before the long part begins."""
    negatives = needed_negatives(config.thresholds.review_rate, config.thresholds.confidence)
    needs = {
        TRAIN: (config.calibration.min_positives, config.calibration.min_positives),
        CALIBRATION: (config.calibration.min_positives, negatives),
    }
    for split, minima in needs.items():
        for c, name in enumerate(config.scored):
            for label, needed in zip((1, 0), minima, strict=True):
                found = int((dataset.labels[dataset.split == split, c] == label).sum())
                if found < needed:
                    raise DataFileError(
                        f"category {name!r} has {found} rows labelled {label} for {SPLIT_NAMES[split]}, "
                        f"needs {needed}: add rows or list it under [uncovered]"
                    )


def _coverage(
    dataset: Dataset, config: TrainingConfig
) -> tuple[tuple[Category, ...], dict[str, dict[str, int]]]:
    """Categories in the configuration's order, and their training positives by kind of source.

    A category is "trained" with at least `trained_positives` training positives that are not weak.
    """
    kinds = np.array([config.source(name).kind for name in dataset.sources])[dataset.source]
    positives: dict[str, dict[str, int]] = {}
    coverage: dict[str, Coverage] = {}
    for c, name in enumerate(config.scored):
        of_kind = kinds[(dataset.labels[:, c] == 1) & (dataset.split == TRAIN)]
        found = {
            str(kind): int(count) for kind, count in zip(*np.unique(of_kind, return_counts=True), strict=True)
        }
        positives[name] = found
        strong = sum(count for kind, count in found.items() if kind != "weak")
        coverage[name] = "trained" if strong >= config.trained_positives else "weak"
    return tuple(Category(name=n, coverage=coverage.get(n, "none")) for n in config.categories), positives


class _Scorer:
    """Logits at full depth from the int8 engine, as a user of the file gets them."""

    def __init__(self, file: ModelFile, path: Path, depth: int, threads: int, report: Report) -> None:
        _modelfile.write(path, file)
        self.engine = Engine(str(path), threads=threads, max_text_bytes=MAX_TEXT_BYTES, isa="")
        self.depth = depth
        self.report = report

    def __call__(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> Floats:
        parts: list[Floats] = []
        for begin in range(0, len(rows), BATCH_TEXTS):
            texts = dataset.texts_of(rows[begin : begin + BATCH_TEXTS])
            parts.append(self.engine.logits(texts, self.depth)[0])
            self.report(f"engine: {begin + len(texts)}/{len(rows)} held-back texts")
        return np.concatenate(parts)


def _decide(
    config: TrainingConfig, logits: Floats, dataset: Dataset, rows: npt.NDArray[np.int64]
) -> _Decision:
    """Curves and thresholds of all categories from the calibration rows."""
    limits = config.thresholds
    curves: list[Curve] = []
    values: list[tuple[float, float]] = []
    statements: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(config.scored):
        labels = dataset.labels[rows, c]
        known = labels != UNKNOWN
        x, y = logits[known, c], labels[known]
        curve = fit_curve(x, y, config.calibration)
        p = curve(x)
        statement: dict[str, Any] = {
            "rule": "false-positive rate at most `bound` with probability `confidence` (exact, one-sided)",
            "set": "calibration rows of the training data",
            "data_sha256": dataset.sha256,
            "negatives": int((y == 0).sum()),
            "positives": int((y == 1).sum()),
            "confidence": limits.confidence,
        }
        pair = []
        for action, rate in (("review", limits.review_rate), ("block", limits.block_rate)):
            found = choose_threshold(p[y == 0], rate, limits.confidence)
            pair.append(found.value)
            statement[action] = {
                "target": rate,
                "bound": rounded(found.bound),
                "threshold": found.value,
                "false_positives": found.false_positives,
                "recall": rounded(float((p[y == 1] >= np.float32(found.value)).mean())),
            }
            if found.value == NEVER:
                statement[action]["never"] = f"needs {needed_negatives(rate, limits.confidence)} negatives"
        curves.append(curve)
        values.append((pair[0], max(pair)))
        statements[name] = statement
    review, block = np.array(values, np.float32).T
    return _Decision(curves, review, block, statements)


def _evaluation(
    config: TrainingConfig, dataset: Dataset, rows: npt.NDArray[np.int64], logits: Floats, decision: _Decision
) -> dict[str, Any]:
    probabilities = np.stack([curve(logits[:, c]) for c, curve in enumerate(decision.curves)], axis=1)
    labels = dataset.labels[rows]
    kinds = np.array([config.source(name).kind for name in dataset.sources])[dataset.source[rows]]
    reference = np.isin(kinds, REFERENCE_KINDS)

    def figures(part: npt.NDArray[Any]) -> dict[str, dict[str, Any]]:
        return evaluate(
            config.scored, probabilities[part], logits[part], labels[part], decision.review, decision.block
        )

    return {
        "set": f"{len(rows)} test rows of the training data's sources, scored by the int8 engine",
        "all": figures(np.full(len(rows), True)),
        "reference": figures(reference),
        "benign": benign_flagged(
            probabilities, labels, decision.review, decision.block, config.thresholds.confidence
        ),
    }


def _provenance(
    config: TrainingConfig,
    dataset: Dataset,
    base: _Encoder,
    weights: str,
    recipe: Recipe,
    sample: float,
    positives: dict[str, dict[str, int]],
) -> dict[str, Any]:
    used = np.bincount(dataset.source, minlength=len(dataset.sources))
    patterns = {
        name: next((p for p in config.sources if fnmatchcase(name, p)), name) for name in dataset.sources
    }
    sources: dict[str, dict[str, Any]] = {}
    for name, count in zip(dataset.sources, used, strict=True):
        entry = sources.setdefault(patterns[name], {**asdict(config.source(name)), "texts": 0})
        entry["texts"] += int(count)
    return {
        "method": "frozen encoder, logistic regression at every depth",
        "config_sha256": config.sha256,
        "data_sha256": dataset.sha256,
        "sample": sample,
        "splits": {name: len(dataset.rows(split)) for split, name in enumerate(SPLIT_NAMES)},
        "sources": sources,
        "uncovered": dict(config.uncovered),
        "trained_positives": config.trained_positives,
        "training_positives": positives,
        "encoder": {
            "weights_sha256": weights,
            "origin": config.encoder.origin,
            "licence": config.encoder.licence,
            **base.file.provenance,
        },
        "recipe": {
            "reference_factor": recipe.reference_factor,
            "positive_exponent": recipe.positive_exponent,
            "l2": dict(_named(config, recipe.l2)),
            "tried": recipe.table,
        },
        "software": {
            "safetyclf": build_info()["version"],
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }


def _named(
    config: TrainingConfig, values: Sequence[float] | npt.NDArray[np.float64]
) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in zip(config.scored, values, strict=True)]
