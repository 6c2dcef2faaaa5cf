#!/usr/bin/env python3
"""safetyclf on a GPU against PyTorch and ONNX Runtime with the same encoder, on the same card in one run.

    gpu.py [--only speed|bits] [--contestants NAME,...] [--texts mixed,short,long] [--batches 1,16,...] ...
    gpu.py --smoke      all of it on the CPU, tiny: that the program works, no figures

Needs the extra gpu-bench. Prints one table, and what else was found; the JSON has every round.
docs: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import _depth
import _gpu_onnx
import _gpu_rivals
import _gpu_torch
import _machine
import _results
import corpora
import numpy as np
from _drive import percentile
from _gpu_report import card, table, versions

OURS = ("safetyclf", "safetyclf-adaptive")
# Lengths in tokens; the mixed ones are those of corpora.synthetic.
LENGTHS = {"mixed": None, "short": (5, 30), "long": (120, 511)}
BATCHES = (65_536, 4096, 256, 16, 1)
SECONDS = 0.15  # of one measurement at least, unless a single call takes longer
CELL_SECONDS = 40.0  # after which a cell gets no further round
ALIKE = 0.03  # mean difference of probabilities, above which a rival does not compute the same


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("speed", "bits"))
    parser.add_argument("--model", help="model file (default: the one inside the package)")
    parser.add_argument("--device", help='default: "cuda", in a smoke test "cpu"')
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--texts", default=",".join(LENGTHS))
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=100_000, help="texts whose bits are compared")
    parser.add_argument("--limit", type=float, default=360, help="seconds after which no new cell begins")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/gpu-<card>.json")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(argv)
    options.device = options.device or ("cpu" if options.smoke else "cuda")
    if options.smoke:
        options.texts, options.batches, options.rounds, options.count = "short", "2,1", 2, 8
    return options


@dataclass
class Contestant:
    """What is timed: `score` from strings; `compute` from what `tokenize` returns, where that can be had."""

    score: Callable[[Sequence[str]], Any]
    tokenize: Callable[[Sequence[str]], Any] | None = None
    compute: Callable[[Any], Any] | None = None
    only_alone: bool = False  # for one text at a time
    about: dict[str, Any] = field(default_factory=dict)


class Field:
    """The contestants that this machine has, and why it has no others."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        from safetyclf import Classifier, _modelfile
        from safetyclf._engine import BUNDLED

        self.options, self.folder = options, folder
        self.file = _modelfile.read(options.model or BUNDLED)
        self.encoder, weight, bias = _gpu_rivals.folded(self.file)
        self.heads = weight, bias
        self.tokenizer = _gpu_rivals.tokenizer_of(self.encoder)
        self.there: dict[str, Contestant] = {}
        self.left_out: dict[str, str] = {}
        self.plain = Classifier(options.model)
        self.sample = make("short", 4) if options.smoke else make("mixed", 4096)
        for name in options.contestants.split(","):
            before = card(options.device).get("memory.used")
            try:
                self.there[name] = self._made(name)
            except Exception as error:  # whatever a runtime that is not there or not whole may raise
                if name in OURS:
                    raise
                self.left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                continue
            self.there[name].about["memory_mb"] = _grown(before, card(options.device).get("memory.used"))

    def _made(self, name: str) -> Contestant:
        if name in OURS:
            from safetyclf import Classifier

            effort: Any = "adaptive" if name.endswith("adaptive") else "full"
            ours = Classifier(self.options.model, device=self.options.device, effort=effort)
            ours.scores(self.sample)
            return Contestant(ours.scores, about={"model": ours.model_id})
        if self.options.smoke and name in ("torch-compile", "torch-graphs"):
            raise RuntimeError("not in a smoke test")
        kind = CONTESTANTS[name]
        assert kind is not None
        more = [self.folder] if issubclass(kind, _gpu_onnx.Onnx) else []
        rival = kind(self.tokenizer, self.encoder, self.heads, self.options.device, *more)
        alone = kind is _gpu_torch.TorchGraphs
        about = self._warmed(rival, alone)
        return Contestant(rival.score, rival.tokenize, lambda tokens: rival.compute([tokens]), alone, about)

    def _warmed(self, rival: _gpu_rivals.Rival, alone: bool) -> dict[str, Any]:
        """Checks that a rival computes what we do, and gives it the budget that is fastest on this card."""
        whole = self.encoder.architecture.positions - 1  # of longer texts rivals see the beginning alone
        sample = self.sample[:256]
        texts = [t for t, n in zip(sample, rival.tokenize(sample).lengths, strict=True) if n < whole]
        texts = texts[:16] if alone else texts
        calls = [[text] for text in texts] if alone else [texts]
        logits = np.concatenate([rival.score(call) for call in calls])
        difference = float(np.abs(self._probabilities(logits) - self.plain.scores(texts)).mean())
        if not difference < ALIKE:
            raise RuntimeError(f"its probabilities differ from ours by {difference:.3g} in the mean")
        about: dict[str, Any] = {"mean_difference": round(difference, 5)}
        if not alone:
            tokens, seconds = rival.tokenize(self.sample), {}
            for budget in rival.budgets:
                rival.budget = budget
                runs = [timed(lambda: rival.compute([tokens])) for _ in range(3)]
                seconds[budget] = min(runs[1:])
            rival.budget = min(seconds, key=lambda budget: seconds[budget])
            about["budget"] = rival.budget
        return about

    def _probabilities(self, logits: Any) -> Any:
        """Through the curves of the model file."""
        tensors = self.file.tensors
        offsets = tensors["calibration.offsets"]
        curves = [
            (tensors["calibration.logit"][a:b], tensors["calibration.probability"][a:b])
            for a, b in pairwise(offsets)
        ]
        return np.stack([np.interp(column, *c) for column, c in zip(logits.T, curves, strict=True)], axis=1)


