#!/usr/bin/env python3
"""What term lists cost: bulk throughput with and without them, time by byte, making them ready, memory.

    term_lists.py [--texts FILE] [--model FILE] [--terms N] [--wildcards SHARE] [--count N] [--rounds N]

The terms are made of syllables with a fixed seed, as long and as alike as words are. Scoring at full depth
and looking for terms take turns in one process, on one thread, by its CPU time. docs: docs/term-lists.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import _machine
import corpora
from safetyclf import Classifier
from safetyclf.policy.document import PolicyDocument, TermList
from safetyclf.policy.terms import TermLists

SYLLABLES = [
    onset + vowel + coda
    for onset in (
        "b",
        "br",
        "c",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
        "p",
        "r",
        "s",
        "st",
        "t",
        "w",
    )
    for vowel in "aeiou"
    for coda in ("", "", "n", "r", "s", "t", "ck", "mp")
]


def made_terms(count: int, wildcards: float, rng: random.Random) -> tuple[str, ...]:
    """`count` different terms of about ten letters; of them the share `wildcards` has a `*` or a `?`."""
    terms: dict[str, None] = {}
    while len(terms) < count:
        term = "".join(rng.choices(SYLLABLES, k=rng.randint(3, 4)))
        if rng.random() < wildcards:
            place = rng.randint(6, max(6, len(term) - 1))
            term = rng.choice((term + "*", term[:place] + "?" + term[place + 1 :], term[:place] + "*"))
        terms[term] = None
    return tuple(terms)


def policy_of(terms: tuple[str, ...]) -> PolicyDocument:
    lists = {"made": TermList("made", "Made terms", "block", "word", terms)}
    return PolicyDocument("made", "1.0.0", "", "", {}, {}, lists, None, "0" * 64)


def seconds(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def spread(values: list[float], digits: int) -> str:
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, help="workload file (default: synthetic texts)")
    parser.add_argument("--model", help="model file (default: the one inside the package)")
    parser.add_argument("--terms", type=int, default=50_000)
    parser.add_argument("--wildcards", type=float, default=0.1, help="share of terms with wildcards")
    parser.add_argument("--count", type=int, default=1000, help="texts")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    classifier = Classifier(options.model, threads=1)
    texts = [entry.text for entry in corpora.load(options.texts, options.count)]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    policy = policy_of(made_terms(options.terms, options.wildcards, random.Random(corpora.SEED)))

    classifier.scores(texts[:100])
    builds = [seconds(lambda: TermLists(policy, classifier._engine)) for _ in range(3)]
    before = _machine.memory_mb("VmRSS")
    lists = TermLists(policy, classifier._engine)
    memory = _machine.memory_mb("VmRSS") - before

    rounds = [
        (seconds(lambda: classifier.scores(texts)), seconds(lambda: lists.matches(texts)))
        for _ in range(options.rounds)
    ]
    found = sum(map(len, lists.matches(texts)))
    cpu = _machine.cpu()
    print(_machine.command())
    print(
        f"{cpu['model']}, family {cpu['family']}, model {cpu['number']}, {classifier.info()['isa']}, 1 thread"
    )
    print(f"{classifier.model_id}; CPU time, {options.rounds} rounds")
    mean = statistics.mean(map(len, policy.lists["made"].terms))
    print(f"{len(texts)} texts of {corpora.name(options.texts)}, {size} bytes; {found} matches")
    print(f"{options.terms} terms, of {mean:.1f} characters: ready in {spread(builds, 3)} s, {memory:.1f} MB")
    print(f"scoring {spread([len(texts) / score for score, _ in rounds], 0)} texts/s")
    shares = [100 * look / score for score, look in rounds]
    rate = spread([look / size * 1e9 for _, look in rounds], 1)
    print(f"looking for terms {rate} ns/byte, {spread(shares, 2)} % of scoring")


if __name__ == "__main__":
    main()
