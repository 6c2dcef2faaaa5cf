"""The rules that undo disguises in ASCII: how many texts they change, which words come back, what they cost.

    python benchmarks/text_rules.py ../shared/data/{train,written,annotated}/*.jsonl.gz

Needs a package built with SAFETYCLF_TESTING. Prints counts, never a text.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import safetyclf
from safetyclf import _modelfile
from safetyclf._native_testing import Tokenizer, known_rules
from unknown_tokens import texts_of

BENIGN = (
    "wikitext2_part", "nq_open", "medquad", "wiki_talk_clean", "self_instruct_human", "cyberseceval_instruct",
)  # fmt: skip
WORDS = 4000
ROUNDS = 5
DIGITS = dict(zip("aeiost", "431057", strict=True))
SIGNS = dict(zip("aios", "@!0$", strict=True))


def replaced(table: dict[str, str]) -> Callable[[str, random.Random], str]:
    return lambda word, rng: "".join(table.get(letter, letter) for letter in word)


def one_digit(word: str, rng: random.Random) -> str:
    places = [i for i, letter in enumerate(word) if letter in DIGITS]
    if not places:
        return word
    place = rng.choice(places)
    return word[:place] + DIGITS[word[place]] + word[place + 1 :]


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "letters set apart": lambda word, rng: " ".join(word),
    "one digit": one_digit,
    "a e i o as digits": replaced({letter: DIGITS[letter] for letter in "aeio"}),
    "a i o s as signs": replaced(SIGNS),
    "a e i o s t as digits": replaced(DIGITS),
}


def come_back(tokenizer: Tokenizer, words: list[str]) -> None:
    for name, disguise in DISGUISES.items():
        rng = random.Random(1)
        pairs = [(word, disguise(word, rng)) for word in words]
        pairs = [(word, changed) for word, changed in pairs if word != changed]
        back = sum(tokenizer.normalize(changed.encode())[0] == word.encode() for word, changed in pairs)
        print(f"  {name}: {back} of {len(pairs)} ({back / len(pairs):.1%})")


def speed(tokens: bytes, files: list[Path]) -> None:
    data = [text.encode("utf-8", "replace") for text in texts_of(files)]
    size = sum(map(len, data))
    tokenizers = {
        count: Tokenizer(tokens, rules=known_rules()[:count]) for count in (0, 4, len(known_rules()))
    }
    best = dict.fromkeys(tokenizers, float("inf"))
    for _ in range(ROUNDS):
        for count, tokenizer in tokenizers.items():
            begin = time.perf_counter()
            tokenizer.encode(data)
            best[count] = min(best[count], time.perf_counter() - begin)
    rates = ", ".join(f"{size / seconds / 1e6:.0f} with {count} rules" for count, seconds in best.items())
    print(f"  MB/s, best of {ROUNDS} in turns: {rates}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    files = parser.parse_args().files
    model = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
    tokens = bytes(_modelfile.read(model).tensors["tokenizer.vocabulary"])
    benign = [path for path in files if path.name.split(".")[0] in BENIGN]
    for name in ("join_spelled/1", "fold_leet/1"):
        rule = Tokenizer(tokens, rules=[name])
        for kind, paths in (("all", files), ("benign sources", benign)):
            data = [text.encode("utf-8", "replace") for text in texts_of(paths)]
            changed = sum(rule.normalize(text)[0] != text for text in data)
            print(f"{name} changes {changed} of {len(data)}, {kind}")

    known = set(tokens.decode().split("\n"))
    rng = random.Random(1)
    whole = sorted(word for word in known if re.fullmatch("[a-z]{4,12}", word))
    seen = {word for text in texts_of(benign) for word in re.findall(r"\b[a-z]{6,12}\b", text)}
    foreign = sorted(seen - known)
    every = Tokenizer(tokens, rules=known_rules())
    for kind, words in (("in the vocabulary", whole), ("not in it", foreign)):
        print(f"words {kind} that come back:")
        come_back(every, rng.sample(words, min(WORDS, len(words))))
    for path in benign:
        if path.name.startswith("wiki"):
            print(path.name)
            speed(tokens, [path])


if __name__ == "__main__":
    main()
