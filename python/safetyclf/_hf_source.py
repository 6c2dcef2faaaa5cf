"""Reading the Hugging Face side of a conversion: config.json, model.safetensors and the tokenizer's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._errors import DataFileError, ModelFileError
from ._float_encoder import FloatEncoder, Floats
from ._modelfile import Architecture, assemble, container_header

# Parameters that mean pooling does not use, and buffers. Everything else that is left over is refused.
UNUSED: Final = ("embeddings.position_ids", "pooler.dense.", "cls.predictions.", "cls.seq_relationship.")
_LAYER_NAMES: Final = {
    "attention_output": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}
_QKV: Final = ("attention.self.query", "attention.self.key", "attention.self.value")


class UnsupportedModelError(DataFileError):
    """The source is readable but not a model that the engine can run; the message says why."""


@dataclass(frozen=True)
class TokenizerSource:
    """Tokens in id order, and whether the tokenizer lower-cases and strips accents (BERT "uncased")."""

    vocabulary: tuple[str, ...]
    lowercase: bool


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataFileError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataFileError(f"{path}: not a JSON object")
    return value


# Architecture -----------------------------------------------------------------------------------------------


def read_config(path: Path) -> dict[str, Any]:
    """config.json, refused unless it describes a plain BERT encoder."""
    config = read_json(path)

    def refuse(why: str) -> None:
        raise UnsupportedModelError(f"{path}: {why}")

    kind = config.get("model_type", "bert")
    if kind in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        refuse(f"model_type {kind!r} numbers positions from an offset, which the engine does not do")
    if kind != "bert":
        refuse(f"model_type {kind!r} is not supported, only 'bert'")
    if config.get("position_embedding_type", "absolute") != "absolute":
        refuse(
            f"relative positions ({config['position_embedding_type']!r}) are not supported, only 'absolute'"
        )
    if config.get("hidden_act", "gelu") != "gelu":
        refuse(f"activation {config['hidden_act']!r} is not supported, only 'gelu'")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        refuse("decoders are not supported, only encoders")
    return config


def architecture_from(
    config: Mapping[str, Any], parameters: Mapping[str, Floats], where: str
) -> Architecture:
    """Sizes from the parameters (model file names); what they do not show, from the config.

    Refuses what the engine cannot run.
    """
    for key in ("num_attention_heads", "layer_norm_eps"):
        if not isinstance(config.get(key), int | float):
            raise UnsupportedModelError(f"{where}: {key} is unknown: no config.json with it was found")
    layers = 0
    while f"layers.{layers}.qkv.weight" in parameters:
        layers += 1
    if layers == 0:
        raise UnsupportedModelError(f"{where}: no encoder layer found")
    vocabulary, hidden = parameters["words.weight"].shape
    architecture = Architecture(
        hidden=hidden,
        layers=layers,
        heads=int(config["num_attention_heads"]),
        intermediate=parameters["layers.0.ffn_in.weight"].shape[0],
        positions=parameters["positions"].shape[0],
        vocabulary=vocabulary,
        norm_epsilon=float(config["layer_norm_eps"]),
    )
    for key, size in (("hidden", hidden), ("intermediate", architecture.intermediate)):
        if size % 64 != 0:
            raise UnsupportedModelError(f"{where}: {key} size {size} is no multiple of 64")
    if architecture.heads < 1 or hidden / architecture.heads not in (32, 64):
        raise UnsupportedModelError(f"{where}: head size {hidden}/{architecture.heads} is neither 32 nor 64")
    return architecture


# Parameters -------------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> dict[str, Floats]:
    """All floating-point tensors (F32, F16, BF16) of a safetensors file as float32."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror or error}") from error
    header, _, body = container_header(data, str(path))
    tensors: dict[str, Floats] = {}
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            raw = body[begin:end]
            if entry["dtype"] == "BF16":
                wide = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
                flat: npt.NDArray[Any] = wide.view(np.float32)
            elif entry["dtype"] in ("F32", "F16"):
                flat = np.frombuffer(raw, "<f4" if entry["dtype"] == "F32" else "<f2")
            else:
                continue
            tensors[name] = flat.reshape(entry["shape"]).astype(np.float32)
        except (TypeError, KeyError, ValueError) as error:
            raise DataFileError(f"{path}: tensor {name!r} is broken: {error}") from None
    return tensors


