"""What the rivals on a GPU have in common: the encoder of our model file, tokens and batches.

The weights are the file's, turned back from int8, the smoothing multiplied into them; the heads are those of
the last depth. Texts are tokenised by Hugging Face `tokenizers` on all cores, one chunk ahead of the GPU, and
cut at the encoder's length. In a chunk they are sorted by length and cut into batches by a budget of tokens.
A `Rival` turns tokens into logits, and knows nothing of how they are timed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from safetyclf._float_encoder import FloatEncoder
    from safetyclf._modelfile import ModelFile

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
CHUNK = 8192  # texts tokenised at a time
LONGEST_BATCH = 1024  # texts in a batch


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, one after the other: those of text i begin at starts[i]."""

    flat: Ids
    starts: Ids
    lengths: Ids

    def batches(self, budget: int) -> Iterator[Ids]:
        """Texts by length, in batches whose longest times their number stays within the budget."""
        order = np.argsort(self.lengths, kind="stable")
        begin = 0
        for end in range(1, len(order) + 1):
            full = end == len(order) or (end - begin + 1) * self.lengths[order[end]] > budget
            if full or end - begin == LONGEST_BATCH:
                yield order[begin:end]
                begin = end

    def padded(self, texts: Ids, width: int | None = None) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Ids [texts, width], 0 where a text has ended, and where they are real; width: the longest's."""
        columns = np.arange(width or self.lengths[texts].max())
        real = columns < self.lengths[texts, None]
        places = np.where(real, self.starts[texts, None] + columns, 0)
        return np.where(real, self.flat[places], 0), real


def folded(file: ModelFile) -> tuple[FloatEncoder, Floats, Floats]:
    """The file's encoder in fp32 without smoothing, and weight [C, H] and bias [C] of its last heads."""
    from safetyclf._float_encoder import dequantized

    encoder = dequantized(file)
    parameters = dict(encoder.parameters)
    for name in encoder.parameters:
        if name.endswith(".inverse_smooth"):
            weight = name.replace("inverse_smooth", "weight")
            parameters[weight] = parameters[weight] * parameters[name]
            parameters[name] = np.ones_like(parameters[name])
    last = file.tensors["heads.weight"][-1], file.tensors["heads.bias"][-1]
    return replace(encoder, parameters=parameters), *last


def tokenizer_of(encoder: FloatEncoder) -> Any:
    """BERT's tokenizer from `tokenizers`, which cuts at the encoder's length."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: number for number, token in enumerate(encoder.vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=encoder.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.enable_truncation(encoder.architecture.positions)
    return tokenizer


class Rival:
    """Tokenises and batches; a subclass computes one batch."""

    budgets: tuple[int, ...] = (16_384, 65_536, 262_144)  # of which the fastest is taken

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pool = ThreadPoolExecutor(1)
        self.budget = self.budgets[0]

    def batch(self, tokens: Tokens, texts: Ids) -> Any:
        """Begins to compute the logits of these texts; `finish` gets what this returns."""
        raise NotImplementedError

    def finish(self, result: Any) -> Floats:
        """The logits [texts, C] in the host's memory."""
        logits: Floats = result
        return logits

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        found = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        flat = np.fromiter(itertools.chain.from_iterable(found), np.int64, int(lengths.sum()))
        return Tokens(flat, np.cumsum(lengths) - lengths, lengths)

    def score(self, texts: Sequence[str]) -> Floats:
        """Logits of texts, all the way from strings."""
        chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
        if len(chunks) == 1:
            return self.compute([self.tokenize(texts)])
        return self.compute(self._pool.map(self.tokenize, chunks))

    def compute(self, chunks: Any) -> Floats:
        """Logits of tokens: an iterable of `Tokens`, each for as many texts."""
        begun = [
            (count, [(part, self.batch(tokens, part)) for part in tokens.batches(self.budget)])
            for tokens in chunks
            for count in (len(tokens.lengths),)
        ]
        rows = []
        for count, parts in begun:
            logits = None
            for texts, result in parts:
                found = self.finish(result)
                if logits is None:
                    logits = np.empty((count, found.shape[1]), np.float32)
                logits[texts] = found
            assert logits is not None
            rows.append(logits)
        return np.concatenate(rows)
