"""What becomes [UNK]: counts over data files and over kinds of characters, with the rules and without.

    python benchmarks/unknown_tokens.py ../shared/data/{train,written,annotated}/*.jsonl.gz

Needs a package built with SAFETYCLF_TESTING. Prints characters and counts, never a text.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import safetyclf
from safetyclf import _modelfile
from safetyclf._native_testing import Tokenizer, known_rules

BATCH = 1024
# Name, first and last code point. Unassigned, private and surrogate code points are left out.
RANGES = (
    ("currency signs", 0x20A0, 0x20CF),
    ("letter-like symbols", 0x2100, 0x214F),
    ("arrows", 0x2190, 0x21FF),
    ("mathematical operators", 0x2200, 0x22FF),
    ("mathematical alphanumerics", 0x1D400, 0x1D7FF),
    ("enclosed alphanumerics", 0x2460, 0x24FF),
    ("box drawing", 0x2500, 0x257F),
    ("block elements", 0x2580, 0x259F),
    ("geometric shapes", 0x25A0, 0x25FF),
    ("miscellaneous symbols", 0x2600, 0x26FF),
    ("dingbats", 0x2700, 0x27BF),
    ("braille", 0x2800, 0x28FF),
    ("Latin-1 and Latin extended", 0x00A1, 0x024F),
    ("IPA", 0x0250, 0x02AF),
    ("Greek", 0x0370, 0x03FF),
    ("Cyrillic", 0x0400, 0x04FF),
    ("Hebrew", 0x05D0, 0x05EA),
    ("Arabic", 0x0600, 0x06FF),
    ("Devanagari", 0x0900, 0x097F),
    ("Thai", 0x0E00, 0x0E7F),
    ("kana", 0x3041, 0x30FF),
    ("CJK ideographs", 0x4E00, 0x9FFF),
    ("Hangul syllables", 0xAC00, 0xD7A3),
)


def texts_of(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def unknown_parts(tokenizer: Tokenizer, unknown: int, texts: list[str]) -> list[list[bytes]]:
    """For each text the bytes of every [UNK]."""
    data = [text.encode("utf-8", "replace") for text in texts]
    ids, rows, text_rows, begins, ends = tokenizer.encode(data, True)
    result = []
    for i, text in enumerate(data):
        piece = slice(rows[text_rows[i]], rows[text_rows[i + 1]])
        found = np.flatnonzero(ids[piece] == unknown) + piece.start
        result.append([text[begins[k] : ends[k]] for k in found])
    return result


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def kind_of(part: str) -> str:
    """Why a part is unknown, by its first character that is not plain ASCII."""
    if len(part) > 100:
        return "word of more than 100 characters"
    odd = [character for character in part if ord(character) >= 128]
    if not odd:
        return "ASCII"
    for name, first, last in RANGES:
        if first <= ord(odd[0]) <= last:
            return name
    name = unicodedata.name(odd[0], "unnamed").split()[0]
    return f"{unicodedata.category(odd[0])} {name}"


def report_data(tokenizers: dict[str, Tokenizer], unknown: int, paths: list[Path], most: int) -> None:
    texts = words = 0
    affected: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {name: Counter() for name in tokenizers}
    texts_with: dict[str, Counter[str]] = {name: Counter() for name in tokenizers}
    characters: dict[str, Counter[str]] = {name: Counter() for name in tokenizers}
    for batch in batches(texts_of(paths)):
        texts += len(batch)
        words += sum(len(text.split()) for text in batch)
        for name, tokenizer in tokenizers.items():
            for parts in unknown_parts(tokenizer, unknown, batch):
                affected[name] += bool(parts)
                decoded = [part.decode("utf-8", "replace") for part in parts]
                found = [kind_of(part) for part in decoded]
                kinds[name].update(found)
                texts_with[name].update(set(found))
                # A code point is named, but no word of a text.
                characters[name].update(c for part in decoded for c in set(part) if ord(c) >= 128)
    print(f"{texts} texts, {words} words")
    for name in tokenizers:
        share = affected[name] / texts
        print(f"\n{name}: {affected[name]} texts ({share:.2%}), {kinds[name].total()} [UNK]")
        for kind, count in kinds[name].most_common(most):
            print(f"  {count:6} in {texts_with[name][kind]:6} texts  {kind}")
        for character, count in characters[name].most_common(most):
            label = unicodedata.name(character, "unnamed")
            print(f"  {count:6}  U+{ord(character):04X} {label}")


def report_ranges(tokenizers: dict[str, Tokenizer], unknown: int) -> None:
    """How many characters, alone and behind a letter, are unknown."""
    print(
        f"\n{'characters':<28} {'count':>6}"
        + "".join(f" {name:>14} {'in a word':>10}" for name in tokenizers)
    )
    for label, first, last in RANGES:
        codes = [c for c in map(chr, range(first, last + 1)) if unicodedata.category(c)[0] not in "C"]
        cells = [
            sum(map(bool, unknown_parts(tokenizer, unknown, texts)))
            for tokenizer in tokenizers.values()
            for texts in (codes, [f"a{c}b" for c in codes])
        ]
        print(f"{label:<28} {len(codes):>6} {cells[0]:>14} {cells[1]:>10} {cells[2]:>14} {cells[3]:>10}")


def report_emoji(tokenizers: dict[str, Tokenizer], unknown: int, emoji_test: Path) -> None:
    lines = emoji_test.read_text("utf-8").splitlines()
    fields = [line.split(";")[0].split() for line in lines if line and not line.startswith("#")]
    texts = ["".join(chr(int(code, 16)) for code in codes) for codes in fields]
    found = [sum(map(bool, unknown_parts(tokenizer, unknown, texts))) for tokenizer in tokenizers.values()]
    print(f"{'emoji sequences':<28} {len(texts):>6} {found[0]:>14} {'':>10} {found[1]:>14}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", type=Path, help="JSON lines, gzip, with a key `text`")
    parser.add_argument("--most", type=int, default=25, help="rows to print of each count")
    parser.add_argument("--emoji-test", type=Path, default=Path("/usr/share/unicode/emoji/emoji-test.txt"))
    arguments = parser.parse_args()
    path = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
    vocabulary = bytes(_modelfile.read(path).tensors["tokenizer.vocabulary"])
    unknown = vocabulary.split(b"\n").index(b"[UNK]")
    tokenizers = {
        "without rules": Tokenizer(vocabulary),
        "with all rules": Tokenizer(vocabulary, known_rules()),
    }
    if arguments.data:
        report_data(tokenizers, unknown, arguments.data, arguments.most)
    report_ranges(tokenizers, unknown)
    if arguments.emoji_test.exists():
        report_emoji(tokenizers, unknown, arguments.emoji_test)
    return 0


if __name__ == "__main__":
    sys.exit(main())