def from_bert_names(tensors: Mapping[str, Floats], where: str) -> dict[str, Floats]:
    """BERT's parameter names to those of the model file.

    Missing, unknown or misshapen parameters are refused.
    """
    anchor = "embeddings.word_embeddings.weight"
    prefixes = [name.removesuffix(anchor) for name in tensors if name.endswith(anchor)]
    if len(prefixes) != 1:
        raise UnsupportedModelError(f"{where}: {len(prefixes)} tensors are called ...{anchor}, expected one")
    left = {name.removeprefix(prefixes[0]): tensor for name, tensor in tensors.items()}

    def take(name: str, dimensions: int) -> Floats:
        if name not in left:
            raise UnsupportedModelError(f"{where}: parameter {name!r} is missing")
        tensor = left.pop(name)
        if tensor.ndim != dimensions:
            raise UnsupportedModelError(
                f"{where}: parameter {name!r} has {tensor.ndim} dimensions, not {dimensions}"
            )
        if not np.isfinite(tensor).all():
            raise DataFileError(f"{where}: parameter {name!r} holds a value that is not finite")
        return tensor

    def norm(to: str, source: str) -> None:
        old = source + ".gamma" in left  # TensorFlow's names, still found in early checkpoints
        out[f"{to}.gamma"] = take(f"{source}.{'gamma' if old else 'weight'}", 1)
        out[f"{to}.beta"] = take(f"{source}.{'beta' if old else 'bias'}", 1)

    def linear(to: str, sources: tuple[str, ...]) -> None:
        out[f"{to}.weight"] = np.concatenate([take(f"{s}.weight", 2) for s in sources])
        out[f"{to}.bias"] = np.concatenate([take(f"{s}.bias", 1) for s in sources])
        smooth = {s: left.pop(f"{s}.inverse_smooth", None) for s in sources}
        first = smooth[sources[0]]
        ones = np.ones(out[f"{to}.weight"].shape[1], np.float32)
        out[f"{to}.inverse_smooth"] = ones if first is None else first

    out: dict[str, Floats] = {}
    token_type = take("embeddings.token_type_embeddings.weight", 2)[0]
    out["words.weight"] = take(anchor, 2)
    out["positions"] = take("embeddings.position_embeddings.weight", 2) + token_type
    norm("embedding_norm", "embeddings.LayerNorm")
    layer = 0
    while f"encoder.layer.{layer}.{_QKV[0]}.weight" in left:
        source, to = f"encoder.layer.{layer}.", f"layers.{layer}."
        linear(f"{to}qkv", tuple(source + name for name in _QKV))
        for name, bert_name in _LAYER_NAMES.items():
            linear(to + name, (source + bert_name,))
        norm(f"{to}attention_norm", f"{source}attention.output.LayerNorm")
        norm(f"{to}ffn_norm", f"{source}output.LayerNorm")
        layer += 1
    unknown = sorted(name for name in left if not name.startswith(UNUSED))
    if unknown:
        hint = ""
        if any("classifier" in name for name in unknown):
            hint = (
                "; a head on the pooled [CLS] state cannot be kept: the engine has linear heads on the mean"
            )
        raise UnsupportedModelError(
            f"{where}: parameters that the engine has no use for: {', '.join(unknown[:4])}{hint}"
        )
    return out


