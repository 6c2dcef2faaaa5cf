"""What context does to the verdicts on conversations: false alarms, leaks and what only context shows.

    python benchmarks/chat_context.py ../shared/data/train

Conversations are made of rows that training never saw. Prints counts with exact 95 % intervals, never a text.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safetyclf import ChatTurn, Classifier
from safetyclf.train.config_file import load_config
from safetyclf.train.data import CALIBRATION, OFFICIAL, SELECTION, _split_of
from safetyclf.train.duplicates import duplicate_key
from scipy.stats import beta

# Sets whose harmless rows read like turns of a conversation with a program; the others are mostly posts.
CONVERSATIONAL = {
    "convabuse", "counsel_chat", "cyberseceval_instruct", "goemotions_positive", "gpteacher_roleplay",
    "medquad", "nq_open", "paradetox_neutral", "self_instruct_human", "wiki_talk_clean",
}  # fmt: skip
LONGEST = 1500  # characters


def share(found: Iterable[bool]) -> str:
    hits = list(found)
    k, n = sum(hits), len(hits)
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{k} of {n} ({k / n:.2%}; {low:.2%} to {high:.2%})"


def read(folder: Path) -> list[dict[str, Any]]:
    """Rows that are neither for training nor for the final test."""
    config, rows = load_config(), []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                official = OFFICIAL[row["split"]] if row.get("split") else -1
                split = _split_of(duplicate_key(row["text"]), official, config)
                if split in (SELECTION, CALIBRATION) and len(row["text"]) <= LONGEST:
                    rows.append(row)
    return rows


def turns(classifier: Classifier, texts: Sequence[str], context_turns: int) -> tuple[ChatTurn, ...]:
    messages = [{"role": "user", "content": text} for text in texts]
    return classifier.classify_chat(messages, context_turns=context_turns).turns


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="labelled rows, *.jsonl.gz")
    parser.add_argument("--chats", type=int, default=800, help="of each kind")
    arguments = parser.parse_args()
    classifier = Classifier()
    rows = read(arguments.folder)
    random.Random(1).shuffle(rows)
    harmless = [row for row in rows if row["labels"] and not any(row["labels"].values())]
    harmful = [row["text"] for row in rows if any(row["labels"].values())][: arguments.chats]
    benign = [row["text"] for row in harmless if row["source"] in CONVERSATIONAL]
    groups = {"all sets": [row["text"] for row in harmless], "conversational sets": benign}
    for context_turns in (1, 2, 3):
        print(f"context of {context_turns}:")
        for name, texts in groups.items():
            chats = [texts[i : i + 4] for i in range(0, min(4 * arguments.chats, len(texts) - 3), 4)]
            later = [turn for chat in chats for turn in turns(classifier, chat, context_turns)[1:]]
            print(f"  harmless turns, {name}: alone flagged {share(turn.alone.flagged for turn in later)},")
            print(
                f"    the others by context {share(t.verdict.flagged for t in later if not t.alone.flagged)}"
            )
        after, halves, after_talk = [], [], []
        for number, text in enumerate(harmful):
            if classifier.classify(text).flagged:
                after.append(turns(classifier, [text, benign[-1 - number]], context_turns)[1])
            words = text.split()
            first, second = (" ".join(part) for part in (words[: len(words) // 2], words[len(words) // 2 :]))
            if len(words) < 6 or classifier.classify(first).flagged or classifier.classify(second).flagged:
                continue
            halves.append(turns(classifier, [first, second], context_turns)[1])
            talk = benign[2 * number : 2 * number + 2]
            after_talk.append(turns(classifier, [*talk, first, second], context_turns)[3])
        print(
            "  harmless turn after a flagged one, by context "
            + share(turn.verdict.flagged for turn in after if not turn.alone.flagged)
        )
        print(f"  harm in halves, by context {share(turn.verdict.flagged for turn in halves)},")
        print(f"    after two harmless turns {share(turn.verdict.flagged for turn in after_talk)}")


if __name__ == "__main__":
    main()
