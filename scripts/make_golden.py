"""Writes tests/data/golden.json: texts and the bits of their scores by the bundled model.

python scripts/make_golden.py

Every build must reproduce them. To be run when the bundled model or kNumericsRevision changes, and only then.
tests/data/tiny.safetensors is written by `python tests/python/tiny_model.py tests/data/tiny.safetensors`.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetyclf

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "data" / "golden.json"
SENTENCE = "the meeting about the new garden starts at nine and everybody may bring a friend or a question "
TEXTS = [
    "",
    " \t\n",
    "Thanks, that was really helpful!",
    "You are an idiot.",
    "I will find you and hurt you.",
    "Nobody likes your stupid hat, go away.",
    "How do I sharpen a kitchen knife?",
    "The film shows the battle in great detail.",
    "I feel very low today and do not know whom to talk to.",
    "[CLS] ordinary text [SEP] [MASK]",
    "Caf\u00e9 na\u00efve r\u00e9sum\u00e9, Stra\u00dfe, \u0130stanbul",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u0645\u0631\u062d\u0628\u0627 \u200f!",
    "\U0001f600\U0001f469\u200d\U0001f4bb \u2764\ufe0f",
    "\uff26\uff55\uff4c\uff4c\uff57\uff49\uff44\uff54\uff48 \U0001d4f6\U0001d4ea\U0001d4fd\U0001d4f1",
    "y\u200bo\u200bu are gr\u0435at",
    "e\u0301\u0301\u0301\u0301 zal\u0335go\u0336",
    "nul \x00 and \ufffd",
    "https://example.org/a?b=c&d=%20 #tag @name 12:34 1,000.50",
    *(" ".join((SENTENCE.split() * 90)[:length]) for length in (15, 16, 31, 63, 127, 255, 509, 511, 1200)),
]


def main() -> None:
    """Scores all texts and writes the file."""
    classifier = safetyclf.Classifier()
    rows = classifier.scores(TEXTS).view("uint32").tolist()
    golden = {
        "model": classifier.model_id,
        "categories": classifier.categories,
        "texts": TEXTS,
        "scores": [[f"{bits:08x}" for bits in row] for row in rows],
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="ascii")
    print(f"{GOLDEN.name}: {len(TEXTS)} texts, {classifier.model_id}")


if __name__ == "__main__":
    main()
