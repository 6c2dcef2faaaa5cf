"""What one more chunk of a growing text costs, by the length of the text before it.

    python benchmarks/text_stream.py

Chunks of 20 tokens of everyday English, one thread, its CPU time: the mean of the chunks that follow a text
of that length, median and range of the rounds; the tokens that the encoder ran on; and what `classify` takes
for the text before.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetyclf import Classifier
from safetyclf._text_stream import CheckEvery

MESSAGES = Path(__file__).parents[1] / "examples" / "messages.txt"
CHUNK = 20
LENGTHS = (200, 2_000, 20_000)
AFTER = 26  # chunks, for as many tokens as a window has
ROUNDS = 5


class Counting:
    """An engine that counts the tokens it runs on."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.tokens = engine, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def window_probabilities(self, ids: list[int], *rest: Any) -> Any:
        self.tokens += len(ids)
        return self.engine.window_probabilities(ids, *rest)


def chunks_of(classifier: Classifier, tokens: int) -> list[str]:
    """Everyday sentences in parts of CHUNK tokens."""
    rng = random.Random(1)
    sentences = [
        line for line in MESSAGES.read_text("utf-8").splitlines() if line.isascii() and len(line) < 200
    ]
    chunks: list[str] = []
    while len(chunks) * CHUNK < tokens:
        part = " ".join(rng.sample(sentences, len(sentences))) + " "
        begins = classifier._engine.tokenize(part)[1][1:-1:CHUNK]
        chunks += [part[begin:end] for begin, end in pairwise([*begins, len(part)])]
    return chunks


def cpu_ms(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - begin)


def main() -> None:
    classifier = Classifier(threads=1, policy=dict.fromkeys(Classifier().categories, (None, None)))
    chunks = chunks_of(classifier, LENGTHS[-1] + CHUNK * AFTER)
    texts = {length: "".join(chunks[: length // CHUNK]) for length in LENGTHS}
    whole = {
        length: min(cpu_ms(partial(classifier.classify, text)) for _ in range(2))
        for length, text in texts.items()
    }
    settings: tuple[CheckEvery, ...] = (1, 80, "sentence")
    for check_every in settings:
        print(f"check_every={check_every!r}")
        for length, text in texts.items():
            means, slowest, tokens = [], [], 0
            for _ in range(ROUNDS):
                stream = classifier.open_text(check_every=check_every)
                stream.feed(text)
                stream._scorer._engine = counting = Counting(stream._scorer._engine)
                begin = length // CHUNK
                times = [cpu_ms(partial(stream.feed, chunk)) for chunk in chunks[begin : begin + AFTER]]
                means.append(statistics.mean(times))
                slowest.append(max(times))
                tokens = counting.tokens // AFTER
            print(
                f"  {length:6} tokens: {statistics.median(means):.2f} ms a chunk ({min(means):.2f} to"
                f" {max(means):.2f}), slowest {statistics.median(slowest):.2f} ms, {tokens} tokens encoded;"
                f" classify {whole[length]:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
