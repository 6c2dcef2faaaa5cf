"""Reading and checking of a TOML configuration."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .._errors import DataFileError
from .config import CALIBRATION_METHODS, DEFAULT_CONFIG, KINDS, PRECISIONS, AugmentConfig, TrainingConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    if get_origin(hint) is Mapping:
        if not isinstance(value, dict):
            raise DataFileError(f"{name}: '{key}' must be a table")
        return {k: _value(get_args(hint)[1], v, name, f"{key}.{k}") for k, v in value.items()}
    if hint is float and type(value) is int:
        value = float(value)
    if hint in (str, int, float, bool):
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
    for key, derived in config.derived.items():
        require(key in config.scored, f"'derived.{key}' is not a category that gets a head")
        for base in derived.any:
            fits = base in config.scored and base not in config.derived
            require(
                fits, f"'derived.{key}.any' names {base!r}, not a scored category that is not derived itself"
            )
    near = config.data.near_duplicates
    require(
        near.threshold == 0 or 0.5 <= near.threshold <= 1,
        "'data.near_duplicates.threshold' must be 0 (keep all) or from 0.5 to 1",
    )
    require(near.shingle >= 1, "'data.near_duplicates.shingle' must be at least 1")
    require(16 <= near.permutations <= 1024, "'data.near_duplicates.permutations' must be from 16 to 1024")
    require(0 <= near.seed < 2**63, "'data.near_duplicates.seed' must not be negative")
    for key, source in config.sources.items():
        require(source.kind in KINDS, f"'sources.{key}.kind' must be one of {', '.join(KINDS)}")
        require(source.weight >= 0, f"'sources.{key}.weight' must not be negative")
    data, limits = config.data, config.thresholds
    for key, share in (("valid_share", data.valid_share), ("test_share", data.test_share)):
        require(0 < share < 0.5, f"'data.{key}' must be above 0 and below 0.5")
    require(0 < data.calibration_share < 1, "'data.calibration_share' must be above 0 and below 1")
    require(
        0 < limits.block_rate <= limits.review_rate < 1, "need 0 < thresholds.block_rate <= review_rate < 1"
    )
    require(
        0 < limits.hard_block_rate <= limits.hard_review_rate < 1,
        "need 0 < thresholds.hard_block_rate <= hard_review_rate < 1",
    )
    require(set(limits.ordinary) <= set(KINDS), f"'thresholds.ordinary' must be among {', '.join(KINDS)}")
    require(limits.naming_sentences >= 0, "'thresholds.naming_sentences' must not be negative")
    require(0 < limits.confidence < 1, "'thresholds.confidence' must be above 0 and below 1")
    require(all(value > 0 for value in config.selection.l2), "'selection.l2' must be positive")
    require(
        all(value > 0 for value in config.selection.reference_factor), "'reference_factor' must be positive"
    )
    require(config.encoder.layers >= 0, "'encoder.layers' must be at least 0")
    require(config.encoder.calibration_texts >= 1, "'encoder.calibration_texts' must be at least 1")
    require(config.calibration.min_positives >= 1, "'calibration.min_positives' must be at least 1")
    require(config.calibration.max_knots >= 4, "'calibration.max_knots' must be at least 4")
    require(
        set(config.calibration.methods) <= set(CALIBRATION_METHODS),
        f"'calibration.methods' must be among {', '.join(CALIBRATION_METHODS)}",
    )
    require(
        2 <= config.calibration.folds <= config.calibration.min_positives,
        "'calibration.folds' must be at least 2 and at most 'calibration.min_positives'",
    )
    exits = config.exits
    require(0 <= exits.rate < 1, "'exits.rate' must be at least 0 and below 1")
    require(0 < exits.confidence < 1, "'exits.confidence' must be above 0 and below 1")
    require(0 < exits.floor_rate < 1, "'exits.floor_rate' must be above 0 and below 1")
    require(
        all(margin > 0 for margin in exits.margins) and list(exits.margins) == sorted(exits.margins),
        "'exits.margins' must be positive and rise",
    )
    require(exits.texts >= 1000, "'exits.texts' must be at least 1000")
    require(exits.pairs.bit_count() == 1, "'exits.pairs' must be a power of two")
    require(config.weights.full_rows >= 1, "'weights.full_rows' must be at least 1")
    require(all(config.weight_of_kind(kind) > 0 for kind in KINDS), "'weights': factors must be positive")
    augment = config.augment
    for key in ("identity_swap", "concatenate", "truncate", "perturb", "perturb_twice", "strength"):
        require(0 <= getattr(augment, key) <= 1, f"'augment.{key}' must be from 0 to 1")
    require(
        augment.concatenate + augment.truncate <= 1, "'augment': concatenate and truncate add up to above 1"
    )
    for entry in fields(AugmentConfig):
        require(getattr(augment, entry.name) >= 0, f"'augment.{entry.name}' must not be negative")
    tuning = config.finetune
    for key in (
        "epochs",
        "seed",
        "contrast_texts",
        "identity_sentences",
        "everyday_prompts",
        "degenerate_texts",
    ):
        require(getattr(tuning, key) >= 0, f"'finetune.{key}' must not be negative")
    for key in ("learning_rate", "head_learning_rate", "layer_decay", "clip_norm", "derived_weight"):
        require(getattr(tuning, key) > 0, f"'finetune.{key}' must be positive")
    for key in ("dropout", "average_decay", "label_smoothing", "warmup_share"):
        require(0 <= getattr(tuning, key) < 1, f"'finetune.{key}' must be at least 0 and below 1")
    require(tuning.max_tokens >= 8, "'finetune.max_tokens' must be at least 8")
    require(tuning.batch_tokens >= tuning.max_tokens, "'finetune.batch_tokens' must be at least 'max_tokens'")
    require(tuning.batch_rows >= 1, "'finetune.batch_rows' must be at least 1")
    require(tuning.max_positive_weight >= 1, "'finetune.max_positive_weight' must be at least 1")
    require(tuning.precision in PRECISIONS, f"'finetune.precision' must be one of {', '.join(PRECISIONS)}")
