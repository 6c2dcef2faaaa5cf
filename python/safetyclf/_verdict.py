"""The verdict on a text. Cheap to make: what follows from scores and rules is made when asked for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from ._errors import InvalidArgumentError, SafetyclfError
from ._results import Action, Explanation, OffsetUnit, Span, TermMatch, Thresholds

ACTIONS: Final[tuple[Action, ...]] = ("allow", "review", "block")
# Scores float32 [C] and flags uint8 [C] as bytes, the action, windows, repaired: as the engine gives them.
State: TypeAlias = tuple[bytes, bytes, Action, int, bool]
Explain: TypeAlias = Callable[[str, str, OffsetUnit], Explanation]


def with_terms(state: State, matches: Sequence[TermMatch], categories: Sequence[str]) -> State:
    """What term lists make of the engine's verdict: they flag and act by themselves.

    A list that allows a whole text overrules the model; what other allow lists take back is not in `matches`.
    """
    row, flags, action, windows, repaired = state
    if any(match.action == "allow" for match in matches):
        return row, bytes(len(flags)), "allow", windows, repaired
    named = {match.category for match in matches}
    flags = bytes(flag or name in named for flag, name in zip(flags, categories, strict=True))
    strictest = max((action, *(match.action for match in matches)), key=ACTIONS.index)
    return row, flags, strictest, windows, repaired


def state_of(
    scores: Sequence[float], thresholds: Iterable[Thresholds], windows: int, repaired: bool
) -> State:
    """The engine's verdict by scores, float32 values in column order, that were not made in one call."""
    limits = list(zip(scores, thresholds, strict=True))
    flags = bytes(review is not None and score >= review for score, (review, _) in limits)
    blocks = any(block is not None and score >= block for score, (_, block) in limits)
    action: Action = "block" if blocks else "review" if any(flags) else "allow"
    return struct.pack(f"{len(scores)}f", *scores), flags, action, windows, repaired


class Details(NamedTuple):
    """What few ask for.

    `severity` holds by category the names of its levels with the lowest score of each, ascending;
    `statements` by category the ids of what its review and block thresholds rest on.
    """

    severity: Mapping[str, tuple[tuple[str, float], ...]]
    statements: Mapping[str, tuple[str | None, str | None]]


class Rules:
    """What all verdicts of one classifier share: categories in column order, thresholds, ids."""

    __slots__ = ("_details", "categories", "model", "policy", "thresholds")

    def __init__(
        self,
        categories: tuple[str, ...],
        thresholds: Mapping[str, Thresholds],
        model: str,
        policy: str | None,
        details: Details | Callable[[], Details],
    ) -> None:
        self.categories, self.thresholds = categories, thresholds
        self.model, self.policy = model, policy
        self._details = details

    @property
    def details(self) -> Details:
        """Looked up when first asked for."""
        if not isinstance(self._details, Details):
            self._details = self._details()
        return self._details

    def __reduce__(self) -> tuple[Any, ...]:
        return Rules, (self.categories, self.thresholds, self.model, self.policy, self.details)


_PUBLIC = (
    "flagged", "action", "scores", "categories", "triggered", "severity", "matches", "thresholds",
    "statements", "windows", "repaired", "model", "policy",
)  # fmt: skip


