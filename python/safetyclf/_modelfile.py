"""The model file in Python: read, check, hash and write it. docs/model-format.md is the specification.

The engine has its own reader in C++, which checks every value; this one serves the tools (convert, train,
calibrate, export) and needs numpy only. It checks the container, the set of tensors, their shapes, and the
three hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgumentError, ModelFileError, ModelFormatError

FORMAT: Final = "safetyclf/1"
NUMERICS_REVISION: Final = 1  # cpp/kernels/abi.h, kNumericsRevision; a test compares the two
MAX_HEADER: Final = 16 << 20
MAX_LAYERS: Final = 256
NEVER: Final = 2.0  # a threshold that no probability reaches

Coverage = Literal["trained", "weak", "derived", "none"]
Stage = Literal["encoder", "heads", "complete"]
Array = npt.NDArray[Any]

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_DTYPE_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    vocabulary: int
    norm_epsilon: float

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(n, k) of each linear layer, in the order in which a layer runs them."""
        h, f = self.hidden, self.intermediate
        return {"qkv": (3 * h, h), "attention_output": (h, h), "ffn_in": (f, h), "ffn_out": (h, f)}


@dataclass(frozen=True, kw_only=True)
class TokenizerInfo:
    lowercase: bool = True
    window_tokens: int = 510
    overlap_tokens: int = 64
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Category:
    name: str
    coverage: Coverage
    threshold_statement: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    name: str
    version: str
    licence: str
    description: str


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The content of a model file.

    Frozen: `with_heads` and `with_decision` return changed copies, and `write` computes all hashes.

    `calibration` is the metadata of a calibration without its hash of the weights, which `write` adds:
    `numerics_revision`, `data_sha256`, `n` and what else is worth knowing. None unless `stage` is "complete".
    `exits` is the statement of what the rules for leaving early promise, None in a file without such rules.
    `policy` is the policy that the file was compiled with, if any (docs/custom-categories.md).
    """

    info: ModelInfo
    architecture: Architecture
    tokenizer: TokenizerInfo
    tensors: Mapping[str, Array]
    categories: tuple[Category, ...] = ()
    calibration: Mapping[str, Any] | None = None
    exits: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    id: str = ""  # set by `read` and `write`

    @property
    def scored(self) -> tuple[Category, ...]:
        """Categories with a column, in column order."""
        return tuple(c for c in self.categories if c.coverage != "none")

    @property
    def stage(self) -> Stage:
        if not self.scored:
            return "encoder"
        return "complete" if any(_is_decision(name) for name in self.tensors) else "heads"

    @property
    def vocabulary(self) -> list[str]:
        """Tokens in id order."""
        return bytes(self.tensors["tokenizer.vocabulary"]).decode("utf-8").split("\n")

    def weights_sha256(self) -> str:
        """Hash that a calibration is tied to: tensors, vocabulary, architecture and tokenizer settings."""
        return _weights_sha256(self.tensors, _architecture_json(self), _tokenizer_json(self))

    def linear(self, layer: int, name: str) -> tuple[npt.NDArray[np.int8], Array, Array, Array]:
        """One linear layer: weight int8 [n, k], scale [n], bias [n], inverse_smooth [k]."""
        prefix = f"encoder.layers.{layer}.{name}"
        t = self.tensors
        return t[f"{prefix}.weight"], t[f"{prefix}.scale"], t[f"{prefix}.bias"], t[f"{prefix}.inverse_smooth"]

    def with_heads(
        self, categories: tuple[Category, ...], weight: Array, bias: Array, depth: Array | None = None
    ) -> ModelFile:
        """A "heads" file: weight float32 [layers + 1, C, hidden], bias [layers + 1, C].

        `depth` int32 [C] says after how many layers each head reads; None: after the last. Drops calibration
        and thresholds.
        """
        tensors = {
            name: t
            for name, t in self.tensors.items()
            if not _is_decision(name) and not name.startswith("heads.")
        }
        tensors["heads.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors["heads.bias"] = np.ascontiguousarray(bias, np.float32)
        if depth is not None:
            tensors["heads.depth"] = np.ascontiguousarray(depth, np.int32)
        return replace(self, categories=categories, tensors=tensors, calibration=None, exits=None, id="")

    def with_decision(
        self,
        curves: list[tuple[Array, Array]],
        review: Array,
        block: Array,
        calibration: Mapping[str, Any],
        categories: tuple[Category, ...] | None = None,
    ) -> ModelFile:
        """A "complete" file, without rules for leaving early.

        Args:
            curves: per scored category the knots (logits, probabilities).
            review: thresholds [C], as in docs/model-format.md.
            block: thresholds [C].
            calibration: what the curves were fitted on, see the class.
            categories: replace the categories, for their threshold statements; names and coverage must stay.
        """
        sizes = [len(logit) for logit, _ in curves]
        tensors = {name: t for name, t in self.tensors.items() if not _is_decision(name)}
        tensors["calibration.offsets"] = np.cumsum([0, *sizes]).astype(np.int32)
        tensors["calibration.logit"] = np.concatenate([c[0] for c in curves]).astype(np.float32)
        tensors["calibration.probability"] = np.concatenate([c[1] for c in curves]).astype(np.float32)
        tensors["thresholds.review"] = np.ascontiguousarray(review, np.float32)
        tensors["thresholds.block"] = np.ascontiguousarray(block, np.float32)
        kept = self.categories if categories is None else categories
        if [(c.name, c.coverage) for c in kept] != [(c.name, c.coverage) for c in self.categories]:
            raise InvalidArgumentError("with_decision: category names and coverage must stay as they are")
        return replace(
            self, categories=kept, tensors=tensors, calibration=dict(calibration), exits=None, id=""
        )

    def with_exits(self, rules: Mapping[str, Array], statement: Mapping[str, Any]) -> ModelFile:
        """A complete file with rules for leaving early.

        Args:
            rules: the tensors `exits.*` of docs/model-format.md, without that prefix.
            statement: what they promise, in JSON types.
        """
        tensors = {name: t for name, t in self.tensors.items() if not _is_exit(name)}
        for name, tensor in rules.items():
            kind = np.int8 if name == "lexicon" else np.float32
            tensors[f"exits.{name}"] = np.ascontiguousarray(tensor, kind)
        return replace(self, tensors=tensors, exits=dict(statement), id="")


def vocabulary_tensor(tokens: list[str]) -> npt.NDArray[np.uint8]:
    """`tokenizer.vocabulary` from tokens in id order.

    Raises InvalidArgumentError for an empty token or one with a line break.
    """
    for index, token in enumerate(tokens):
        if not token or "\n" in token:
            raise InvalidArgumentError(
                f"vocabulary: token {index} ({token!r}) is empty or holds a line break"
            )
    return np.frombuffer("\n".join(tokens).encode("utf-8"), np.uint8)


def quantize_weights(weight: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 per row: q [n, k] in [-127, 127] and scale float32 [n] > 0, weight ~ q * scale[:, None].

    Rounds to nearest, ties to even; rows of zeros get scale 1. Raises InvalidArgumentError when a value is
    not finite.
    """
    weight = np.asarray(weight, np.float32)
    scale = weight_scales(weight)
    return np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8), scale


