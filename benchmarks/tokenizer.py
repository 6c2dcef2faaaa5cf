#!/usr/bin/env python3
"""The tokenizer alone, one thread, against Hugging Face `tokenizers` and `flash-tokenizer`.

    tokenizer.py [--texts workload.jsonl] [--flash-python PYTHON] [--count N] [--rounds N]

Each contestant runs in a process of its own, in turns; time is that process's CPU time. Needs a package built
with SAFETYCLF_TESTING. Prints a table, which stands in docs/text.md, and never a text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

import corpora

OURS, HUGGING_FACE, FLASH = "safetyclf", "tokenizers", "flash-tokenizer"
CONTESTANTS = (
    OURS, "safetyclf, as lists", "safetyclf, six rules", HUGGING_FACE, "tokenizers, fast", FLASH,
)  # fmt: skip
SECONDS = 0.2  # CPU time of a measurement, at least; one pass over all texts, at least
UNLIMITED = 2**31  # one window for every text: the others have no windows

Ids = list[list[int]]
Contestant = tuple[Callable[[], Any], Callable[[Any], Ids]]  # what is measured; its result as ids


def vocabulary() -> bytes:
    import safetyclf
    from safetyclf import _modelfile

    model = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
    return bytes(_modelfile.read(model).tensors["tokenizer.vocabulary"])


def ours(name: str, tokens: bytes, texts: list[str]) -> Contestant:
    from safetyclf._native_testing import Tokenizer, known_rules

    tokenizer = Tokenizer(tokens, rules=known_rules() if name.endswith("rules") else [], window=UNLIMITED)

    def lists(result: Any) -> Ids:
        ids, rows = result[0].tolist(), result[1].tolist()
        return [ids[begin:end] for begin, end in itertools.pairwise(rows)]

    if name.endswith("lists"):  # from and to what the others work with
        return lambda: lists(tokenizer.encode([text.encode() for text in texts], False)), list
    data = [text.encode() for text in texts]
    return lambda: tokenizer.encode(data, False), lists


def hugging_face(name: str, tokens: bytes, texts: list[str]) -> Contestant:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: number for number, token in enumerate(tokens.decode().rstrip("\n").split("\n"))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    encode = tokenizer.encode_batch_fast if name.endswith("fast") else tokenizer.encode_batch
    return lambda: encode(texts), lambda result: [encoding.ids for encoding in result]


def flash(_: str, tokens: bytes, texts: list[str]) -> Contestant:
    from flash_tokenizer._core import FlashBertTokenizer

    with NamedTemporaryFile() as file:
        file.write(tokens)
        file.flush()
        tokenizer = FlashBertTokenizer(file.name, True, UNLIMITED - 1, True)
    return lambda: tokenizer.batch_encode(texts, "do_not_pad", UNLIMITED - 1, False), list


def work() -> None:
    """A contestant's process: answers each line of input with CPU seconds for one pass over all texts."""
    setup = json.loads(sys.stdin.readline())
    make = {OURS: ours, HUGGING_FACE: hugging_face, FLASH: flash}[setup["name"].split(",")[0]]
    run, to_ids = make(setup["name"], setup["vocabulary"].encode(), setup["texts"])
    print(json.dumps(to_ids(run())), flush=True)
    for _ in sys.stdin:
        passes, begin = 0, time.process_time()
        while passes == 0 or time.process_time() - begin < SECONDS:
            run()
            passes += 1
        print((time.process_time() - begin) / passes, flush=True)


def start(name: str, python: str, setup: dict[str, Any]) -> tuple[subprocess.Popen[str], Ids] | None:
    one_thread = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [python, __file__, "--work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
        text=True,
        env={**os.environ, **one_thread},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({**setup, "name": name}) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        print(f"{name} left out: it did not start; BENCH_VERBOSE=1 shows why")
        return None
    return process, json.loads(line)


def ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, help="workload file (default: synthetic texts)")
    parser.add_argument("--flash-python", default=sys.executable, help="interpreter that has flash-tokenizer")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    texts = [entry.text for entry in corpora.load(options.texts, options.count)]
    setup = {"texts": texts, "vocabulary": vocabulary().decode()}
    megabytes = sum(len(text.encode()) for text in texts) / 1e6

    processes: dict[str, subprocess.Popen[str]] = {}
    ids: dict[str, Ids] = {}
    for name in CONTESTANTS:
        started = start(name, options.flash_python if name == FLASH else sys.executable, setup)
        if started is not None:
            processes[name], ids[name] = started
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(options.rounds):
        for name, process in processes.items():
            seconds[name].append(ask(process))
    for process in processes.values():
        process.communicate()

    rivals = [name for name in (HUGGING_FACE, FLASH) if name in seconds]
    print(f"{len(texts)} texts, {megabytes:.2f} MB, {corpora.name(options.texts)}, {options.rounds} rounds")
    columns = [
        "",
        "MB/s by CPU time, median (range)",
        *(f"times as fast as {name}" for name in rivals),
        "ids as tokenizers",
    ]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for name, times in seconds.items():
        ratios = [[r / t for r, t in zip(seconds[rival], times, strict=True)] for rival in rivals]
        equal = sum(a == b for a, b in zip(ids[name], ids.get(HUGGING_FACE, []), strict=False)) / len(texts)
        cells = [name, spread([megabytes / t for t in times], 1), *(spread(ratio, 1) for ratio in ratios)]
        print("| " + " | ".join([*cells, f"{equal:.2%}"]) + " |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main()
