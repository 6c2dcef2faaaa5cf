"""Texts to measure on: a file of real ones where there is one, or synthetic ones with a like mix of lengths.

A workload file has one JSON object a line: `text`, and `ntok_uncapped`, its length in WordPiece tokens with
[CLS] and [SEP].
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

SEED = 20261121
# Whole entries of BERT's uncased vocabulary, so that a text's length in tokens is known without a tokenizer.
_WORDS = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had
an they which one you were all her she there would their we him been has when who will no more if
out so up said what its about than into them can only other time new some could these two may first
then do any like my now over such our man me even most made after also did many before must through
years where much your way well down should because each just those people how too little state good
very make world still see own work men day get here old life both between being under three never
know same last another while us off might great go come since against right came take used himself
few house use place during without again home around small however found part school every don
general does got united left number war until always away something fact water less public put think
almost hand enough far took head yet better set told nothing night end why didn find going look
asked later knew point next program city business give group toward young days let room side social
given present several order national possible rather second face per among form important often
things looked early white case large big need four within felt along children saw best church ever
least power development light thing seemed family interest want members mind country area others
done turned although open service certain kind problem began different door thus help sense means
whole matter letter friend music garden river table paper coffee train street morning
"""
WORDS = tuple(_WORDS.split())


@dataclass(frozen=True)
class Text:
    text: str
    tokens: int  # with [CLS] and [SEP], not cut


def of_length(tokens: int, rng: random.Random) -> Text:
    """A text of exactly so many tokens (at least 4), a full stop at its end."""
    words = [rng.choice(WORDS) for _ in range(tokens - 3)]
    return Text(" ".join(words).capitalize() + ".", tokens)


def synthetic(count: int, seed: int = SEED) -> list[Text]:
    """Six texts in ten of 5-30 tokens, three of 31-119, nearly one of 120-511, the rest longer.

    Within these ranges short texts are likelier: lengths are even on a logarithmic scale.
    """
    rng = random.Random(seed)
    bins = ((0.60, 5, 30), (0.30, 31, 119), (0.09, 120, 511), (0.01, 512, 1200))
    drawn = rng.choices(bins, weights=[share for share, _, _ in bins], k=count)
    return [
        of_length(round(math.exp(rng.uniform(math.log(low), math.log(high)))), rng) for _, low, high in drawn
    ]


def load(path: Path | None, count: int) -> list[Text]:
    """The first `count` texts of a workload file, or synthetic ones."""
    if path is None:
        return synthetic(count)
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    if len(rows) < count:
        raise SystemExit(f"{path} has {len(rows)} texts, fewer than {count}")
    return [Text(row["text"], row["ntok_uncapped"]) for row in rows]


def name(path: Path | None) -> str:
    return f"synthetic, seed {SEED}" if path is None else path.name


def first_of_length(texts: list[Text], tokens: int) -> Text:
    """A text of exactly so many tokens: the first there is, or a synthetic one."""
    return next((t for t in texts if t.tokens == tokens), None) or of_length(tokens, random.Random(SEED))
