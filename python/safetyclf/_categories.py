"""Names of categories that others have made common."""

from __future__ import annotations

from typing import Final

# Those of OpenAI's moderation endpoint, in its order.
MODERATION_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
# What users of the Perspective API know.
ATTRIBUTES: Final = (
    "toxicity",
    "insult",
    "profanity",
    "identity_attack",
    "threat",
    "severe_toxicity",
    "sexually_explicit",
)
