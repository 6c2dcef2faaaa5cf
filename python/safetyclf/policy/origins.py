"""From which score on something happens, and what that number rests on, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

from .._errors import PolicyError
from .._results import Thresholds
from .document import Decided, Limit, PolicyDocument, Target
from .problems import nearest
from .resolve import calibrated, limits_of, model_thresholds
from .wording import level, limit_of, target_words

if TYPE_CHECKING:
    from .._classifier import Classifier

_KEY: Final = re.compile(r"`(\w+)`")


@dataclass(frozen=True)
class ModelSide:
    """What a model file says of its thresholds; empty where no model was asked."""

    id: str | None = None
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    statements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, classifier: Classifier) -> ModelSide:
        """That of a classifier's model file, whatever policy is in force."""
        return cls(
            classifier.model_id,
            model_thresholds(classifier),
            {c["name"]: c["threshold_statement"] or {} for c in classifier.info()["categories"]},
        )


@dataclass(frozen=True)
class Start:
    """From which score on an action is taken.

    Attributes:
        value: the score, infinite for "never"; None if it cannot be told from what is at hand.
        unknown: what to say in place of an unknown value.
        origin: where the number comes from, in sentences.
    """

    value: float | None
    origin: str
    unknown: str = ""

    @property
    def words(self) -> str:
        """The score as people read it."""
        if self.value is None:
            return self.unknown
        return "never" if self.value == inf else level(self.value)


def starts(
    document: PolicyDocument, model: ModelSide, category: str, audience: str | None
) -> dict[Decided, Start]:
    """The starts of review and block; as `resolve`, but what is missing is said instead of raised."""
    limits, _ = limits_of(document, category, audience)
    actions: tuple[Decided, ...] = ("review", "block")
    found = {a: _start(document, model, category, a, audience, limit_of(limits, a)) for a in actions}
    review, block = found["review"], found["block"]
    # "model" gives way to what the policy itself says, as what is blocked is also flagged.
    if review.value is not None and block.value is not None and block.value < review.value:
        if limits.block == "model":
            found["block"] = Start(review.value, "Where review begins: the model's own number is lower.")
        elif limits.review == "model":
            found["review"] = Start(block.value, "Where blocking begins: the model's own number is higher.")
    return found


def check_audience(document: PolicyDocument, audience: str | None) -> None:
    """Raises PolicyError if the policy has no such audience."""
    if audience is not None and audience not in document.audiences:
        raise PolicyError(
            f"{document.path or 'policy'}: no audience {audience!r}; {nearest(audience, document.audiences)}"
        )


def _start(
    document: PolicyDocument,
    model: ModelSide,
    category: str,
    action: Decided,
    audience: str | None,
    limit: Limit,
) -> Start:
    if isinstance(limit, Target):
        return _of_target(document, model, category, action, audience, limit)
    if limit == "never":
        return Start(inf, "The policy says that this never happens by score.")
    if limit == "model":
        return model_start(model, category, action)
    return Start(limit, "A number that the policy's authors chose; no promise stands behind it.")


def _of_target(
    document: PolicyDocument,
    model: ModelSide,
    category: str,
    action: Decided,
    audience: str | None,
    target: Target,
) -> Start:
    wanted = f"The policy asks for {target_words(target)}."
    found = calibrated(document.calibration, category, action, audience, target)
    if found is None or document.calibration is None:
        return Start(
            None, f"{wanted} The number has not been found yet: run safetyclf calibrate.", "not set yet"
        )
    source = document.calibration.model
    if model.id is not None and source != model.id:
        return Start(
            None,
            f"{wanted} The number was found for another model ({source}): run safetyclf calibrate.",
            "not set yet",
        )
    promise = _promise(found.statement.get("rule"), found.statement)
    rows = (
        f" It rests on {found.statement['n']:,} texts." if isinstance(found.statement.get("n"), int) else ""
    )
    return Start(
        inf if found.value is None else found.value, f"{wanted} Found on labelled texts.{promise}{rows}"
    )


def model_start(model: ModelSide, category: str, action: Decided) -> Start:
    """From which score on the model file itself takes the action."""
    if model.id is None:
        return Start(
            None, "Comes with the model file; safetyclf info shows what it promises.", "the model's own"
        )
    if category not in model.thresholds:
        return Start(None, "The model has no score for this category.", "no score")
    limit = getattr(model.thresholds[category], action)
    statement = model.statements.get(category, {})
    details = statement.get(action, {})
    if limit is None:
        why = f" Reason: {details['never']}." if "never" in details else ""
        return Start(inf, f"Comes with the model file, which never does this by score.{why}")
    promise = _promise(statement.get("rule"), {**statement, **details})
    on = f" It rests on {statement['set']}." if "set" in statement else ""
    return Start(limit, f"Comes with the model file.{promise}{on}")


def _promise(rule: object, values: Mapping[str, Any]) -> str:
    """A statement's rule with its numbers filled in; "" if the statement has none."""
    if not isinstance(rule, str):
        return ""

    def filled(key: re.Match[str]) -> str:
        value = values.get(key[1])
        # Four digits, as statements have them: fewer could round a promise up.
        return f"{100 * value:.4g} %" if isinstance(value, float) else key[0] if value is None else str(value)

    return f" Its promise: {_KEY.sub(filled, rule)}."
