"""The gate: whether a candidate is worse than the reference by more than it may be. docs/gate.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from .._errors import InvalidArgumentError
from .comparison import LEAST, Comparison, Pair
from .paired import Difference, quantile
from .power import detectable_drop, needed_texts
from .resampling import MEASURES
from .results import plain

Outcome = Literal["pass", "regression", "cannot tell"]
EVERY: Final = "*"
EXIT_CODES: Final[Mapping[Outcome, int]] = {"pass": 0, "regression": 1, "cannot tell": 2}
_KEY: Final = re.compile(r"([a-z0-9_]+)(?:\[([^\[\]=,]+)\])?")


@dataclass(frozen=True)
class Check:
    """One measure of one candidate against what it may lose.

    Attributes:
        candidate: its name.
        measure: a name of `MEASURES`.
        category: None for the mean over the categories that take part.
        allowed: largest drop that passes.
        drop: what the texts show: reference minus candidate, where more is better.
        at_least: lower bound of the drop, with the error shared among all checks.
        at_most: upper bound of the drop.
        detectable: the smallest true drop that this suite would show with probability 0.8.
        texts: of the comparison.
        needed: texts of this kind with which an equally good candidate passes with probability 0.8.
        outcome: what follows.
        reason: why, in words.
    """

    candidate: str
    measure: str
    category: str | None
    allowed: float
    drop: float | None
    at_least: float | None
    at_most: float | None
    detectable: float | None
    texts: int
    needed: int | None
    outcome: Outcome
    reason: str

    @property
    def name(self) -> str:
        """As it is asked for: `auprc`, `auprc[hate]`."""
        return self.measure if self.category is None else f"{self.measure}[{self.category}]"


@dataclass(frozen=True)
class GateResult:
    """The verdict.

    Attributes:
        outcome: "regression" if any check says so, "pass" if all checks do and nothing is missing.
        confidence: of the verdict as a whole.
        checks: in the order asked for, candidate by candidate.
        notes: what else keeps the gate from passing.
    """

    outcome: Outcome
    confidence: float
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 2 cannot tell."""
        return EXIT_CODES[self.outcome]

    def to_plain(self) -> dict[str, object]:
        """As part of a JSON report."""
        found: dict[str, object] = plain(self)
        return found

    def to_text(self) -> str:
        """The verdict, and a line for every check and note."""
        lines = [f"gate: {self.outcome} (confidence {100 * self.confidence:g} %)"]
        lines += [f"  {check.outcome}: {check.candidate}: {check.reason}" for check in self.checks]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines) + "\n"


def parse_max_drops(text: str) -> dict[str, float]:
    """`auprc=0.01,recall[hate]=0.05` as a mapping for `judge`.

    Raises:
        InvalidArgumentError: it is not of that form; the message says what is wrong.
    """
    found: dict[str, float] = {}
    for item in text.split(","):
        key, equals, number = (part.strip() for part in item.partition("="))
        try:
            drop = float(number)
        except ValueError:
            drop = -1
        if not equals or not 0 <= drop <= 1:
            raise InvalidArgumentError(
                f"max drop {item.strip()!r}: write measure=drop, as auprc=0.01; a drop is 0 to 1"
            )
        _split(key)
        if key in found:
            raise InvalidArgumentError(f"max drop of {key} is given twice")
        found[key] = drop
    return found


def judge(
    comparison: Comparison,
    max_drops: Mapping[str, float],
    confidence: float,
    *,
    max_noise: float | None = None,
) -> GateResult:
    """Judges all candidates of a comparison against its reference.

    Args:
        comparison: with at least two runs.
        max_drops: what may be lost at most, by measure (the mean over the categories that take part),
            `measure[category]`, or `measure[*]` for each category that takes part.
        confidence: an equally good candidate is called a regression with at most the rest of probability.
        max_noise: highest score that degenerate strings may get.

    Raises:
        InvalidArgumentError: there is nothing to judge, or a name is unknown.
    """
    if not max_drops and max_noise is None:
        raise InvalidArgumentError("a gate needs at least one max drop, as auprc=0.01")
    if not 0.5 <= confidence < 1:
        raise InvalidArgumentError(f"confidence must be 0.5 or more and less than 1, not {confidence}")
    if max_drops and not comparison.pairs:
        raise InvalidArgumentError("a gate needs a reference and at least one candidate")
    if max_noise is not None and not comparison.noise:
        raise InvalidArgumentError("the noise floor of these runs was not measured")
    asked = [
        (pair, measure, category, allowed)
        for pair in comparison.pairs
        for key, allowed in max_drops.items()
        for measure, category in _expand(key, pair)
    ]
    # Any of the checks can make the gate fail: they share the error (Bonferroni). All must pass for a pass.
    each = 1 - (1 - confidence) / max(len(asked), 1)
    checks = tuple(_check(*item, each, confidence) for item in asked)
    notes = [note for pair in comparison.pairs for note in _notes(pair)]
    noisy = _noisy(comparison, max_noise)
    outcomes = {check.outcome for check in checks}
    outcome: Outcome = "pass"
    if noisy or "regression" in outcomes:
        outcome = "regression"
    elif notes or "cannot tell" in outcomes:
        outcome = "cannot tell"
    return GateResult(outcome, confidence, checks, (*noisy, *notes))


