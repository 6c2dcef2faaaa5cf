"""A monotone map from one model's scores to another's, fitted on texts that both have scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
_TOLERANCE: Final = 5e-4  # of the knots left out: below what a threshold is given with


@dataclass(frozen=True)
class ScoreMap:
    """What the other model gives, on average, to a text that scores x: isotonic regression.

    Calling it takes numbers or arrays. Between its knots it is a straight line; outside of them it has the
    value of the nearest one, because no text was seen there.

    Attributes:
        scores: knots, ascending, no two equal.
        values: at the knots, never falling.
    """

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: float | Floats) -> npt.NDArray[np.float64]:
        """The map of each score."""
        return np.asarray(np.interp(np.asarray(scores), self.scores, self.values))

    def covers(self, score: float) -> bool:
        """Whether texts were seen on both sides of a score."""
        return self.scores[0] <= score <= self.scores[-1]


def fit(scores: Floats, values: Floats) -> ScoreMap:
    """The map that is nearest to the values in the sense of least squares.

    Pooling adjacent violators makes it monotone; texts of one score share the mean of their values, which
    makes it a function. Knots are left out where the line between their neighbours is at most 0.0005 off.

    Args:
        scores: of the one model [n], n at least 1.
        values: of the other on the same texts [n].
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(scores.astype(np.float64), values.astype(np.float64))
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    keep = _corners(x, y)
    return ScoreMap(tuple(map(float, x[keep])), tuple(map(float, y[keep])))


def _corners(x: Floats, y: Floats) -> Sequence[int]:
    """Indices of the points that a line through them needs to stay within the tolerance of all points."""
    keep = {0, len(x) - 1}
    parts = [(0, len(x) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        off = np.abs(np.interp(x[inner], x[[first, last]], y[[first, last]]) - y[inner])
        worst = int(off.argmax())
        if off[worst] > _TOLERANCE:
            middle = first + 1 + worst
            keep.add(middle)
            parts += [(first, middle), (middle, last)]
    return sorted(keep)
