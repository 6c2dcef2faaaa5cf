# The native extension, cpp/bindings/native.cpp. Private: use safetyclf.Classifier.
from collections.abc import Sequence
from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from ._texts import ArrowArray, ArrowStream
from ._verdict import State

class BuildInfo(TypedDict):
    version: str
    isa: str
    supported_isas: list[str]
    compiled_isas: list[str]
    numerics_revision: int
    compiler: str
    cuda: bool
    cuda_architectures: list[str]

def build_info() -> BuildInfo: ...

# the texts of a string array
def strings(texts: ArrowArray | ArrowStream) -> tuple[str, ...]: ...

ATTACK_KINDS: tuple[str, ...]

# strength above 0 and at most 1, seed up to 2**64 - 1
def attacked(
    texts: Sequence[str] | ArrowArray | ArrowStream, kind: str, strength: float, seed: int
) -> list[str]: ...

class Engine:
    # max_memory: bytes, 0: no limit. cuda: number of the GPU that scores texts; None: the CPU
    def __init__(
        self,
        path: str | bytes,
        *,
        threads: int,
        max_text_bytes: int,
        isa: str,
        max_memory: int = 0,
        cuda: int | None = None,
    ) -> None: ...
    @property
    def categories(self) -> list[tuple[str, str]]: ...
    @property
    def thresholds(self) -> list[tuple[float, float]]: ...
    @property
    def model_id(self) -> str: ...
    @property
    def metadata(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    # "cpu" or "cuda:N"
    @property
    def device(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def depths(self) -> int: ...
    # float32 (n, k), windows uint32 (n), indices of repaired texts
    def probabilities(
        self, texts: Sequence[str] | ArrowArray | ArrowStream
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], list[int]]: ...
    def logits(
        self, texts: Sequence[str], depth: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], list[int]]: ...
    # by level; empty if the model file has no rules for leaving early
    @property
    def exit_floors(self) -> list[list[float]]: ...
    # as `probabilities`, and the depth at which each text left uint16 (n)
    def adaptive_probabilities(
        self, texts: Sequence[str] | ArrowArray | ArrowStream, level: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], list[int], npt.NDArray[np.uint16]]: ...
    # thresholds: float32 [2, k], review and block; level of the rules for leaving early, None: every layer
    def verdicts(self, texts: Sequence[str], thresholds: bytes, level: int | None) -> list[State]: ...
    # of each window of ids
    def window_probabilities(
        self, ids: Sequence[int], row_offsets: Sequence[int], level: int | None
    ) -> list[tuple[float, ...]]: ...
    # float32 (windows of all texts, depths, hidden), first window of each text and their total uint32 (n + 1)
    def pooled(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]: ...
    # logit, bias, window; byte begin, byte end, weight, continues-a-word of each token of the window
    def explain(
        self, text: str, category: int
    ) -> tuple[float, float, int, list[tuple[int, int, float, bool]]]: ...
    # ids, byte begins, byte ends, row offsets of the windows
    def tokenize(self, text: str) -> tuple[list[int], list[int], list[int], list[int]]: ...
    def normalize(self, text: str) -> str: ...

class TermMatcher:
    # modes: 0 word, 1 anywhere, 2 text. InvalidArgumentError "term N: ..." for a term that cannot be found
    def __init__(self, engine: Engine, terms: Sequence[str], modes: Sequence[int]) -> None: ...
    # per text: number of the term, byte begin, byte end of each match, in no set order
    def find(self, texts: Sequence[str] | ArrowArray | ArrowStream) -> list[list[tuple[int, int, int]]]: ...

# requests, texts, tokens, seconds
Batch: TypeAlias = tuple[int, int, int, float]
# number of the request, states or what was raised, depths, tokens of each text, seconds waited
Answered: TypeAlias = tuple[int, list[State] | Exception, list[int], list[int], float]

# Requests of many callers in common batches. max_wait: seconds
class Batcher:
    def __init__(
        self, engine: Engine, *, batch_tokens: int, max_wait: float, queue_requests: int, queue_bytes: int
    ) -> None: ...
    # thresholds and level as for Engine.verdicts. The request's number; 0: the queue is full or closed
    def submit(self, texts: Sequence[str], thresholds: bytes, level: int | None) -> int: ...
    def cancel(self, number: int) -> None: ...
    # what was finished since the last call
    def take(self) -> tuple[list[Answered], list[Batch]]: ...
    # readable while `take` has something to give
    def fileno(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    # takes no more, works off what waits
    def close(self) -> None: ...

# Text with places for scores. pieces: each with the column of the score behind it; rest: after the last one
class Form:
    def __init__(self, pieces: Sequence[tuple[str, int]], rest: str) -> None: ...
    # row: float32 scores, as in a State. Written as %.9g
    def fill(self, row: bytes) -> str: ...