def weight_scales(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The per-row scales of `quantize_weights`."""
    if not np.isfinite(weight).all():
        raise InvalidArgumentError("weights hold a value that is not finite")
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    safe: npt.NDArray[np.float32] = np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1))
    return safe


# Hashes -----------------------------------------------------------------------------------------------------


def _is_exit(name: str) -> bool:
    return name.startswith("exits.")


def _is_decision(name: str) -> bool:
    return name.startswith(("calibration.", "thresholds.")) or _is_exit(name)


def _sha256(data: bytes | str | memoryview) -> str:
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).hexdigest()


def _tensor_lines(tensors: Mapping[str, Array], decision: bool) -> Iterator[str]:
    for name in sorted(tensors, key=lambda n: n.encode("utf-8")):
        if _is_decision(name) == decision:
            tensor = np.ascontiguousarray(tensors[name])
            shape = "x".join(map(str, tensor.shape))
            yield f"{name} {_DTYPE_NAMES[tensor.dtype]} {shape} {_sha256(tensor.tobytes())}\n"


def _weights_sha256(tensors: Mapping[str, Array], architecture: str, tokenizer: str) -> str:
    head = f"safetyclf/1 weights\narchitecture {_sha256(architecture)}\ntokenizer {_sha256(tokenizer)}\n"
    return _sha256(head + "".join(_tensor_lines(tensors, decision=False)))


def _decision_sha256(tensors: Mapping[str, Array]) -> str:
    return _sha256("safetyclf/1 decision\n" + "".join(_tensor_lines(tensors, decision=True)))


def _metadata_sha256(metadata: Mapping[str, str]) -> str:
    lines = [f"{key} {_sha256(metadata[key])}\n" for key in sorted(metadata) if key != "metadata_sha256"]
    return _sha256("safetyclf/1 metadata\n" + "".join(lines))


# Writing ----------------------------------------------------------------------------------------------------


def _dump(value: object) -> str:
    # Sorted keys and no white space: the same content always gives the same bytes.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _architecture_json(file: ModelFile) -> str:
    return _dump({**vars(file.architecture), "type": "bert", "activation": "gelu", "pooling": "mean"})


def _tokenizer_json(file: ModelFile) -> str:
    return _dump({**vars(file.tokenizer), "rules": list(file.tokenizer.rules), "type": "bert-wordpiece"})


def _metadata(file: ModelFile) -> dict[str, str]:
    weights = file.weights_sha256()
    metadata = {
        "format": FORMAT,
        "model": _dump(vars(file.info)),
        "architecture": _architecture_json(file),
        "tokenizer": _tokenizer_json(file),
        "categories": _dump([vars(c) for c in file.categories]),
        "provenance": _dump(file.provenance),
        "evaluation": _dump(file.evaluation),
        "weights_sha256": weights,
        "decision_sha256": _decision_sha256(file.tensors),
    }
    if file.calibration is not None:
        metadata["calibration"] = _dump({**file.calibration, "weights_sha256": weights})
    if file.exits is not None:
        metadata["exits"] = _dump(file.exits)
    if file.policy is not None:
        metadata["policy"] = _dump(file.policy)
    metadata["metadata_sha256"] = _metadata_sha256(metadata)
    return metadata


def assemble(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The container's bytes, without any check of the content. The same input always gives the same bytes."""
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in order:
        tensor = tensors[name]
        entries[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    header += b" " * (-(8 + len(header)) % 64)
    body = b"".join(np.ascontiguousarray(tensors[name]).tobytes() for name in order)
    return len(header).to_bytes(8, "little") + header + body


def to_bytes(file: ModelFile) -> bytes:
    """The file's bytes, deterministic.

    Raises ModelFormatError when the content breaks the rules of the format.
    """
    _check_tensors(file, "the new model file")
    data = assemble(file.tensors, _metadata(file))
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise ModelFormatError("the new model file: metadata make the header larger than 16 MiB")
    return data


def write(path: str | os.PathLike[str], file: ModelFile) -> ModelFile:
    """Writes the model file and returns `file` with its id.

    Writes to a temporary file beside `path` and renames it, so that readers never see half a file.

    Raises ModelFileError when the output cannot be written, ModelFormatError when the content breaks the
    rules of the format.
    """
    data = to_bytes(file)
    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ModelFileError(f"{target}: cannot write the model file: {error.strerror or error}") from error
    return replace(file, id=_id(file.info, data[8 : 8 + int.from_bytes(data[:8], "little")]))


def _id(info: ModelInfo, header: bytes) -> str:
    return f"{info.name}-{info.version}+{_sha256(header)[:12]}"


# Reading ----------------------------------------------------------------------------------------------------


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _parse_json(text: str | bytes, what: str) -> Any:
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{what} is not valid JSON: {error}") from None


def container_header(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, str], memoryview]:
    """Tensor entries, metadata and buffer of any safetensors file; the entries are not checked.

    Raises ModelFormatError.
    """

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ModelFormatError(f"{name}: {message}")

    require(len(data) >= 8, "the file is shorter than 8 bytes")
    length = int.from_bytes(data[:8], "little")
    require(0 < length <= MAX_HEADER, f"the header length {length} is 0 or above the limit")
    require(length <= len(data) - 8, "the header reaches beyond the end of the file")
    header = _parse_json(data[8 : 8 + length], f"{name}: the header")
    require(isinstance(header, dict), "the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    require(
        isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values()),
        "__metadata__ is not an object of strings",
    )
    return header, metadata, memoryview(data)[8 + length :]


