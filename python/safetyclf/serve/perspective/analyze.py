"""comments:analyze: attributes, each the category of the same name, and their scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from ..calls import Call
from ..engines import Loaded
from ..fields import optional
from .texts import language_of, sentences, utf16_lengths
from .wire import (
    COMMON,
    CommentRefusal,
    check_score_type,
    comment_of,
    fraction,
    known_fields,
    languages_of,
)

# Attributes that the Perspective API had at some time. One without a score in our model is not unknown: it is
# refused as that API refused an attribute that it lacked in some language, which clients know how to handle.
_TOXICITY: Final = (
    "TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT", "SEXUALLY_EXPLICIT",
)  # fmt: skip
_BRIDGING: Final = (
    "AFFINITY", "COMPASSION", "CURIOSITY", "NUANCE", "PERSONAL_STORY", "REASONING", "RESPECT", "ALIENATION",
    "FEARMONGERING", "GENERALIZATION", "MORAL_OUTRAGE", "POWER", "SCAPEGOATING",
)  # fmt: skip
KNOWN: Final = frozenset(
    (
        *_TOXICITY,
        *(f"{name}_EXPERIMENTAL" for name in (*_TOXICITY, *_BRIDGING)),
        "TOXICITY_FAST", "FLIRTATION", "ATTACK_ON_AUTHOR", "ATTACK_ON_COMMENTER", "INCOHERENT",
        "INFLAMMATORY", "LIKELY_TO_REJECT", "OBSCENE", "SPAM", "UNSUBSTANTIAL",
    )
)  # fmt: skip
_LONGEST_SPLIT: Final = 20_480  # characters; longer comments, which that API did not take, are one span
_FIELDS: Final = COMMON | {
    "requestedAttributes",
    "doNotStore",
    "spanAnnotations",
    "dropUnsupportedAttributes",
}


class Asked(NamedTuple):
    """A request, understood. `thresholds` has the attributes asked for."""

    text: str
    thresholds: dict[str, float]
    languages: list[str]
    spans: bool
    drop: bool
    token: str | None


class Piece(NamedTuple):
    """A part of the comment in UTF-16 code units, and its scores by category."""

    begin: int
    end: int
    scores: Mapping[str, float]


async def analyze(call: Call) -> dict[str, Any]:
    """Answers one request."""
    asked = _understood(await call.json())
    settings, loaded = call.state.settings, call.state.loaded
    detected = language_of(asked.text, settings.perspective_language[0])
    scored = loaded.classifier.categories
    categories = _categories(
        asked, detected, scored, settings.perspective_language, settings.perspective_unscored
    )
    (judged,) = await call.judge([asked.text], param="comment.text")
    scores = judged.verdict.scores
    pieces = await _pieces(call, loaded, asked, scores)
    found = {
        name: _scores(category, asked.thresholds[name], scores, pieces)
        for name, category in categories.items()
    }
    answer: dict[str, Any] = {
        "attributeScores": {name: entry for name, entry in found.items() if entry},
        "languages": asked.languages or [detected],
        "detectedLanguages": [detected],
    }
    if asked.token is not None:
        answer["clientToken"] = asked.token
    return answer


def category_of(attribute: str, scored: Collection[str]) -> str | None:
    """The category behind an attribute, None if it has no score here. Raises Refusal 400: nobody knows it."""
    category = attribute.lower()
    if category in scored:
        return category
    if attribute not in KNOWN:
        raise CommentRefusal(f"Unknown requested attribute: {attribute[:100]}")
    return None


def _understood(body: Any) -> Asked:
    body = known_fields(body, _FIELDS, "the body")
    text = comment_of(body)
    attributes = optional(body, "requestedAttributes", dict)
    if not attributes:
        raise CommentRefusal("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")
    thresholds = {}
    for name, value in attributes.items():
        at = f"requestedAttributes.{name[:100]}"
        parameters = known_fields({} if value is None else value, {"scoreType", "scoreThreshold"}, at)
        check_score_type(parameters, "scoreType", name[:100], f"{at}.")
        given = parameters.get("scoreThreshold")
        thresholds[name] = 0.0 if given is None else fraction(given, f"{at}.scoreThreshold")
    optional(body, "doNotStore", bool)  # nothing is ever stored by this method
    return Asked(
        text,
        thresholds,
        languages_of(body),
        optional(body, "spanAnnotations", bool) or False,
        optional(body, "dropUnsupportedAttributes", bool) or False,
        optional(body, "clientToken", str),
    )


def _categories(
    asked: Asked, detected: str, scored: Collection[str], languages: Collection[str], unscored: str
) -> dict[str, str]:
    """Attribute -> category, for those that are answered."""
    effective = asked.languages or [detected]
    read = all(tag.replace("_", "-").split("-")[0].lower() in languages for tag in effective)
    answered = {}
    for name in asked.thresholds:
        category = category_of(name, scored)
        if category is not None and read:
            answered[name] = category
        elif not asked.drop and not (read and unscored == "drop"):
            raise _unsupported(name, asked.languages, detected, read)
    return answered


def _unsupported(attribute: str, requested: list[str], detected: str, read: bool) -> CommentRefusal:
    languages = ", ".join(requested or [detected])[:100]
    message = f"Attribute {attribute} does not support request languages: {languages}"
    if read:
        message += ". The model of this server has no score for it in any language."
    about: dict[str, Any] = {"attribute": attribute, "detectedLanguages": [detected]}
    if requested:
        about["requestedLanguages"] = requested
    return CommentRefusal(
        message,
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        about={"languageNotSupportedByAttributeError": about},
    )


async def _pieces(call: Call, loaded: Loaded, asked: Asked, scores: Mapping[str, float]) -> list[Piece]:
    """The sentences, each judged alone, or the whole comment as one piece."""
    text = asked.text
    split = asked.spans and len(text) <= _LONGEST_SPLIT
    ranges = sentences(text, call.state.settings.max_texts) if split else []
    if len(ranges) < 2:
        return [Piece(0, utf16_lengths(text, [len(text)])[0], scores)]
    if call.state.loaded is not loaded:
        raise CommentRefusal("The model was reloaded meanwhile. Try again.", status=503, retry=True)
    assert call.policy is not None
    parts = [text[begin:end] for begin, end in ranges]
    # Parts of a text that was judged are no decisions of their own: neither counted nor written down.
    judged, _ = await loaded.judge(parts, call.policy, call._watch)
    places = utf16_lengths(text, [place for pair in ranges for place in pair])
    return [Piece(places[2 * i], places[2 * i + 1], one.verdict.scores) for i, one in enumerate(judged)]


def _scores(
    category: str, threshold: float, scores: Mapping[str, float], pieces: list[Piece]
) -> dict[str, Any]:
    """What reaches the threshold, as it is written: of the pieces, and of the comment."""
    entry: dict[str, Any] = {}
    of_pieces = ((piece, _written(piece.scores[category])) for piece in pieces)
    spans = [
        {"begin": piece.begin, "end": piece.end, "score": {"value": value, "type": "PROBABILITY"}}
        for piece, value in of_pieces
        if value >= threshold
    ]
    if spans:
        entry["spanScores"] = spans
    value = _written(scores[category])
    if value >= threshold:
        entry["summaryScore"] = {"value": value, "type": "PROBABILITY"}
    return entry


def _written(score: float) -> float:
    # Nine digits tell any two float32 apart.
    return float(f"{score:.9g}")