def check_shapes(parameters: Mapping[str, Floats], architecture: Architecture, where: str) -> None:
    """Raises UnsupportedModelError when a parameter has another shape than the architecture asks for."""
    a = architecture
    expected: dict[str, tuple[int, ...]] = {"positions": (a.positions, a.hidden)}
    norms = ["embedding_norm"]
    for layer in range(a.layers):
        norms += [f"layers.{layer}.attention_norm", f"layers.{layer}.ffn_norm"]
        for name, (n, k) in a.linear_shapes().items():
            expected[f"layers.{layer}.{name}.weight"] = (n, k)
            expected[f"layers.{layer}.{name}.bias"] = (n,)
            expected[f"layers.{layer}.{name}.inverse_smooth"] = (k,)
    for norm in norms:
        expected[f"{norm}.gamma"] = expected[f"{norm}.beta"] = (a.hidden,)
    for name, shape in expected.items():
        if parameters[name].shape != shape:
            raise UnsupportedModelError(
                f"{where}: {name} has the shape {parameters[name].shape}, expected {shape}"
            )


# Tokenizer --------------------------------------------------------------------------------------------------


def find_tokenizer(folder: Path, vocab: Path | None = None) -> TokenizerSource:
    """The tokenizer of a model.

    From `vocab`, a vocab.txt or tokenizer.json, if given, else from tokenizer.json or vocab.txt in `folder`.
    """
    candidates = [vocab] if vocab is not None else [folder / "tokenizer.json", folder / "vocab.txt"]
    for path in candidates:
        if vocab is not None or path.is_file():
            return _tokenizer_json(path) if path.suffix == ".json" else _vocab_txt(path)
    raise UnsupportedModelError(
        f"{folder}: neither tokenizer.json nor vocab.txt found; name one with --vocab"
    )


def _vocab_txt(path: Path) -> TokenizerSource:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path}: not valid UTF-8 at byte {error.start}") from None
    tokens = text.split("\n")
    while tokens and tokens[-1] == "":
        tokens.pop()
    tokens = [token.removesuffix("\r") for token in tokens]
    config_path = path.parent / "tokenizer_config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    lowercase = bool(config.get("do_lower_case", True))
    if config.get("strip_accents", None) not in (None, lowercase):
        raise UnsupportedModelError(f"{config_path}: strip_accents other than do_lower_case is not supported")
    if not config.get("tokenize_chinese_chars", True):
        raise UnsupportedModelError(f"{config_path}: tokenize_chinese_chars = false is not supported")
    return TokenizerSource(tuple(tokens), lowercase)


def _tokenizer_json(path: Path) -> TokenizerSource:
    value = read_json(path)

    def require(condition: bool, why: str) -> None:
        if not condition:
            raise UnsupportedModelError(f"{path}: {why}")

    model, normalizer = value.get("model") or {}, value.get("normalizer") or {}
    require(model.get("type", "WordPiece") == "WordPiece" and "vocab" in model, "the model is not WordPiece")
    require(model.get("unk_token", "[UNK]") == "[UNK]", "the unknown token is not [UNK]")
    require(
        model.get("continuing_subword_prefix", "##") == "##", "continuing word pieces do not begin with ##"
    )
    require(model.get("max_input_chars_per_word", 100) == 100, "max_input_chars_per_word is not 100")
    require(normalizer.get("type") == "BertNormalizer", "the normalizer is not BertNormalizer")
    lowercase = bool(normalizer.get("lowercase", True))
    require(bool(normalizer.get("clean_text", True)), "clean_text = false is not supported")
    require(
        bool(normalizer.get("handle_chinese_chars", True)), "handle_chinese_chars = false is not supported"
    )
    require(
        normalizer.get("strip_accents") in (None, lowercase),
        "strip_accents other than lowercase is not supported",
    )
    splitter = (value.get("pre_tokenizer") or {}).get("type")
    require(splitter == "BertPreTokenizer", "the pre-tokenizer is not BertPreTokenizer")
    ids: dict[str, int] = dict(model["vocab"])
    for token in value.get("added_tokens", []):
        require(token["content"] in ids, f"the added token {token['content']!r} is not in the vocabulary")
    require(sorted(ids.values()) == list(range(len(ids))), "token ids are not 0 to n - 1")
    return TokenizerSource(tuple(sorted(ids, key=ids.__getitem__)), lowercase)


