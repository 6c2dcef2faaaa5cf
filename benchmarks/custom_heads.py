#!/usr/bin/env python3
"""What custom categories are worth: heads from 10, 25 and 50 examples a side on categories with labels.

    custom_heads.py --data DATA --untuned FILE --cache DIR [--draws N] [--sizes N ...] [--l2 X] [--split NAME]

Examples are drawn from training rows that are not in the background, negatives from the sources of the
positives; average precision is on the test rows. Topics, which no encoder was fine-tuned to tell: whether a
text is from a source. And each trained category of the model in the package as if it were custom. Both with
the model in the package, after the layer that custom categories read and after the last; and with an encoder
that was not fine-tuned (FILE, by `safetyclf convert`). docs: docs/custom-categories.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetyclf
from safetyclf import _modelfile
from safetyclf._native import Engine
from safetyclf.evaluate.bootstrap import Ranking, generator, percentile_interval, resample
from safetyclf.evaluate.metrics import average_precision
from safetyclf.policy import custom_heads
from safetyclf.policy.background import Pooled, reading_depth
from safetyclf.train import load_config
from safetyclf.train.data import SPLIT_NAMES, TRAIN, UNKNOWN, Dataset, read_dataset
from safetyclf.train.features import Features, compute_features

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import make_background  # noqa: E402

BUNDLED = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
POOL = 150  # training rows of each label and category that examples are drawn from
TEST_ROWS = 6000  # of a category, drawn from its test rows
RESAMPLES = 200
TOPICS = {
    "medical questions": "medquad",
    "search questions": "nq_open",
    "counselling": "counsel_chat",
    "requests for code": "cyberseceval_instruct",
    "encyclopaedia": "wikitext2_part",
    "role play": "gpteacher_roleplay",
}
Rows = npt.NDArray[np.int64]
Draw = Callable[[int, np.random.Generator], tuple[Rows, Rows]]


@dataclass(frozen=True)
class Vectors:
    """Features of some rows of the data set."""

    rows: Rows
    features: Features

    def at(self, depth: int, rows: Rows | None = None) -> Pooled:
        everything = Pooled(self.features.pooled[depth].astype(np.float32), self.features.offsets)
        return everything if rows is None else everything.take(np.searchsorted(self.rows, rows))


@dataclass(frozen=True)
class Encoder:
    bank: Vectors
    pool: Vectors
    test: Vectors

    @classmethod
    def of(cls, path: Path, dataset: Dataset, parts: Sequence[Rows], cache: Path) -> Encoder:
        engine = Engine(str(path).encode(), threads=1, max_text_bytes=1 << 20, isa="")
        weights = _modelfile.read(path).weights_sha256()

        def vectors(rows: Rows) -> Vectors:
            return Vectors(rows, compute_features(engine, weights, dataset.texts_of(rows), cache, progress))

        return cls(*(vectors(np.sort(rows)) for rows in parts))


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def matched(dataset: Dataset, labels: npt.NDArray[np.int8], pool: Rows) -> Draw:
    """Positives, and for each a negative of its source where there is one."""

    def draw(size: int, random: np.random.Generator) -> tuple[Rows, Rows]:
        positive = random.choice(pool[labels[pool] == 1], size, replace=False)
        left = set(pool[labels[pool] == 0].tolist())
        negative = []
        for row in positive.tolist():
            near = sorted(i for i in left if dataset.source[i] == dataset.source[row]) or sorted(left)
            negative.append(int(random.choice(near)))
            left.discard(negative[-1])
        return positive, np.array(negative)

    return draw


def one_source(dataset: Dataset, source: int, pool: Rows) -> Draw:
    """Rows of a source against rows of others."""

    def draw(size: int, random: np.random.Generator) -> tuple[Rows, Rows]:
        inside = dataset.source[pool] == source
        return random.choice(pool[inside], size, replace=False), random.choice(
            pool[~inside], size, replace=False
        )

    return draw


def rows_of(labels: npt.NDArray[np.int8]) -> Rows:
    """Test rows with a label, at most TEST_ROWS."""
    known = np.flatnonzero(labels != UNKNOWN)
    return np.sort(np.random.default_rng(1).choice(known, min(TEST_ROWS, len(known)), replace=False))


def measure(
    name: str,
    encoder: Encoder,
    depth: int,
    background: Pooled,
    draw: Draw,
    sizes: Sequence[int],
    draws: int,
    labels: npt.NDArray[np.int8],
) -> list[float]:
    """Prints a cell per size: mean over draws (interval of the test rows; least and most of the draws)."""
    rows = rows_of(labels)
    means, cells, test = [], [], encoder.test.at(depth, encoder.test.rows[rows])
    for size in sizes:
        scores = []
        for i in range(draws):
            positive, negative = draw(size, np.random.default_rng([i, size]))
            head = custom_heads.fit_head(
                encoder.pool.at(depth, positive), encoder.pool.at(depth, negative), background
            )
            scores.append(head.logits(test))
        found = [average_precision(s, labels[rows]) for s in scores]
        random = generator(1, name, str(size))
        replicates = resample(
            labels[rows], [Ranking(s, labels[rows]).order for s in scores], RESAMPLES, random
        )
        low, high = percentile_interval(replicates[::3].mean(axis=0))
        means.append(float(np.mean(found)))
        cells.append(f"{means[-1]:.3f} ({low:.3f} to {high:.3f}; {min(found):.3f} to {max(found):.3f})")
    print(f"| {name} | {int((labels[rows] == 1).sum())} | " + " | ".join(cells), end=" |", flush=True)
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--untuned", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--l2", type=float, default=custom_heads.L2, help="to choose it: on selection rows")
    parser.add_argument("--split", choices=SPLIT_NAMES, default="test")
    arguments = parser.parse_args()
    custom_heads.L2 = arguments.l2  # type: ignore[misc]
    sizes, draws = arguments.sizes, arguments.draws

    config = load_config()
    dataset = read_dataset(arguments.data, config)
    names = [name for name in config.scored if name not in config.derived]
    column = {name: dataset.labels[:, config.scored.index(name)] for name in names}
    topics = {name: dataset.sources.index(source) for name, source in TOPICS.items()}
    bank = make_background.sample(dataset)
    random = np.random.default_rng(1)
    free = dataset.split == TRAIN
    free[bank] = False
    pools: dict[str, Rows] = {}
    for name in names:
        rows = np.flatnonzero(free & (column[name] == 1))
        rows = random.choice(rows, min(POOL, len(rows)), replace=False)
        near = np.flatnonzero(
            free & (column[name] == 0) & np.isin(dataset.source, np.unique(dataset.source[rows]))
        )
        pools[name] = np.sort(
            np.concatenate([rows, random.choice(near, min(POOL, len(near)), replace=False)])
        )
    for name, source in topics.items():
        inside = np.flatnonzero(free & (dataset.source == source))
        harmless = np.flatnonzero(free & (dataset.labels != 1).all(axis=1) & (dataset.source != source))
        pools[name] = np.sort(
            np.concatenate([random.choice(rows, POOL, replace=False) for rows in (inside, harmless)])
        )
    parts = (
        bank,
        np.unique(np.concatenate(list(pools.values()))),
        np.flatnonzero(dataset.split == SPLIT_NAMES.index(arguments.split)),
    )
    encoders = {
        "fine-tuned": Encoder.of(BUNDLED, dataset, parts, arguments.cache),
        "not fine-tuned": Encoder.of(arguments.untuned, dataset, parts, arguments.cache),
    }
    test = np.sort(parts[2])
    last = len(encoders["fine-tuned"].test.features.pooled) - 1
    heads = _modelfile.read(BUNDLED).tensors

    reads = reading_depth(last)
    tables = [("fine-tuned", reads), ("fine-tuned", last), ("not fine-tuned", last)]
    for kind, depth in tables:
        print(f"\n{kind}, after layer {depth}: topics\n")
        encoder, total = encoders[kind], []
        for name, source in topics.items():
            # The bank has rows of the topic, as it may have of a user's; here they would be wrong labels.
            others = encoder.bank.rows[dataset.source[encoder.bank.rows] != source]
            labels = (dataset.source[test] == source).astype(np.int8)
            draw = one_source(dataset, source, pools[name])
            total.append(
                measure(name, encoder, depth, encoder.bank.at(depth, others), draw, sizes, draws, labels)
            )
            print()
        print_mean(total)
    for kind, depth in tables:
        print(f"\n{kind}, after layer {depth}: trained categories as custom ones\n")
        encoder, total = encoders[kind], []
        for name in names:
            labels = column[name][test]
            draw = matched(dataset, column[name], pools[name])
            total.append(measure(name, encoder, depth, encoder.bank.at(depth), draw, sizes, draws, labels))
            if (kind, depth) == tables[0]:
                trained = encoder.test.at(last).logits(
                    heads["heads.weight"][last, config.scored.index(name)], 0.0
                )
                rows = rows_of(labels)
                print(f" {average_precision(trained[rows], labels[rows]):.3f} |", end="")
            print()
        print_mean(total)


def print_mean(rows: list[list[float]]) -> None:
    print("| mean | | " + " | ".join(f"{mean:.3f}" for mean in np.mean(rows, axis=0)) + " |", flush=True)


if __name__ == "__main__":
    main()
