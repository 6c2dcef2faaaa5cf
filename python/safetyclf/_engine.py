"""What scores texts: the native engine, or ONNX Runtime with somebody else's model.

`Engine` is what the rest of the package may rely on, and `open_engine` the one place that chooses. The
methods are those of `_native.Engine`, as documented in `_native.pyi`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from . import _native
from ._errors import DeviceError, InternalError, InvalidArgumentError, ModelFormatError
from ._texts import ArrowArray, ArrowStream
from ._verdict import State

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Scored: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], list[int]]

BUNDLED: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models", "default.safetensors")


class Engine(Protocol):
    """A loaded model. Immutable; every method may be called from any number of threads at once."""

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
    @property
    def device(self) -> str: ...
    @property
    def depths(self) -> int: ...
    @property
    def exit_floors(self) -> list[list[float]]: ...
    def probabilities(self, texts: Sequence[str] | ArrowArray | ArrowStream, /) -> Scored: ...
    def logits(self, texts: Sequence[str], depth: int, /) -> Scored: ...
    def adaptive_probabilities(
        self, texts: Sequence[str] | ArrowArray | ArrowStream, level: int, /
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], list[int], npt.NDArray[np.uint16]]: ...
    def verdicts(self, texts: Sequence[str], thresholds: bytes, level: int | None, /) -> list[State]: ...
    def window_probabilities(
        self, ids: Sequence[int], row_offsets: Sequence[int], level: int | None, /
    ) -> list[tuple[float, ...]]: ...
    def explain(
        self, text: str, category: int, /
    ) -> tuple[float, float, int, list[tuple[int, int, float, bool]]]: ...
    def tokenize(self, text: str, /) -> tuple[list[int], list[int], list[int], list[int]]: ...
    def normalize(self, text: str, /) -> str: ...


def is_description(path: str) -> bool:
    """Whether the path is that of a description of an ONNX model (docs/onnx.md), not of a model file."""
    return path.endswith(".toml")


def open_engine(
    path: str, *, device: str, threads: int, max_text_bytes: int, isa: str, max_memory: int
) -> tuple[Engine, str | None]:
    """The engine for a model file or a description, and why "auto" took the CPU, if it did.

    Options and errors as for `Classifier`; `threads` 0 is as many as the process may use, `isa` "" the best,
    `max_memory` 0 no limit.
    """
    if is_description(path):
        from .onnx.engine import OnnxEngine

        if isa or max_memory:
            option = "isa" if isa else "max_memory"
            raise InvalidArgumentError(f"{option} is not for ONNX models: ONNX Runtime decides for itself")
        if device not in ("cpu", "cuda", "auto"):
            raise InvalidArgumentError(
                f"device={device!r} is not for ONNX models; allowed: 'cpu', 'cuda', 'auto'"
            )
        onnx = OnnxEngine(path, device=device, threads=threads, max_text_bytes=max_text_bytes)
        on_cpu = device == "auto" and onnx.device == "cpu"
        return onnx, "this ONNX Runtime has no CUDA, or could not start it" if on_cpu else None
    if path.endswith(".onnx"):
        raise ModelFormatError(f"{path}: an ONNX model needs a description, NAME.toml (docs/onnx.md)")

    def native(cuda: int | None) -> _native.Engine:
        return _native.Engine(
            os.fsencode(path),
            threads=threads,
            max_text_bytes=max_text_bytes,
            isa=isa,
            max_memory=max_memory,
            cuda=cuda,
        )

    if device == "cpu":
        return native(None), None
    if device == "auto":
        if max_memory:
            return native(None), "max_memory is for the CPU"
        try:
            return native(0), None
        except DeviceError as error:
            return native(None), str(error)
    if max_memory:
        raise InvalidArgumentError(f"max_memory is for device='cpu', not {device!r}")
    return native(int(device.partition(":")[2] or "0")), None


def with_text_rules(engine: Engine) -> _native.Engine:
    """The engine by whose rules term lists see through disguises.

    Its own, or that of the model in the package for an ONNX model. Raises ModelFileError if there is none.
    """
    if isinstance(engine, _native.Engine):
        return engine
    from .onnx.engine import OnnxEngine

    if not isinstance(engine, OnnxEngine):
        raise InternalError(f"no text rules for {type(engine).__name__}")
    return engine.text_rules
