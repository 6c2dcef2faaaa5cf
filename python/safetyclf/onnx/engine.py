"""The engine for somebody else's model: what `_engine.Engine` asks for, by ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from .. import _native
from .._errors import InvalidArgumentError, ModelFormatError, SafetyclfError
from .._policy import from_file, to_native
from .._texts import ArrowArray, ArrowStream, as_tuple, problem_of
from .._verdict import State, state_of
from . import scores
from .description import read_description
from .files import digest
from .session import RunError, Session
from .tokens import open_windows

Floats = npt.NDArray[np.float32]
Scored = tuple[Floats, npt.NDArray[np.uint32], list[int]]

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class OnnxEngine:
    """A model from a description. Immutable; every method may be called from any number of threads at once.

    The methods are those of `_native.Engine`. Scores of the same call are always the same; what else is in a
    batch may change their last bits (docs/onnx.md).
    """

    def __init__(self, path: str, *, device: str, threads: int, max_text_bytes: int) -> None:
        """Reads the description, opens its files, and runs the model once.

        Raises:
            MissingDependencyError: onnxruntime or tokenizers is not installed.
            ModelFileError: a file cannot be read.
            ModelFormatError: the description is wrong, or the files do not fit it.
            InvalidArgumentError: there is no such device.
        """
        self._description = description = read_description(path)
        self._max_text_bytes = max_text_bytes
        self._windows = open_windows(description, max_text_bytes)
        self._session = Session(
            description,
            device=device,
            threads=threads or len(os.sched_getaffinity(0)),
            pad=self._windows.pad,
            longest=self._windows.longest,
        )
        self.model_id = f"{description.name}-{description.version}+{digest(self._session.hashes)[:12]}"
        self.isa = f"onnxruntime {self._session.runtime} {self._session.device}"
        self.threads = self._session.threads
        self.device = self._session.device
        self.probabilities([""])

    @property
    def categories(self) -> list[tuple[str, str]]:
        """Names and coverage."""
        return [(category.name, category.coverage) for category in self._description.categories]

    @property
    def thresholds(self) -> list[tuple[float, float]]:
        """Review and block of each category, as the native engine gives them."""
        found = to_native([category.thresholds for category in self._description.categories])
        values = np.frombuffer(found, np.float32).reshape(2, -1).T
        return [(float(review), float(block)) for review, block in values]

    @cached_property
    def metadata(self) -> str:
        """JSON of sections, which are JSON texts themselves."""
        description, session = self._description, self._session
        hashes = dict(session.hashes)
        sections: dict[str, Any] = {
            "model": {
                key: getattr(description, key) for key in ("name", "version", "licence", "description")
            },
            "architecture": {
                "type": "onnx",
                "inputs": list(session.inputs),
                "output": session.output,
                "pooling": description.pooling,
                "activation": description.activation,
                "labels": list(description.labels),
                "device": session.device,
            },
            "tokenizer": self._windows.section,
            "categories": [
                {"name": category.name, "coverage": category.coverage, "threshold_statement": None}
                for category in description.categories
            ],
            "calibration": {
                "temperature": description.temperature,
                "categories": {
                    category.name: {"knots": len(category.curve.logits)}
                    if category.curve is not None
                    else {"slope": category.slope, "intercept": category.intercept}
                    for category in description.categories
                },
            },
            "evaluation": {},
            "provenance": {"sha256": hashes},
        }
        return json.dumps({key: json.dumps(value) for key, value in sections.items()})

    @property
    def depths(self) -> int:
        """One: there are no heads but the last."""
        return 1

    @property
    def exit_floors(self) -> list[list[float]]:
        """None: texts cannot leave early."""
        return []

    @property
    def text_rules(self) -> _native.Engine:
        """The native engine by whose rules term lists read texts."""
        return self._windows.text_rules

    def probabilities(self, texts: Sequence[str] | ArrowArray | ArrowStream, /) -> Scored:
        """See `_native.Engine`."""
        logits, counts, repaired = self._logits(texts)
        return scores.probabilities(self._description, logits), counts, repaired

    def logits(self, texts: Sequence[str], depth: int, /) -> Scored:
        """Log odds before calibration; `depth` must be 0."""
        if depth != 0:
            raise InvalidArgumentError(f"an ONNX model has no depth {depth}")
        logits, counts, repaired = self._logits(texts)
        return logits.astype(np.float32), counts, repaired

    def adaptive_probabilities(
        self, texts: Sequence[str] | ArrowArray | ArrowStream, level: int, /
    ) -> NoReturn:
        """Raises InvalidArgumentError."""
        raise InvalidArgumentError("an ONNX model has no rules for leaving early: effort must be 'full'")

    def verdicts(self, texts: Sequence[str], thresholds: bytes, level: int | None, /) -> list[State]:
        """See `_native.Engine`."""
        if level is not None:
            self.adaptive_probabilities(texts, level)
        values, counts, repaired = self.probabilities(texts)
        odd = set(repaired)
        limits = [*map(from_file, np.frombuffer(thresholds, np.float32).reshape(2, -1).T.tolist())]
        return [
            state_of(row, limits, windows, number in odd)
            for number, (row, windows) in enumerate(zip(values.tolist(), counts.tolist(), strict=True))
        ]

    def window_probabilities(
        self, ids: Sequence[int], row_offsets: Sequence[int], level: int | None, /
    ) -> list[tuple[float, ...]]:
        """See `_native.Engine`."""
        if level is not None:
            self.adaptive_probabilities((), level)
        windows = [list(ids[begin:end]) for begin, end in pairwise(row_offsets)]
        logits = self._window_logits(windows, range(len(windows)), "window")
        return [tuple(row) for row in scores.probabilities(self._description, logits).tolist()]

    def explain(self, text: str, category: int, /) -> NoReturn:
        """Raises SafetyclfError."""
        raise SafetyclfError(
            "an ONNX model cannot explain itself: which word has which share is known of our own models only"
        )

    def tokenize(self, text: str, /) -> tuple[list[int], list[int], list[int], list[int]]:
        """See `_native.Engine`."""
        return self._windows.located(self._readable(text, 0))

    def normalize(self, text: str, /) -> str:
        """What the tokenizer makes of the text before it cuts it up."""
        return self._windows.normalized(self._readable(text, 0))

    def _logits(
        self, source: Sequence[str] | ArrowArray | ArrowStream
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint32], list[int]]:
        """Log odds [n, C], the highest over the windows of each text; windows; which texts were repaired."""
        texts = as_tuple(source, "the engine")
        read = [self._readable(text, number) for number, text in enumerate(texts)]
        repaired = [number for number, (a, b) in enumerate(zip(texts, read, strict=True)) if a != b]
        cut = [self._windows.of(text) for text in read]
        sizes = np.array([len(windows) for windows in cut], np.intp)
        owner = np.repeat(np.arange(len(texts)), sizes)
        found = self._window_logits([window for windows in cut for window in windows], owner, "text")
        if len(texts) > 0:
            found = np.maximum.reduceat(found, np.cumsum(sizes) - sizes)
        return found, sizes.astype(np.uint32), repaired

    def _window_logits(
        self, windows: Sequence[Sequence[int]], owner: Sequence[int] | npt.NDArray[np.intp], what: str
    ) -> npt.NDArray[np.float64]:
        try:
            return scores.category_logits(self._description, self._session.run(windows))
        except RunError as error:
            raise ModelFormatError(
                f"{self._description.path}: {what} {owner[error.window]}: ONNX Runtime cannot run the model: "
                f"{error}; do tokenizer and input.max_tokens belong to this model?"
            ) from None
        except scores.OutputError as error:
            raise ModelFormatError(
                f"{self._description.path}: {what} {owner[error.row]}: the model {error}"
            ) from None

    def _readable(self, text: str, number: int) -> str:
        """The text, or a copy with U+FFFD for lone surrogates, as the native engine reads them."""
        problem = problem_of(text, f"text {number}", self._max_text_bytes)
        if problem is not None:
            raise problem
        return text if text.isascii() else _SURROGATES.sub("\ufffd", text)