# All together -----------------------------------------------------------------------------------------------


def build_encoder(
    parameters: dict[str, Floats], config: Mapping[str, Any], tokenizer: TokenizerSource, where: str
) -> FloatEncoder:
    """Joins and checks the parts. Word rows beyond the vocabulary (padding) are dropped."""
    tokens = len(tokenizer.vocabulary)
    rows = parameters["words.weight"].shape[0]
    if rows < tokens:
        raise UnsupportedModelError(f"{where}: {rows} word embeddings for a vocabulary of {tokens} tokens")
    parameters["words.weight"] = parameters["words.weight"][:tokens]
    architecture = architecture_from(config, parameters, where)
    check_shapes(parameters, architecture, where)
    smoothed = any((v != 1).any() for name, v in parameters.items() if name.endswith("inverse_smooth"))
    return FloatEncoder(
        architecture=architecture,
        parameters=parameters,
        vocabulary=tokenizer.vocabulary,
        lowercase=tokenizer.lowercase,
        smoothed=smoothed,
    )


def read_folder(folder: Path, vocab: Path | None) -> FloatEncoder:
    """A Hugging Face folder with config.json, model.safetensors and tokenizer.json or vocab.txt."""
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelFileError(f"{folder}: has no model.safetensors")
    config = read_config(folder / "config.json")
    parameters = from_bert_names(read_safetensors(weights), str(weights))
    return build_encoder(parameters, config, find_tokenizer(folder, vocab), str(folder))


def write_folder(encoder: FloatEncoder, folder: Path) -> None:
    """Writes an encoder as a Hugging Face folder that `read_folder` and the field's libraries read.

    A smoothing is folded into the weights. Positions and token type were joined when the encoder was read:
    the token type's embedding is written as zeros.
    """
    a, p = encoder.architecture, encoder.parameters
    hidden = a.hidden
    tensors: dict[str, Floats] = {
        "embeddings.word_embeddings.weight": p["words.weight"],
        "embeddings.position_embeddings.weight": p["positions"],
        "embeddings.token_type_embeddings.weight": np.zeros((2, hidden), np.float32),
    }

    def norm(name: str, to: str) -> None:
        tensors[f"{to}.weight"], tensors[f"{to}.bias"] = p[f"{name}.gamma"], p[f"{name}.beta"]

    norm("embedding_norm", "embeddings.LayerNorm")
    for layer in range(a.layers):
        to = f"encoder.layer.{layer}."
        weight, bias, smooth = encoder.linear(layer, "qkv")
        for i, name in enumerate(_QKV):
            part = slice(i * hidden, (i + 1) * hidden)
            tensors[f"{to}{name}.weight"], tensors[f"{to}{name}.bias"] = (weight * smooth)[part], bias[part]
        for short, name in _LAYER_NAMES.items():
            weight, bias, smooth = encoder.linear(layer, short)
            tensors[f"{to}{name}.weight"], tensors[f"{to}{name}.bias"] = weight * smooth, bias
        norm(f"layers.{layer}.attention_norm", f"{to}attention.output.LayerNorm")
        norm(f"layers.{layer}.ffn_norm", f"{to}output.LayerNorm")
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "intermediate_size": a.intermediate,
        "max_position_embeddings": a.positions,
        "vocab_size": a.vocabulary,
        "type_vocab_size": 2,
        "layer_norm_eps": a.norm_epsilon,
        "hidden_act": "gelu",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(assemble(tensors, {"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    (folder / "vocab.txt").write_text("\n".join(encoder.vocabulary) + "\n", "utf-8")
    settings = {"do_lower_case": encoder.lowercase, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n", "utf-8")