CONTESTANTS: dict[str, type[_gpu_rivals.Rival] | None] = {
    **dict.fromkeys(OURS),
    "torch": _gpu_torch.Torch,
    "torch-compile": _gpu_torch.TorchCompiled,
    "torch-packed": _gpu_torch.TorchPacked,
    "torch-graphs": _gpu_torch.TorchGraphs,
    "onnxruntime-cuda": _gpu_onnx.Onnx,
    "onnxruntime-tensorrt": _gpu_onnx.TensorRt,
}


def _grown(before: str | None, after: str | None) -> int | None:
    return int(after) - int(before) if before and after else None


def make(kind: str, count: int) -> list[str]:
    """Seeded synthetic texts of a kind."""
    bounds = LENGTHS[kind]
    if bounds is None:
        return [text.text for text in corpora.synthetic(count)]
    rng = random.Random(corpora.SEED)
    low, high = map(math.log, bounds)
    return [corpora.of_length(round(math.exp(rng.uniform(low, high))), rng).text for _ in range(count)]


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@dataclass
class Timing:
    """One contestant in one cell: seconds of each call, by round."""

    work: Callable[[Any], object]
    inputs: list[Any]
    rounds: list[list[float]] = field(default_factory=list)

    def warm(self, seconds: float) -> None:
        """Decides how many calls a round has, to take that long."""
        for one in self.inputs:
            self.work(one)
        once = timed(lambda: self.work(self.inputs[0]))
        self._calls = max(1, min(500, math.ceil(seconds / max(once, 1e-6))))

    def round(self) -> None:
        turns = islice(cycle(self.inputs), self._calls)
        self.rounds.append([timed(lambda: self.work(one)) for one in turns])  # noqa: B023

    def figures(self, texts: int, tokens: float) -> dict[str, Any]:
        means = [statistics.fmean(calls) for calls in self.rounds]
        calls = [seconds for one in self.rounds for seconds in one]
        found = {
            "texts_per_s": round(texts / statistics.median(means), 1),
            "range": [round(texts / max(means), 1), round(texts / min(means), 1)],
            "tokens_per_s": round(tokens / statistics.median(means)),
            "seconds": [float(f"{mean:.4g}") for mean in means],
            "calls": len(calls),
        }
        if texts == 1:
            found["p50_us"], found["p99_us"] = (round(percentile(calls, p) * 1e6, 1) for p in (0.5, 0.99))
        return found


