#!/usr/bin/env python3
"""Makes traffic that is mostly benign out of a workload: 19 benign texts for each harmful one.

    benign.py --texts workload.jsonl --data ../shared/data --output FILE

What a text is, its annotation or else its own data set says, never a model. Harmful: some label is 1. Benign:
all labels that are known are 0, harassment and hate among them. The rest, unknown, is left out. Both have the
workload's mix of lengths, and every 20 texts from the beginning on hold exactly one that is harmful.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import corpora

Row = dict[str, Any]
PER_HARMFUL = 19
LENGTHS = (30, 119, 511)  # the last tokens of all bins but one


def labels(folder: Path) -> dict[str, dict[str, int]]:
    """The labels of each text; 1 wins between data sets, an annotation over all of them."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted((folder / "train").glob("*.jsonl.gz")):
        for row in rows(path):
            known = found.setdefault(row["text"], {})
            for name, value in row["labels"].items():
                known[name] = max(value, known.get(name, 0))
    for path in sorted((folder / "annotated").glob("*.jsonl.gz")):
        found |= {row["text"]: row["labels"] for row in rows(path)}
    return found


def rows(path: Path) -> list[Row]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def length_bin(row: Row) -> int:
    return sum(row["ntok_uncapped"] > last for last in LENGTHS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, required=True, help="workload file")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and annotated/")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    workload, known = rows(options.texts), labels(options.data)
    shares = {b: n / len(workload) for b, n in Counter(map(length_bin, workload)).items()}
    rng = random.Random(corpora.SEED)
    rng.shuffle(workload)
    benign: dict[int, list[Row]] = {b: [] for b in shares}
    harmful: dict[int, list[Row]] = {b: [] for b in shares}
    for row in workload:
        of_text = known.get(row["text"], {})
        if any(of_text.values()):
            harmful[length_bin(row)].append(row)
        elif {"harassment", "hate"} <= of_text.keys():
            benign[length_bin(row)].append(row)

    blocks = int(
        min(min(len(benign[b]) / PER_HARMFUL, len(harmful[b])) / share for b, share in shares.items())
    )
    few = drawn(harmful, shares, blocks)
    many = drawn(benign, shares, len(few) * PER_HARMFUL)
    rng.shuffle(few)
    rng.shuffle(many)
    with options.output.open("w", encoding="utf-8") as out:
        for i, one in enumerate(few):
            block = many[i * PER_HARMFUL : (i + 1) * PER_HARMFUL]
            block.insert(rng.randrange(PER_HARMFUL + 1), one)
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in block)
    print(f"{len(few)} harmful texts and {len(few) * PER_HARMFUL} benign ones")


def drawn(pool: dict[int, list[Row]], shares: dict[int, float], count: int) -> list[Row]:
    """So many texts with these shares of lengths; what rounding loses is made up in the commonest length."""
    wanted = {b: int(share * count) for b, share in shares.items()}
    wanted[max(shares, key=lambda b: shares[b])] += count - sum(wanted.values())
    return [row for b, n in wanted.items() for row in pool[b][:n]]


main()
