"""From a policy and a model to thresholds: numbers that the engine compares with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    resolution = _Resolution(document, defaults, coverage, model_id, audience)
    thresholds = {name: resolution.thresholds(name) for name in document.categories}
    if resolution.problems:
        raise PolicyError("\n".join(resolution.problems))
    never = Thresholds(None, None)
    return {name: thresholds.get(name, never) for name in defaults}


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
        self._name = document.path or "policy"
        self._defaults = defaults
        self._coverage = coverage
        self._model_id = model_id
        self._audience = audience
        self.problems: list[str] = []
        if audience is not None and audience not in document.audiences:
            raise PolicyError(
                f"{self._name}: no audience {audience!r}; {nearest(audience, document.audiences)}"
            )

    def thresholds(self, category: str) -> Thresholds:
        limits, path = limits_of(self._document, category, self._audience)
        if category not in self._defaults:
            if decides(limits):
                self._no_score(category)
            return Thresholds(None, None)
        model, known_problems = self._defaults[category], len(self.problems)
        review = self._number(category, "review", limits.review, model.review, path)
        block = self._number(category, "block", limits.block, model.block, path)
        fits = block is None or (review is not None and review <= block)
        if fits or len(self.problems) > known_problems:
            return Thresholds(review, block)
        # What is blocked is also flagged. "model" gives way to what the policy itself says.
        if limits.block == "model":
            return Thresholds(review, review)
        if limits.review == "model":
            return Thresholds(block, block)
        self._problem(
            (*path, "block"),
            f"{spelled(path)}: block at {block:g} is below review at"
            f" {'never' if review is None else format(review, 'g')}; correct one of the two",
        )
        return Thresholds(None, None)

    def _number(
        self, category: str, action: Decided, limit: Limit, model: float | None, path: Path
    ) -> float | None:
        if isinstance(limit, float):
            return rounded(limit)
        if isinstance(limit, str):
            return model if limit == "model" else None
        calibration = self._document.calibration
        entry = calibrated(calibration, category, action, self._audience, limit)
        place = (*path, action)
        if entry is None:
            self._problem(place, f"{spelled(place)} is a target and not calibrated; run safetyclf calibrate")
        elif calibration is not None and calibration.model != self._model_id:
            self._problem(
                place,
                f"{spelled(place)} was calibrated for the model {calibration.model}, not for"
                f" {self._model_id}; run safetyclf calibrate again",
            )
        elif entry.value is not None:
            return rounded(entry.value)
        return None

    def _no_score(self, category: str) -> None:
        if category in self._coverage:
            what = 'has no score in this model; write review = "never" and block = "never", or leave it out'
        else:
            what = "is not a category of this model; run safetyclf policy compile, or correct the name"
        self._problem(("categories", category), f"{category!r} {what}")

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(f"{self._name}:{line_of(self._document.lines, path)}: {message}")