def cell(field_: Field, kind: str, batch: int) -> dict[str, dict[str, Any]]:
    """All contestants in turn on batches of one kind of texts: from strings, and from tokens."""
    smoke = field_.options.smoke
    texts = make(kind, max(batch, 2 if smoke else 32))
    batches = [texts[i : i + batch] for i in range(0, len(texts), batch)]
    tokens = sum(len(encoding.ids) for encoding in field_.tokenizer.encode_batch_fast(texts)) / len(batches)
    timings: dict[tuple[str, str], Timing] = {}
    for name, contestant in field_.there.items():
        if contestant.only_alone and batch > 1:
            continue
        timings[name, "from strings"] = Timing(contestant.score, batches)
        if contestant.tokenize is not None and contestant.compute is not None:
            timings[name, "from tokens"] = Timing(
                contestant.compute, [contestant.tokenize(one) for one in batches]
            )
    begin = time.monotonic()
    for timing in timings.values():
        timing.warm(0 if smoke else SECONDS)
    for _ in range(field_.options.rounds):
        for timing in timings.values():
            timing.round()
        if time.monotonic() - begin > CELL_SECONDS:
            break
    found: dict[str, dict[str, Any]] = {}
    for (name, way), timing in timings.items():
        found.setdefault(name, {})[way] = timing.figures(batch, tokens)
    rivals = {n: f["from strings"]["texts_per_s"] for n, f in found.items() if n not in OURS}
    for name in OURS:
        if name in found and rivals:
            best = max(rivals, key=lambda rival: rivals[rival])
            found[name]["best_rival"] = best
            found[name]["faster_by"] = round(found[name]["from strings"]["texts_per_s"] / rivals[best], 2)
    return found


def speed(field_: Field, deadline: float) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    wanted = [
        (kind, int(batch))
        for kind in field_.options.texts.split(",")
        for batch in field_.options.batches.split(",")
    ]
    not_run = []
    for kind, batch in wanted:
        if time.monotonic() > deadline:
            not_run.append(f"{kind}, {batch}")
            continue
        print(f"{kind}, batches of {batch}", file=sys.stderr, flush=True)
        cells[f"{kind}, {batch}"] = cell(field_, kind, batch)
    return {"cells": cells, "not_run": not_run}


def bits(field_: Field) -> dict[str, Any]:
    """Scores on the device against those of the CPU, at full and at adaptive depth."""
    from safetyclf import Classifier

    texts = make("mixed", field_.options.count)
    found: dict[str, Any] = {"texts": len(texts)}
    for effort in ("full", "adaptive"):
        cpu = Classifier(field_.options.model, effort=effort)
        gpu = Classifier(field_.options.model, effort=effort, device=field_.options.device)
        (ours, depths), (theirs, their_depths) = (c.scores(texts, depths=True) for c in (cpu, gpu))
        flipped = _depth.decisions(cpu, ours) != _depth.decisions(cpu, theirs)
        found[effort] = {
            "texts_with_different_bits": int((ours.view(np.uint32) != theirs.view(np.uint32)).any(1).sum()),
            "largest_difference": float(np.abs(ours - theirs).max()),
            "flipped_decisions": int(flipped.sum()),
            "different_depths": int((depths != their_depths).sum()),
        }
    return found


def main(argv: Sequence[str] | None = None) -> int:
    begin, options = time.monotonic(), arguments(argv)
    before = card(options.device)
    if not before and not options.smoke:
        raise SystemExit("no GPU: nvidia-smi does not answer; --smoke tries the program on the CPU")
    with tempfile.TemporaryDirectory() as folder:
        field_ = Field(options, Path(folder))
        found: dict[str, Any] = {"left_out": field_.left_out}
        if options.only != "bits":
            found["speed"] = speed(field_, begin + options.limit)
            print(table(found["speed"]["cells"]), flush=True)
        if options.only != "speed":
            found["bits"] = bits(field_)
    found["contestants"] = {name: contestant.about for name, contestant in field_.there.items()}
    found["card"] = {"before": before, "after": card(options.device)}
    found["versions"], found["rounds"] = versions(), options.rounds
    found["seconds"] = round(time.monotonic() - begin)
    for name, why in field_.left_out.items():
        print(f"left out: {name}: {why}")
    print(json.dumps({k: v for k, v in found.items() if k not in ("speed", "left_out")}, indent=1))
    slug = re.sub(r"[^a-z0-9]+", "-", before.get("name", "none").lower())
    path = options.results or (None if options.smoke else _results.FOLDER / f"gpu-{slug}.json")
    if path is not None:
        _results.store(path, "gpu", "smoke" if options.smoke else _machine.command(), found)
    different = [e for e in ("full", "adaptive") if found.get("bits", {}).get(e, {}).get("flipped_decisions")]
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
