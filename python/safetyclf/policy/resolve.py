"""From a policy and a model to thresholds: numbers that the engine compares with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .._errors import PolicyError
from .._policy import from_file, rounded
from .._results import Thresholds
from .document import Calibrated, Calibration, Decided, Limit, Limits, PolicyDocument, Target
from .problems import Path, line_of, nearest, spelled

if TYPE_CHECKING:
    from .._classifier import Classifier


def resolve(
    document: PolicyDocument, classifier: Classifier, audience: str | None = None
) -> dict[str, Thresholds]:
    """The policy's thresholds for each category that the classifier scores.

    Raises:
        PolicyError: as `resolve_for`.
    """
    return resolve_for(
        document,
        defaults=model_thresholds(classifier),
        coverage=classifier.coverage,
        model_id=classifier.model_id,
        audience=audience,
    )


def model_thresholds(classifier: Classifier) -> dict[str, Thresholds]:
    """The thresholds of the model file, whatever is in force."""
    return dict(zip(classifier.categories, map(from_file, classifier._engine.thresholds), strict=True))


def resolve_for(
    document: PolicyDocument,
    *,
    defaults: Mapping[str, Thresholds],
    coverage: Mapping[str, str],
    model_id: str,
    audience: str | None = None,
) -> dict[str, Thresholds]:
    """The policy's thresholds for each category of `defaults`; "never" for those that it leaves out.

    Args:
        document: the policy.
        defaults: the model's thresholds for each category that it scores.
        coverage: of all categories that the model file names.
        model_id: a calibration must be of this model.
        audience: name of an audience of the policy, or None for everybody.

    Raises:
        PolicyError: the audience is unknown; a category decides and the model has no score for it; a target
            is not calibrated, or for another model; a block threshold is below the review threshold. The
            message has a line for each problem.
    """
    thresholds, problems = attempt(document, defaults, coverage, model_id, audience)
    if problems:
        name = document.path or "policy"
        raise PolicyError(
            "\n".join(
                f"{name}:{line_of(document.lines, problem.path)}: {problem.message}" for problem in problems
            )
        )
    never = Thresholds(None, None)
    return {name: thresholds.get(name, never) for name in defaults}


class Unresolved(NamedTuple):
    """Why a threshold has no number. The codes are those of `safetyclf policy check`."""

    code: str
    path: Path
    message: str


def attempt(
    document: PolicyDocument,
    defaults: Mapping[str, Thresholds],
    coverage: Mapping[str, str],
    model_id: str,
    audience: str | None,
) -> tuple[dict[str, Thresholds], list[Unresolved]]:
    """Thresholds of those categories of the policy that have any, and what is wrong with the others.

    Raises:
        PolicyError: the audience is unknown.
    """
    if audience is not None and audience not in document.audiences:
        raise PolicyError(
            f"{document.path or 'policy'}: no audience {audience!r}; {nearest(audience, document.audiences)}"
        )
    resolution = _Resolution(document, defaults, coverage, model_id, audience)
    found = {name: resolution.thresholds(name) for name in document.categories}
    return {name: pair for name, pair in found.items() if pair is not None}, resolution.problems


def limits_of(document: PolicyDocument, category: str, audience: str | None) -> tuple[Limits, Path]:
    """What holds for a category and an audience, and where it says so."""
    if audience is not None and category in document.audiences[audience].limits:
        path = ("audiences", audience, "thresholds", category)
        return document.audiences[audience].limits[category], path
    return document.categories[category].limits, ("categories", category)


def decides(limits: Limits) -> bool:
    """Whether a score can lead to anything. What is never flagged is never blocked."""
    return limits != Limits("never", "never") and limits != Limits("never", "model")


def calibrated(
    calibration: Calibration | None, category: str, action: Decided, audience: str | None, target: Target
) -> Calibrated | None:
    """The entry for a target: the audience's own, or else the one for everybody."""
    entries = calibration.thresholds if calibration is not None else ()
    for wanted in dict.fromkeys((audience, None)):
        for entry in entries:
            if (entry.category, entry.action, entry.audience, entry.target) == (
                category,
                action,
                wanted,
                target,
            ):
                return entry
    return None


class _Resolution:
    def __init__(
        self,
        document: PolicyDocument,
        defaults: Mapping[str, Thresholds],
        coverage: Mapping[str, str],
        model_id: str,
        audience: str | None,
    ) -> None:
        self._document = document
        self._defaults = defaults
        self._coverage = coverage
        self._model_id = model_id
        self._audience = audience
        self.problems: list[Unresolved] = []

    def thresholds(self, category: str) -> Thresholds | None:
        limits, path = limits_of(self._document, category, self._audience)
        if category not in self._defaults:
            if decides(limits):
                self._no_score(category)
                return None
            return Thresholds(None, None)
        model, known_problems = self._defaults[category], len(self.problems)
        review = self._number(category, "review", limits.review, model.review)
        block = self._number(category, "block", limits.block, model.block)
        if len(self.problems) > known_problems:
            return None
        if block is None or (review is not None and review <= block):
            return Thresholds(review, block)
        # What is blocked is also flagged. "model" gives way to what the policy itself says.
        if limits.block == "model":
            return Thresholds(review, review)
        if limits.review == "model":
            return Thresholds(block, block)
        place = self._place(category, "block")
        at = "never" if review is None else f"{review:g}"
        what = f"{spelled(path)}: block at {block:g} is below review at {at}; correct one of the two"
        self.problems.append(Unresolved("block-below-review", place, what))
        return None

    def _number(self, category: str, action: Decided, limit: Limit, model: float | None) -> float | None:
        if isinstance(limit, float):
            return rounded(limit)
        if isinstance(limit, str):
            return model if limit == "model" else None
        calibration = self._document.calibration
        entry = calibrated(calibration, category, action, self._audience, limit)
        place = self._place(category, action)
        if entry is None or calibration is None:
            what = f"{spelled(place)} is a target and not calibrated; run safetyclf calibrate"
            self.problems.append(Unresolved("no-calibration", place, what))
            return None
        if calibration.model != self._model_id:
            what = (
                f"{spelled(place)} was calibrated for the model {calibration.model}, not for"
                f" {self._model_id}; run safetyclf calibrate again"
            )
            self.problems.append(Unresolved("other-model", place, what))
            return None
        return None if entry.value is None else rounded(entry.value)

    def _place(self, category: str, action: Decided) -> Path:
        """Where the limit stands: an audience may leave it to the category."""
        path = (*limits_of(self._document, category, self._audience)[1], action)
        return path if path in self._document.lines else ("categories", category, action)

    def _no_score(self, category: str) -> None:
        path = ("categories", category)
        if category in self._coverage:
            what = 'has no score in this model; write review = "never" and block = "never", or leave it out'
            self.problems.append(Unresolved("unscored", path, f"{category!r} {what}"))
        else:
            what = "is not a category of this model; run safetyclf policy compile, or correct the name"
            self.problems.append(Unresolved("not-compiled", path, f"{category!r} {what}"))