def _split(key: str) -> tuple[str, str | None]:
    match = _KEY.fullmatch(key)
    if match is None or match[1] not in MEASURES:
        raise InvalidArgumentError(
            f"max drop of {key!r}: measures are {', '.join(_gated())}; auprc[hate] is that of one category"
        )
    if match[1] not in _gated():
        raise InvalidArgumentError(f"max drop of {key!r}: neither more nor less of it is better")
    return match[1], match[2]


def _gated() -> list[str]:
    return [name for name, measure in MEASURES.items() if measure.better]


def _expand(key: str, pair: Pair) -> list[tuple[str, str | None]]:
    measure, category = _split(key)
    if category == EVERY:
        return [(measure, name) for name in pair.taking_part]
    known = {d.category for d in pair.differences} | {*pair.missing}
    if category is not None and category not in known:
        names = ", ".join(sorted(str(name) for name in known - {None}))
        raise InvalidArgumentError(f"max drop of {key!r}: no such category; there are {names}")
    return [(measure, category)]


def _check(
    pair: Pair, measure: str, category: str | None, allowed: float, each: float, confidence: float
) -> Check:
    found = pair.difference(measure, category)
    named = f"{MEASURES[measure].title} ({'mean over categories' if category is None else category})"
    drop, error = (None, None) if found is None else (found.drop, found.error)
    check = partial(
        Check,
        candidate=pair.candidate,
        measure=measure,
        category=category,
        allowed=allowed,
        drop=drop,
        texts=pair.texts,
    )
    problem = _problem(pair, found, category)
    if problem is not None or drop is None or error is None:
        return check(
            at_least=None,
            at_most=None,
            detectable=None,
            needed=None,
            outcome="cannot tell",
            reason=f"{named}: {problem}",
        )
    at_least, at_most = drop - quantile(each) * error, drop + quantile(confidence) * error
    detectable = detectable_drop(error, allowed, each)
    needed = needed_texts(pair.texts, error, allowed, confidence)
    outcome: Outcome = "cannot tell"
    if drop > allowed and at_least > 0:
        outcome = "regression"
    elif at_most <= allowed:
        outcome = "pass"
    bounds = f"at least {at_least:.4f}, at most {at_most:.4f}"
    reason = f"{named} drops by {drop:.4f} ({bounds}); allowed is {allowed:g}"
    if outcome == "cannot tell":
        reason += f"; {pair.texts} texts can show a drop of {detectable:.4f}"
        reason += "" if needed is None or needed <= pair.texts else f", about {needed} texts are needed"
    return check(
        at_least=at_least,
        at_most=at_most,
        detectable=detectable,
        needed=needed,
        outcome=outcome,
        reason=reason,
    )


def _problem(pair: Pair, found: Difference | None, category: str | None) -> str | None:
    """Why nothing can be said, if so."""
    if category is not None and category in pair.missing:
        return f"{pair.candidate} does not score it"
    if category is not None and category in pair.left_out:
        return pair.left_out[category]
    if found is None or found.estimate is None:
        return "the measure does not exist for both contestants (no thresholds, or nothing flagged)"
    if min(found.positives, found.negatives) < LEAST:
        return f"{found.positives} positives and {found.negatives} negatives, fewer than {LEAST} of one"
    return "there are no resamples" if found.error is None else None


def _notes(pair: Pair) -> list[str]:
    notes = []
    reference, candidate = pair.reference, pair.candidate
    if pair.unanswered:
        notes.append(f"{candidate} did not answer {pair.unanswered} texts that {reference} answered")
    if pair.missing:
        notes.append(f"{candidate} does not score {', '.join(pair.missing)}, which {reference} scores")
    return [f"cannot tell: {note}" for note in notes]


def _noisy(comparison: Comparison, limit: float | None) -> list[str]:
    if limit is None:
        return []
    return [
        f"regression: {name}: noise floor: {noise.category} scores {noise.highest:.4f} on {noise.input!r}, "
        f"above {limit:g}"
        for name, figures in comparison.noise.items()
        for noise in figures
        if noise.highest > limit and (name != comparison.reference or not comparison.pairs)
    ]