def read_container(data: bytes, name: str = "model file") -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors (read-only views of `data`) and metadata of a safetensors file of our four dtypes.

    Raises ModelFormatError.
    """

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ModelFormatError(f"{name}: {message}")

    header, metadata, body = container_header(data, name)
    offset = len(data) - len(body)
    spans: list[tuple[int, int]] = []
    tensors: dict[str, Array] = {}
    for key, entry in header.items():
        try:
            dtype = _DTYPES[entry["dtype"]]
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            numbers = (*shape, begin, end)
            legal = all(type(n) is int and n >= 0 for n in numbers) and len(entry) == 3
        except (TypeError, KeyError, ValueError):
            legal = False
        require(legal, f"tensor {key!r}: its header entry is not of the form the format asks for")
        size = dtype.itemsize
        for n in shape:
            size *= n
        require(size == end - begin, f"tensor {key!r}: dtype and shape do not fit data_offsets")
        require(end <= len(body), f"tensor {key!r}: reaches beyond the end of the file")
        require((offset + begin) % dtype.itemsize == 0, f"tensor {key!r}: misaligned")
        spans.append((begin, end))
        tensors[key] = np.frombuffer(body[begin:end], dtype).reshape(shape)
    covered = 0
    for begin, end in sorted(spans):
        require(begin == covered, "tensors overlap or leave a hole")
        covered = end
    require(covered == len(body), "trailing bytes after the last tensor")
    return tensors, metadata


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Reads and checks a model file.

    Raises ModelFileError when it cannot be read, ModelFormatError when it breaks a rule.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{name}: cannot read the model file: {getattr(error, 'strerror', None) or error}"
        ) from error
    return from_bytes(data, name)


def from_bytes(data: bytes, name: str = "model file") -> ModelFile:
    """As `read`, from memory; `name` stands for the file in messages.

    Tensors are read-only views of `data`.
    """
    tensors, metadata = read_container(data, name)

    def section(key: str) -> Any:
        if key not in metadata:
            raise ModelFormatError(f"{name}: metadata lacks the key {key!r}")
        return _parse_json(metadata[key], f"{name}: metadata {key}")

    if metadata.get("format") != FORMAT:
        raise ModelFormatError(f"{name}: format is {metadata.get('format')!r}, this library reads {FORMAT}")
    try:
        architecture = section("architecture")
        fixed = [architecture.pop(key) for key in ("type", "activation", "pooling")]
        tokenizer = section("tokenizer")
        fixed.append(tokenizer.pop("type"))
        if fixed != ["bert", "gelu", "mean", "bert-wordpiece"]:
            raise ModelFormatError(f"{name}: unsupported architecture or tokenizer: {fixed}")
        tokenizer["rules"] = tuple(tokenizer["rules"])
        calibration = section("calibration") if "calibration" in metadata else None
        tied_to = calibration.pop("weights_sha256") if calibration is not None else None
        file = ModelFile(
            info=ModelInfo(**section("model")),
            architecture=Architecture(**architecture),
            tokenizer=TokenizerInfo(**tokenizer),
            tensors=tensors,
            categories=tuple(Category(**c) for c in section("categories")),
            calibration=calibration,
            exits=section("exits") if "exits" in metadata else None,
            provenance=section("provenance"),
            evaluation=section("evaluation"),
            policy=section("policy") if "policy" in metadata else None,
        )
        _check_tensors(file, name)
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelFormatError(f"{name}: metadata have missing, unknown or wrong fields: {error}") from None

    weights = _weights_sha256(tensors, metadata["architecture"], metadata["tokenizer"])
    hashes = {
        "metadata_sha256": _metadata_sha256(metadata),
        "decision_sha256": _decision_sha256(tensors),
        "weights_sha256": weights,
    }
    for key, value in hashes.items():
        if metadata.get(key) != value:
            raise ModelFormatError(
                f"{name}: {key} does not match the content: the file is damaged or was edited"
            )
    if calibration is not None and tied_to != weights:
        raise ModelFormatError(f"{name}: the calibration was fitted on other weights")
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    return replace(file, id=_id(file.info, header))


def expected_shapes(file: ModelFile) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Data type and shape of every tensor that the file must have; -1 stands for a size that is free."""
    a = file.architecture
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "encoder.words.weight": ("I8", (a.vocabulary, a.hidden)),
        "encoder.words.scale": ("F32", (a.vocabulary,)),
        "encoder.positions": ("F32", (a.positions, a.hidden)),
        "tokenizer.vocabulary": ("U8", (-1,)),
    }
    norms = ["encoder.embedding_norm"]
    for layer in range(a.layers):
        prefix = f"encoder.layers.{layer}"
        norms += [f"{prefix}.attention_norm", f"{prefix}.ffn_norm"]
        for linear, (n, k) in a.linear_shapes().items():
            shapes[f"{prefix}.{linear}.weight"] = ("I8", (n, k))
            shapes[f"{prefix}.{linear}.scale"] = ("F32", (n,))
            shapes[f"{prefix}.{linear}.bias"] = ("F32", (n,))
            shapes[f"{prefix}.{linear}.inverse_smooth"] = ("F32", (k,))
    for norm in norms:
        shapes[f"{norm}.gamma"] = shapes[f"{norm}.beta"] = ("F32", (a.hidden,))
    c = len(file.scored)
    if file.stage != "encoder":
        shapes["heads.weight"] = ("F32", (a.layers + 1, c, a.hidden))
        shapes["heads.bias"] = ("F32", (a.layers + 1, c))
        if "heads.depth" in file.tensors:
            shapes["heads.depth"] = ("I32", (c,))
    if file.stage == "complete":
        shapes["calibration.offsets"] = ("I32", (c + 1,))
        shapes["calibration.logit"] = shapes["calibration.probability"] = ("F32", (-1,))
        shapes["thresholds.review"] = shapes["thresholds.block"] = ("F32", (c,))
    if file.exits is not None:
        shapes["exits.lexicon"] = ("I8", (-1,))
        shapes["exits.lexicon.scale"] = ("F32", (1,))
        shapes["exits.weight"] = ("F32", (a.layers, a.hidden))
        for name in ("bias", "lexical", "highest"):
            shapes[f"exits.{name}"] = ("F32", (a.layers,))
        levels = max(1, len(file.tensors.get("exits.threshold", ())))
        shapes["exits.threshold"] = ("F32", (levels, a.layers))
        shapes["exits.floor"] = ("F32", (levels, c))
        shapes["exits.slope"] = shapes["exits.shift"] = ("F32", (a.layers, c))
        shapes["exits.floor_logit"] = ("F32", (c,))
    return shapes


