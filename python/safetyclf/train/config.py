"""The TOML configuration of a training run. docs/training.md explains every key."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from .._errors import DataFileError
from .._modelfile import ModelInfo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CONFIG = Path(__file__).with_name("default.toml")
KINDS = ("human", "domain", "weak", "written", "guide")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Where the encoder comes from, and how an fp32 source becomes int8 (a model file stays as it is)."""

    origin: str = ""
    licence: str = ""
    rules: tuple[str, ...] = ()
    calibration_texts: int = 512
    layers: int = 0  # keep the first this many; 0 keeps all


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """`files` are globs below the data folder; the labels of later ones override those of earlier ones."""

    files: tuple[str, ...]
    valid_share: float = 0.1
    test_share: float = 0.1
    calibration_share: float = 0.5  # of the valid rows; the rest is for selection


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the rows of one set come from. `kind` says who labelled them; weights and coverage go by it."""

    kind: str = "human"
    origin: str = ""
    licence: str = ""
    attribution: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Weight of a row = factor of its kind, for the part of a set beyond `full_rows` only by square root."""

    full_rows: int = 2000
    human: float = 1.0
    domain: float = 1.0
    weak: float = 0.5
    written: float = 1.0
    guide: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What is tried on the selection rows: every combination of the three."""

    l2: tuple[float, ...] = (1e-4,)
    reference_factor: tuple[float, ...] = (1.0,)
    positive_exponent: tuple[float, ...] = (0.5,)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Limits of the optimiser."""

    max_iterations: int = 300
    gradient_tolerance: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """When a curve can be fitted, and of which kind."""

    min_positives: int = 10
    isotonic_positives: int = 200
    max_knots: int = 32


@dataclass(frozen=True, kw_only=True)
class ThresholdsConfig:
    """Bounds on the false-positive rate, each to hold with probability `confidence`."""

    review_rate: float = 0.01
    block_rate: float = 0.0025
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. `sha256` is that of the TOML file's bytes."""

    model: ModelInfo
    categories: tuple[str, ...]
    data: DataConfig
    uncovered: Mapping[str, str] = field(default_factory=dict)  # category without a head: the reason
    trained_positives: int = 200
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    thresholds: ThresholdsConfig = field(default_factory=ThresholdsConfig)
    sources: Mapping[str, Source] = field(default_factory=dict)
    sha256: str = ""

    @property
    def scored(self) -> tuple[str, ...]:
        """Categories that get a head, in column order."""
        return tuple(c for c in self.categories if c not in self.uncovered)

    def source(self, name: str) -> Source:
        """The entry of a source: that of its name, else of the first pattern that fits, else the default."""
        matching = (entry for pattern, entry in self.sources.items() if fnmatchcase(name, pattern))
        return self.sources.get(name) or next(matching, Source())

    def weight_of_kind(self, kind: str) -> float:
        """The factor of a kind of source."""
        return float(getattr(self.weights, kind))


def load_config(path: str | os.PathLike[str] = DEFAULT_CONFIG) -> TrainingConfig:
    """Reads and checks a configuration.

    Raises:
        DataFileError: the file cannot be read, is not TOML, lacks a key, has one that does not exist or a
            value of the wrong type or range; the message names file, table and key.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
        table = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise DataFileError(f"{name}: cannot read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFileError(f"{name}: not valid TOML: {error}") from None
    if "sha256" in table:
        raise DataFileError(f"{name}: key 'sha256' does not exist")
    config = _build(TrainingConfig, {**table, "sha256": hashlib.sha256(content).hexdigest()}, name, "")
    _check(config, name)
    return config


T = TypeVar("T")


def _build(cls: type[T], table: Any, name: str, where: str) -> T:
    """An instance of the dataclass `cls` from a TOML table, every key and type checked."""
    if not isinstance(table, dict):
        raise DataFileError(f"{name}: {where.rstrip('.')} must be a table")
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise DataFileError(f"{name}: key '{where}{key}' does not exist; known: {', '.join(known)}")
    for key, entry in known.items():
        if key not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise DataFileError(f"{name}: key '{where}{key}' is missing")
    return cls(**{key: _value(hints[key], value, name, f"{where}{key}") for key, value in table.items()})


def _value(hint: Any, value: Any, name: str, key: str) -> Any:
    if hint == tuple[str, ...] or hint == tuple[float, ...]:
        item = str if hint == tuple[str, ...] else float
        if not isinstance(value, list) or not value:
            raise DataFileError(f"{name}: '{key}' must be a list that is not empty")
        return tuple(_value(item, v, name, key) for v in value)
    if hint in (Mapping[str, str], Mapping[str, Source]):
        if not isinstance(value, dict):
            raise DataFileError(f"{name}: '{key}' must be a table")
        if hint == Mapping[str, str]:
            return {k: _value(str, v, name, f"{key}.{k}") for k, v in value.items()}
        return {k: _build(Source, v, name, f"{key}.{k}.") for k, v in value.items()}
    if hint is float and type(value) is int:
        value = float(value)
    if hint in (str, int, float):
        if type(value) is not hint:
            raise DataFileError(f"{name}: '{key}' must be of type {hint.__name__}, not {value!r}")
        return value
    return _build(hint, value, name, f"{key}.")


def _check(config: TrainingConfig, name: str) -> None:
    def require(condition: bool, message: str) -> None:
        if not condition:
            raise DataFileError(f"{name}: {message}")

    require(len(set(config.categories)) == len(config.categories), "'categories' names one twice")
    strangers = sorted(config.uncovered.keys() - set(config.categories))
    require(not strangers, f"'uncovered' names {strangers[:1]}, which is not in 'categories'")
    require(bool(config.scored), "every category is 'uncovered': nothing to train")
    for key, source in config.sources.items():
        require(source.kind in KINDS, f"'sources.{key}.kind' must be one of {', '.join(KINDS)}")
    data, limits = config.data, config.thresholds
    for key, share in (("valid_share", data.valid_share), ("test_share", data.test_share)):
        require(0 < share < 0.5, f"'data.{key}' must be above 0 and below 0.5")
    require(0 < data.calibration_share < 1, "'data.calibration_share' must be above 0 and below 1")
    require(
        0 < limits.block_rate <= limits.review_rate < 1, "need 0 < thresholds.block_rate <= review_rate < 1"
    )
    require(0 < limits.confidence < 1, "'thresholds.confidence' must be above 0 and below 1")
    require(all(value > 0 for value in config.selection.l2), "'selection.l2' must be positive")
    require(
        all(value > 0 for value in config.selection.reference_factor), "'reference_factor' must be positive"
    )
    require(config.encoder.layers >= 0, "'encoder.layers' must be at least 0")
    require(config.encoder.calibration_texts >= 1, "'encoder.calibration_texts' must be at least 1")
    require(config.calibration.min_positives >= 1, "'calibration.min_positives' must be at least 1")
    require(config.calibration.max_knots >= 4, "'calibration.max_knots' must be at least 4")
    require(config.weights.full_rows >= 1, "'weights.full_rows' must be at least 1")
    require(all(config.weight_of_kind(kind) > 0 for kind in KINDS), "'weights': factors must be positive")