class Verdict:
    """The decision on one text.

    Attributes:
        flagged: some category reaches its review threshold, or a term list acts.
        action: the strictest action that a category or a term list asks for.
        scores: calibrated probability of each scored category, in [0, 1]: float32 values as Python floats.
        categories: for each scored category whether its score reaches the review threshold or a term list
            counts for it.
        triggered: the flagged categories, highest score first.
        severity: the level that each category's score reaches, by category; none below the first level.
        matches: terms of the policy's lists, in the order of the text.
        thresholds: the thresholds that were applied.
        statements: by category the ids of the statements that the review and the block threshold rest on, as
            in `Classifier.statements`; None for a bare number.
        windows: how many overlapping windows the text was read in; 1 unless it is long.
        repaired: the text held lone surrogates, which have no UTF-8 form and were read as U+FFFD.
        model: id of the model, `name-version+hash`.
        policy: id of the policy, `id-version+hash`, or None where none was given.

    Verdicts compare by these attributes. They can be pickled, but an unpickled or deep-copied one can no
    longer explain itself.
    """

    __slots__ = ("_categories", "_matches", "_rules", "_scores", "_source", "_state")
    __match_args__ = _PUBLIC
    _state: State
    _rules: Rules
    _matches: tuple[TermMatch, ...]
    _source: tuple[str, Explain] | None
    _scores: dict[str, float]
    _categories: dict[str, bool]

    def __init__(
        self,
        state: State,
        rules: Rules,
        source: tuple[str, Explain] | None = None,
        matches: tuple[TermMatch, ...] = (),
    ) -> None:
        keep = object.__setattr__
        keep(self, "_state", state)
        keep(self, "_rules", rules)
        keep(self, "_source", source)
        keep(self, "_matches", matches)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: a verdict does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: a verdict does not change")

    @property
    def flagged(self) -> bool:
        """Whether some category reaches its review threshold or a term list acts."""
        return self._state[2] != "allow"

    @property
    def action(self) -> Action:
        """The strictest action that a category or a term list asks for."""
        return self._state[2]

    @property
    def windows(self) -> int:
        """Overlapping windows that the text was read in."""
        return self._state[3]

    @property
    def repaired(self) -> bool:
        """Whether the text held lone surrogates."""
        return self._state[4]

    @property
    def matches(self) -> tuple[TermMatch, ...]:
        """Terms of the policy's lists, in the order of the text."""
        return self._matches

    @property
    def scores(self) -> dict[str, float]:
        """Calibrated probability of each scored category."""
        try:
            return self._scores
        except AttributeError:
            names = self._rules.categories
            row = struct.unpack(f"{len(names)}f", self._state[0])
            object.__setattr__(self, "_scores", dict(zip(names, row, strict=True)))
            return self._scores

    @property
    def categories(self) -> dict[str, bool]:
        """Whether each scored category is flagged."""
        try:
            return self._categories
        except AttributeError:
            found = dict(zip(self._rules.categories, map(bool, self._state[1]), strict=True))
            object.__setattr__(self, "_categories", found)
            return self._categories

    @property
    def triggered(self) -> tuple[str, ...]:
        """The flagged categories, highest score first."""
        scores = self.scores
        names = [name for name, flag in self.categories.items() if flag]
        return tuple(sorted(names, key=lambda name: -scores[name]))

    @property
    def severity(self) -> dict[str, str]:
        """The level that each category's score reaches."""
        scores, found = self.scores, {}
        for category, levels in self._rules.details.severity.items():
            reached = [name for name, lowest in levels if scores[category] >= lowest]
            if reached:
                found[category] = reached[-1]
        return found

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """The thresholds that were applied."""
        return dict(self._rules.thresholds)

    @property
    def statements(self) -> dict[str, tuple[str | None, str | None]]:
        """Ids of the statements that review and block thresholds rest on."""
        return dict(self._rules.details.statements)

    @property
    def model(self) -> str:
        """Id of the model."""
        return self._rules.model

    @property
    def policy(self) -> str | None:
        """Id of the policy."""
        return self._rules.policy

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
        if self._source is None:
            raise SafetyclfError(
                "an unpickled or deep-copied verdict no longer knows its text: classify it again"
            )
        text, explain = self._source
        return explain(text, category, unit)

    def spans(self, category: str, *, unit: OffsetUnit = "codepoint") -> list[Span]:
        """The words of the text and their weights, in order. Arguments and errors as for `explain`."""
        return list(self.explain(category, unit=unit).spans)

    def __eq__(self, other: object) -> bool:
        return _key(self) == _key(other) if isinstance(other, Verdict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it holds dictionaries

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(_PUBLIC, _public(self), strict=True))
        return f"Verdict({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither text nor classifier: a pickled verdict is a small record that can be stored or sent.
        return Verdict, (self._state, self._rules, None, self._matches)

    def __copy__(self) -> Verdict:
        return self


def _key(verdict: Verdict) -> tuple[Any, ...]:
    """What everything public follows from."""
    rules = verdict._rules
    shared = (rules.categories, rules.thresholds, rules.model, rules.policy)
    return verdict._state, verdict._matches, shared


def _public(verdict: Verdict) -> tuple[Any, ...]:
    return tuple(getattr(verdict, name) for name in _PUBLIC)
