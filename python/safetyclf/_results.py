"""What a classifier answers: frozen types. A verdict can explain itself on request.

Without the module dataclasses, which would take most of the time to import this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn

from ._errors import InvalidArgumentError, SafetyclfError

Action = Literal["allow", "review", "block"]
OffsetUnit = Literal["codepoint", "byte", "utf16"]


class Thresholds(NamedTuple):
    """From which probability on a category is flagged or blocked: in [0, 1], float32; None is "never"."""

    review: float | None
    block: float | None


class Span(NamedTuple):
    """A word of the text, as the model sees words, and its share of the logit.

    `start` and `end` are half-open offsets into the text in the unit that was asked for.
    """

    start: int
    end: int
    weight: float


class Explanation(NamedTuple):
    """Where one category's score comes from.

    The logit is the head's output before calibration, which is monotone. It is a sum: `bias + rest + sum of
    the spans' weights` equals `logit` up to float32 rounding (below 1e-4). `rest` is the share of the two
    special tokens, which stand for no text. A long text is read in overlapping windows and scored by its
    highest one; `window` is that one's number, from 0, and `spans` are its words.
    """

    category: str
    logit: float
    bias: float
    rest: float
    window: int
    spans: tuple[Span, ...]


_PUBLIC = ("flagged", "action", "scores", "categories", "thresholds", "windows", "repaired", "model")


class Verdict:
    """The decision on one text.

    Attributes:
        flagged: some category reaches its review threshold.
        action: the strictest action that a category asks for.
        scores: calibrated probability of each scored category, in [0, 1]: float32 values as Python floats.
        categories: for each scored category whether its score reaches the review threshold.
        thresholds: the thresholds that were applied.
        windows: how many overlapping windows the text was read in; 1 unless it is long.
        repaired: the text held lone surrogates, which have no UTF-8 form and were read as U+FFFD.
        model: id of the model, `name-version+hash`.

    Verdicts compare by these attributes. They can be pickled, but an unpickled or deep-copied one can no
    longer explain itself.
    """

    __slots__ = (*_PUBLIC, "_explain")
    __match_args__ = _PUBLIC
    flagged: bool
    action: Action
    scores: dict[str, float]
    categories: dict[str, bool]
    thresholds: dict[str, Thresholds]
    windows: int
    repaired: bool
    model: str
    _explain: Callable[[str, OffsetUnit], Explanation] | None

    def __init__(
        self,
        flagged: bool,
        action: Action,
        scores: dict[str, float],
        categories: dict[str, bool],
        thresholds: dict[str, Thresholds],
        windows: int,
        repaired: bool,
        model: str,
        _explain: Callable[[str, OffsetUnit], Explanation] | None = None,
    ) -> None:
        keep = object.__setattr__
        keep(self, "flagged", flagged)
        keep(self, "action", action)
        keep(self, "scores", scores)
        keep(self, "categories", categories)
        keep(self, "thresholds", thresholds)
        keep(self, "windows", windows)
        keep(self, "repaired", repaired)
        keep(self, "model", model)
        keep(self, "_explain", _explain)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: a verdict does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: a verdict does not change")

    def __eq__(self, other: object) -> bool:
        return self._public() == other._public() if isinstance(other, Verdict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it holds dictionaries

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(_PUBLIC, self._public(), strict=True))
        return f"Verdict({', '.join(shown)})"

    def explain(self, category: str, *, unit: OffsetUnit = "codepoint") -> Explanation:
        """Splits the category's logit into the shares of the words.

        Runs the model once more on the text (docs/decisions/0002-lazy-spans.md).

        Args:
            category: name of a scored category.
            unit: of the offsets: "codepoint" (indices of the Python str), "byte" (of its UTF-8 form) or
                "utf16" (code units, as JavaScript and Java count).

        Raises:
            InvalidArgumentError: the category is not scored, or the unit unknown.
            SafetyclfError: this verdict was unpickled or deep-copied and no longer knows its text and
                classifier.
        """
        if category not in self.scores:
            raise InvalidArgumentError(
                f"category {category!r} is not scored; scored are: {', '.join(self.scores)}"
            )
        if unit not in ("codepoint", "byte", "utf16"):
            raise InvalidArgumentError(f"unit must be 'codepoint', 'byte' or 'utf16', not {unit!r}")
        if self._explain is None:
            raise SafetyclfError(
                "an unpickled or deep-copied verdict no longer knows its text: classify it again"
            )
        return self._explain(category, unit)

    def spans(self, category: str, *, unit: OffsetUnit = "codepoint") -> list[Span]:
        """The words of the text and their weights, in order. Arguments and errors as for `explain`."""
        return list(self.explain(category, unit=unit).spans)

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither text nor classifier: a pickled verdict is a small record that can be stored or sent.
        return Verdict, self._public()

    def __copy__(self) -> Verdict:
        return self

    def _public(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _PUBLIC)


def merge_words(
    text: str,
    category: str,
    native: tuple[float, float, int, list[tuple[int, int, float, bool]]],
    unit: OffsetUnit,
) -> Explanation:
    """The engine's word pieces, (byte begin, byte end, weight, continues a word), as words.

    Pieces of one word become one span, and so do pieces that stand for overlapping parts of the text (one
    emoji reads as several words). So spans are disjoint and in order.
    """
    logit, bias, window, pieces = native
    words: list[tuple[int, int, float]] = []
    for begin, end, weight, continues in pieces[1:-1]:
        if words and (continues or begin < words[-1][1]):
            first, last, sum_so_far = words[-1]
            words[-1] = (first, max(last, end), sum_so_far + weight)
        else:
            words.append((begin, end, weight))
    offset = _offset_map(text, [offset for begin, end, _ in words for offset in (begin, end)], unit)
    spans = tuple(Span(offset[begin], offset[end], weight) for begin, end, weight in words)
    return Explanation(category, logit, bias, pieces[0][2] + pieces[-1][2], window, spans)


def _offset_map(text: str, byte_offsets: list[int], unit: OffsetUnit) -> dict[int, int]:
    """Maps sorted byte offsets of the UTF-8 form, all at character boundaries, to offsets in `unit`."""
    if unit == "byte" or text.isascii():
        return {offset: offset for offset in byte_offsets}
    # A lone surrogate has three bytes here as in the engine, where U+FFFD stands for it.
    data = text.encode("utf-8", "surrogatepass")
    result: dict[int, int] = {}
    done = count = 0
    for offset in byte_offsets:
        part = data[done:offset].decode("utf-8", "surrogatepass")
        count += len(part) if unit == "codepoint" else len(part.encode("utf-16-le", "surrogatepass")) // 2
        result[offset] = count
        done = offset
    return result