def _check_tensors(file: ModelFile, name: str) -> None:
    """The rules that tools could break by mistake; the C++ reader checks the rest at load."""

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ModelFormatError(f"{name}: {message}")

    sizes = {key: size for key, size in vars(file.architecture).items() if key != "norm_epsilon"}
    for key, size in sizes.items():
        limit = MAX_LAYERS if key == "layers" else 2**31 - 1
        require(
            type(size) is int and 1 <= size <= limit, f"architecture.{key} is not an integer in its range"
        )
    require(isinstance(file.architecture.norm_epsilon, float | int), "architecture.norm_epsilon is no number")
    expected = expected_shapes(file)
    missing, unexpected = (
        sorted(expected.keys() - file.tensors.keys()),
        sorted(file.tensors.keys() - expected.keys()),
    )
    require(not missing, f"tensors missing: {', '.join(missing[:3])}")
    require(not unexpected, f"tensors unexpected: {', '.join(map(repr, unexpected[:3]))}")
    for key, (dtype, shape) in expected.items():
        tensor = file.tensors[key]
        fits = tensor.ndim == len(shape) and all(
            w in (-1, h) for w, h in zip(shape, tensor.shape, strict=True)
        )
        require(
            tensor.dtype == _DTYPES[dtype] and fits,
            f"tensor {key!r} is {tensor.dtype} {tensor.shape}, must be {dtype} {shape}",
        )
        if dtype == "F32":
            require(bool(np.isfinite(tensor).all()), f"tensor {key!r} holds a value that is not finite")
        if dtype == "I8":
            require(not (tensor == -128).any(), f"tensor {key!r} holds -128")
        if key.endswith((".scale", ".inverse_smooth")):
            require(bool((tensor > 0).all()), f"tensor {key!r} holds a value that is not positive")
    depths = file.tensors.get("heads.depth", np.zeros(0, np.int32))
    require(
        bool(((depths >= 0) & (depths <= file.architecture.layers)).all()),
        "tensor 'heads.depth' holds a value outside 0 .. layers",
    )
    require(
        not (len(depths) and file.exits is not None),
        "heads.depth cannot stand beside rules for leaving early",
    )
    try:
        tokens = len(file.vocabulary)
    except UnicodeDecodeError:
        raise ModelFormatError(f"{name}: tensor 'tokenizer.vocabulary' is not valid UTF-8") from None
    require(
        tokens == file.architecture.vocabulary,
        "the number of tokens is not architecture.vocabulary",
    )
    require(
        (file.calibration is not None) == (file.stage == "complete"),
        "calibration metadata and tensors go together",
    )
    require(
        re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", file.info.name) is not None,
        f"model name {file.info.name!r} is not 1 to 64 of a-z 0-9 . _ -",
    )
    require(
        re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9A-Za-z.-]+)?", file.info.version) is not None,
        f"model version {file.info.version!r} is not MAJOR.MINOR.PATCH",
    )
