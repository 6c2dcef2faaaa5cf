"""Parts of what a classifier answers: frozen types.

Without the module dataclasses, which would take most of the time to import this package.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Action = Literal["allow", "review", "block"]
OffsetUnit = Literal["codepoint", "byte", "utf16"]


class Thresholds(NamedTuple):
    """From which probability on a category is flagged or blocked: in [0, 1], float32; None is "never"."""

    review: float | None
    block: float | None


class TermMatch(NamedTuple):
    """A term of a policy's list, found in the text.

    Attributes:
        list: name of the list.
        term: as it stands in the list.
        action: of the list. "allow" only for a list with match "text": the whole text is allowed, whatever
            the model says.
        category: that the match counts for, or None.
        start, end: half-open offsets into the text, in code points unless another unit was asked for.
    """

    list: str
    term: str
    action: Action
    category: str | None
    start: int
    end: int


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
    offset = offset_map(text, [offset for begin, end, _ in words for offset in (begin, end)], unit)
    spans = tuple(Span(offset[begin], offset[end], weight) for begin, end, weight in words)
    return Explanation(category, logit, bias, pieces[0][2] + pieces[-1][2], window, spans)


def offset_map(text: str, byte_offsets: list[int], unit: OffsetUnit) -> dict[int, int]:
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
