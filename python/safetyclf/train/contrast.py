"""Made-up sentences with labels, in contrast: the same words hostile, denied, reported, or aimed at things.

A classifier that learns from posts alone takes the mention of a group for hate of it, since that is where
such words occur. Here target, verb and frame vary independently: counterfactual pairs in the sense of
Kaushik, Hovy and Lipton, "Learning the Difference that Makes a Difference with
Counterfactually-Augmented Data", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
import numpy.typing as npt

from .frames import Slots, distinct, fill, sums_of_weights
from .identity_terms import load_beside
from .reading import UNKNOWN


@dataclass(frozen=True)
class _Group:
    """Frames of one kind with what they make true; all other `known` categories are 0."""

    frames: Sequence[str]
    sums: Sequence[float]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class _Frames:
    slots: Slots
    kinds: Sequence[str]
    clauses: Sequence[str]
    groups: Sequence[_Group]
    shares: Sequence[float]


@cache
def _frames() -> _Frames:
    file = load_beside("contrast_frames.toml")
    slots: Slots = file["slots"]
    clauses: list[str] = file["clauses"]["list"]
    groups = []
    for group in file["groups"].values():
        labels = dict.fromkeys(file["labels"]["known"], 0)
        labels.update(dict.fromkeys(group.get("one", ()), 1))
        labels.update(dict.fromkeys(group.get("unknown", ()), UNKNOWN))
        sums = sums_of_weights(group["frames"], {**slots, "clause": clauses})
        groups.append(_Group(group["frames"], sums, labels))
    shares = [group["share"] for group in file["groups"].values()]
    return _Frames(slots, file["labels"]["kinds"], clauses, groups, shares)


def contrast_texts(
    seed: int, count: int, categories: Sequence[str]
) -> tuple[list[str], npt.NDArray[np.int8]]:
    """Distinct texts and their labels int8 [count, categories]; UNKNOWN where a frame does not say."""
    file = _frames()
    rng = Random(f"contrast {seed}")

    def draw() -> tuple[str, Mapping[str, int]]:
        group = rng.choices(file.groups, file.shares)[0]
        frame = rng.choices(group.frames, cum_weights=group.sums)[0]
        frame = frame.replace("{clause}", rng.choice(file.clauses))
        text = fill(frame, file.slots, rng, file.kinds)
        return (text.lower() if rng.random() < 0.25 else text), group.labels

    drawn = distinct(draw, count)
    table = [[labels.get(name, UNKNOWN) for name in categories] for labels in drawn.values()]
    return list(drawn), np.array(table, np.int8).reshape(count, len(categories))
