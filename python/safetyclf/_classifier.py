"""The classifier: a thin layer over the native engine, which does all of the work without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

from ._engine import BUNDLED, open_engine
from ._errors import InvalidArgumentError, InvalidInputError, ModelFileError
from ._in_force import InForce, Policy
from ._native import build_info
from ._results import Explanation, OffsetUnit, TermMatch, Thresholds, merge_words
from ._texts import Texts, as_tuple, for_engine, problem_of
from ._verdict import Verdict, state_of, with_terms

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._chat import ChatVerdict, Message
    from ._text_stream import CheckEvery, TextStream

_MAX_THREADS: Final = 1024
Effort: TypeAlias = Literal["full", "adaptive"]
_LARGEST_TEXT: Final = 1 << 30
_MOST_MEMORY: Final = 1 << 50


class Classifier:
    """Scores texts with one model. Immutable; every method may be called from any number of threads at once.

    The result for a text is the same bits whatever else is in the batch and whatever the order, the number of
    threads, the batch size and the instruction set; ONNX models may differ in the last digits (docs/onnx.md).
    A forked child may go on using it (docs/threading.md).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        policy: Policy | None = None,
        audience: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        effort: Effort = "full",
        max_text_bytes: int = 1 << 20,
        max_memory: int | None = None,
        isa: str | None = None,
    ) -> None:
        """Loads a model file and checks every byte of it.

        Args:
            model: path of a model file, or of the description of an ONNX model, NAME.toml (docs/onnx.md);
                None takes SAFETYCLF_MODEL, or else the model inside the package.
            policy: a policy file (docs/policies.md), by its path or as `safetyclf.policy.load` gives it; or
                thresholds that replace the model file's: category -> review threshold, or (review, block).
                Numbers in [0, 1], None for never. One number alone sets the review threshold and keeps the
                file's block threshold, or raises it to the same.
            audience: one of the policy file's audiences, whose thresholds hold in place of its general ones.
            device: "cpu"; "cuda", an NVIDIA GPU, or "cuda:1", another (docs/cuda.md); or "auto": "cuda" where
                that can be had, and else the CPU, and `device_note` says why. Verdicts have the same bits
                everywhere. For ONNX models it is where ONNX Runtime runs (docs/onnx.md). None takes
                SAFETYCLF_DEVICE, or else "cpu".
            threads: threads that work on one call, 1 to 1024; 1 works in the calling thread alone. None takes
                SAFETYCLF_THREADS, or else as many as this process may use.
            effort: "full" runs every layer of the model; "adaptive" lets a text leave before the last one
                where the rules of the model file are sure enough that nothing will be flagged
                (docs/adaptive-depth.md).
            max_text_bytes: longer texts are refused, counted in UTF-8 bytes; 1 to 2**30.
            max_memory: working memory at most, in bytes; None is no limit. It bounds what calls need besides
                the model, their texts and their results, by less work at once: verdicts stay the same bits
                (docs/embedding.md).
            isa: instruction set by its name in `build_info()["supported_isas"]`; None takes SAFETYCLF_ISA, or
                else the best.

        Raises:
            ModelFileError: the file cannot be read. ModelFormatError: it is not a valid model file.
            MissingDependencyError: it describes an ONNX model, and the extra `onnx` is not installed.
            InvalidArgumentError: an option is out of its range, `max_memory` is too small for a text of
                `max_text_bytes` (the message names the least), the file has no calibrated heads; or `effort`
                is "adaptive" and the file has no rules for that, or the policy has a threshold below a floor
                of theirs.
            DeviceError: "cuda" cannot be had; the message says what to do. Calls raise it if the GPU fails.
            PolicyError: the policy file breaks a rule, or the policy does not fit the model.
            UnsupportedIsaError: this CPU or this build lacks the instruction set.
        """
        place = os.environ.get("SAFETYCLF_DEVICE") or "cpu" if device is None else device
        _check_device(place)
        _check_choice("effort", effort, ("full", "adaptive"))
        max_text_bytes = _checked_int("max_text_bytes", max_text_bytes, _LARGEST_TEXT)
        if isa is not None and not isinstance(isa, str):
            raise InvalidArgumentError(f"isa must be a str or None, not {type(isa).__name__}")
        # What a pickle restores; the environment is read again where it is restored.
        self._options: dict[str, Any] = {
            "model": None if model is None else _path(model),
            "device": device,
            "threads": None if threads is None else _checked_int("threads", threads, _MAX_THREADS),
            "max_text_bytes": max_text_bytes,
            "max_memory": None
            if max_memory is None
            else _checked_int("max_memory", max_memory, _MOST_MEMORY),
            "effort": effort,
            "isa": isa,
        }
        self._path = self._options["model"] or os.environ.get("SAFETYCLF_MODEL") or BUNDLED
        self._engine, self._device_note = open_engine(
            self._path,
            device=place,
            threads=self._options["threads"] or _threads_from_environment(),
            max_text_bytes=max_text_bytes,
            isa=isa or "",
            max_memory=self._options["max_memory"] or 0,
        )
        self._metadata: dict[str, str] | None = None
        self._categories = tuple(name for name, _ in self._engine.categories)
        if not self._engine.thresholds:
            raise InvalidArgumentError(
                f"{self._path}: this model file has no calibrated heads: nothing to score"
            )
        if effort == "adaptive" and not self._engine.exit_floors:
            raise InvalidArgumentError(
                f"{self._path}: this model file has no rules for leaving early: effort must be 'full'"
            )
        self._use(policy, audience)

    def classify(self, text: str) -> Verdict:
        """The verdict on one text.

        Raises:
            InvalidInputError: `text` is not a str.
            TextTooLargeError: it has more than `max_text_bytes` UTF-8 bytes.
        """
        if not isinstance(text, str):
            hint = "; decode it first" if isinstance(text, bytes) else ""
            raise InvalidInputError(f"classify takes one str, not {type(text).__name__}{hint}")
        return self._verdicts([text])[0]

    def classify_batch(self, texts: Texts) -> list[Verdict]:
        """One verdict per text, in order.

        Args:
            texts: list or tuple of str, NumPy object or str array, Arrow string array (whatever exports one
                by the Arrow PyCapsule interface), or another iterable of str.

        Raises:
            InvalidInputError: a text is not a str, or `texts` is one str. The message has the text's index,
                as in the next.
            TextTooLargeError: a text has more than `max_text_bytes` UTF-8 bytes.
        """
        return self._verdicts(as_tuple(texts, "classify_batch"))

    def stream(self, texts: Iterable[str], *, batch_size: int = 256) -> Iterator[Verdict]:
        """Verdicts for any number of texts, in order, in bounded memory.

        Takes `batch_size` texts at a time, 1 to 2**20. Raises the errors of `classify_batch`; that of a text
        comes after the verdicts of all texts before it.
        """
        if isinstance(texts, str | bytes | bytearray) or not isinstance(texts, Iterable):
            raise InvalidInputError(f"stream takes an iterable of texts, not {type(texts).__name__}")
        return self._stream(iter(texts), _checked_int("batch_size", batch_size, 1 << 20))

    def open_text(self, *, check_every: CheckEvery = 80, hold: int = 0) -> TextStream:
        """Begins a text that is still being written, such as a language model's answer.

        Feed it in parts: each tells what may be shown (docs/conversations.md).

        Args:
            check_every: how often to judge: after this many new characters, at the end of a word; or
                "sentence", at ends of sentences. Text is held back until then.
            hold: how many judged characters to hold back in addition, so that what follows them is known
                before they are shown.
        """
        from ._text_stream import TextStream

        return TextStream(self, check_every, hold)

    def classify_chat(
        self,
        messages: Iterable[Message],
        *,
        judge_roles: Collection[str] | None = None,
        context_roles: Collection[str] | None = None,
        context_turns: int = 1,
    ) -> ChatVerdict:
        """Verdicts on the turns of a conversation, each alone and after the turns before it.

        docs/conversations.md states the rule and what it costs in false alarms.

        Args:
            messages: mappings with "role", any str, and "content", a str or a list of parts
                `{"type": "text", "text": ...}`.
            judge_roles: roles whose turns are judged; None judges all.
            context_roles: roles whose turns are context of later ones; None takes all.
            context_turns: how many turns before it a turn is read with; flagged ones are passed over.

        Raises:
            InvalidInputError: a message is not of that form, or there is none.
            InvalidArgumentError: `context_turns` is no number.
            TextTooLargeError: a turn has more than `max_text_bytes` UTF-8 bytes.
        """
        from ._chat import classify_chat

        return classify_chat(self, messages, judge_roles, context_roles, context_turns)

    @overload
    def scores(self, texts: Texts, *, depths: Literal[False] = False) -> npt.NDArray[np.float32]: ...
    @overload
    def scores(
        self, texts: Texts, *, depths: Literal[True]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16]]: ...
    def scores(
        self, texts: Texts, *, depths: bool = False
    ) -> npt.NDArray[np.float32] | tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16]]:
        """Calibrated probabilities, float32 (n, k), columns in the order of `categories`.

        With `depths` also uint16 (n): after how many layers each text left; with effort "full" that is always
        all of them.

        Arguments and errors as for `classify_batch`. Texts in Arrow arrays are read there, without a copy.
        """
        native = for_engine(texts, "scores")
        if self._level is not None:
            values, _, _, left = self._engine.adaptive_probabilities(native, self._level)
            return (values, left) if depths else values
        values = self._engine.probabilities(native)[0]
        if not depths:
            return values
        import numpy

        return values, numpy.full(len(values), self._engine.depths - 1, numpy.uint16)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the scored categories, in column order; none whose coverage is "none"."""
        return self._categories

    @property
    def coverage(self) -> dict[str, str]:
        """What stands behind each category that the model file names.

        "trained", "weak" (few or indirect labels), "derived" (from other labels), or "none": not scored.
        """
        return self._in_force.coverage

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """The thresholds in force for each scored category: the model file's, or the policy's."""
        return dict(self._in_force.thresholds)

    @property
    def statements(self) -> dict[str, dict[str, Any]]:
        """What the thresholds in force rest on, in JSON types, by the ids that verdicts name."""
        return self._in_force.statements

    @property
    def policy_id(self) -> str | None:
        """`id-version+hash` of the policy file in force; None where the model file's thresholds are."""
        return self._in_force.rules.policy

    @property
    def model_id(self) -> str:
        """`name-version+hash`; the hash commits to every byte of the model file."""
        return self._engine.model_id

    @property
    def max_text_bytes(self) -> int:
        """Longer texts, counted in UTF-8 bytes, are refused."""
        return int(self._options["max_text_bytes"])

    @property
    def device(self) -> str:
        """Where texts are scored: "cpu", or a GPU such as "cuda:0"."""
        return self._engine.device

    @property
    def device_note(self) -> str | None:
        """Why `device="auto"` took the CPU; None if it did not, or was not asked for."""
        return self._device_note

    def info(self) -> dict[str, Any]:
        """What this classifier is, in JSON types: metadata of the model file, thresholds in force, build."""
        model = self._section("model")
        return {
            "model": self.model_id,
            "path": self._path,
            "name": model["name"],
            "version": model["version"],
            "licence": model["licence"],
            "description": model["description"],
            "architecture": self._section("architecture"),
            "tokenizer": self._section("tokenizer"),
            "categories": [self._category_info(category) for category in self._section("categories")],
            "calibration": self._section("calibration"),
            "policy": self.policy_id,
            "audience": self._in_force.audience,
            "effort": self._options["effort"],
            "exits": {**self._section("exits"), "level": self._level} if self._engine.exit_floors else None,
            "evaluation": self._section("evaluation"),
            "provenance": self._section("provenance"),
            "device": self.device,
            "device_note": self.device_note,
            "isa": self._engine.isa,
            "threads": self._engine.threads,
            "max_text_bytes": self.max_text_bytes,
            "max_memory": self._options["max_memory"],
            "build": build_info(),
        }

    def __repr__(self) -> str:
        return (
            f"<Classifier {self.model_id}: {len(self._categories)} categories, "
            f"{self.device}, {self._engine.isa}, {self._engine.threads} threads>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference: the other process needs the same model file at the same path, or the same package.
        return _restore, (self._options, self._in_force.policy, self._in_force.audience, self.model_id)

    def _use(self, policy: Policy | None, audience: str | None) -> None:
        self._in_force = InForce(self._engine, self._section, policy, audience)
        self._level = self._first_level() if self._options["effort"] == "adaptive" else None

    def _with_policy(self, policy: Policy | None, audience: str | None) -> Classifier:
        """A classifier that decides by another policy, on the same engine."""
        other = object.__new__(Classifier)
        other.__dict__.update(self.__dict__)
        other._use(policy, audience)
        return other

    def _first_level(self) -> int:
        """The first level of the rules for leaving early whose floors lie below the thresholds."""
        problem = ""
        for level, floors in enumerate(self._engine.exit_floors):
            below = [
                f"the threshold {review:g} of {category!r} is below its floor {floor:g}"
                for (category, (review, _)), floor in zip(
                    self._in_force.thresholds.items(), floors, strict=True
                )
                if review is not None and review < floor
            ]
            if not below:
                return level
            problem = below[0]
        raise InvalidArgumentError(
            f"effort='adaptive': {problem}, down to which the rules for leaving early hold; use effort='full'"
        )

    def _verdicts(self, texts: Sequence[str]) -> list[Verdict]:
        states = self._engine.verdicts(texts, self._in_force.native, self._level)
        found = self._in_force.terms(texts)
        explain, rules = self._explain, self._in_force.rules
        if found is None:
            return [Verdict(state, rules, (text, explain)) for text, state in zip(texts, states, strict=True)]
        return [
            Verdict(with_terms(state, matches, rules.categories), rules, (text, explain), matches)
            for text, state, matches in zip(texts, states, found, strict=True)
        ]

    def _judge(
        self, text: Callable[[], str], scores: Sequence[float], windows: int, repaired: bool
    ) -> Verdict:
        """The verdict by scores made elsewhere; `text` is asked for by term lists and to explain."""
        rules = self._in_force.rules
        state = state_of(scores, self._in_force.thresholds.values(), windows, repaired)
        matches: tuple[TermMatch, ...] = ()
        if self._in_force.has_terms and (found := self._in_force.terms([text()])):
            matches = found[0]
            state = with_terms(state, matches, rules.categories)
        return Verdict(
            state, rules, ("", lambda _, category, unit: self._explain(text(), category, unit)), matches
        )

    def _stream(self, texts: Iterator[str], batch_size: int) -> Iterator[Verdict]:
        first = 0
        while batch := list(islice(texts, batch_size)):
            problem = None
            for i, text in enumerate(batch):
                problem = problem_of(text, f"text {first + i}", self.max_text_bytes)
                if problem is not None:
                    del batch[i:]
                    break
            yield from self._verdicts(batch)
            if problem is not None:
                raise problem
            first += len(batch)

    def _explain(self, text: str, category: str, unit: OffsetUnit) -> Explanation:
        native = self._engine.explain(text, self._categories.index(category))
        return merge_words(text, category, native, unit)

    def _section(self, key: str) -> Any:
        """A part of the metadata, parsed when it is asked for: most processes never do."""
        import json

        if self._metadata is None:
            self._metadata = json.loads(self._engine.metadata)
        return json.loads(self._metadata[key])

    def _category_info(self, category: dict[str, Any]) -> dict[str, Any]:
        thresholds = self._in_force.thresholds.get(category["name"], Thresholds(None, None))
        return {**category, "review": thresholds.review, "block": thresholds.block}


def _restore(
    options: dict[str, Any], policy: Policy | None, audience: str | None, model_id: str
) -> Classifier:
    """Unpickles a classifier. Raises ModelFileError when the model file is not the one it had."""
    classifier = Classifier(**options)
    if classifier.model_id != model_id:
        raise ModelFileError(
            f"cannot unpickle the classifier: the model here is {classifier.model_id}, it had {model_id}"
        )
    classifier._use(policy, audience)
    return classifier


def _path(model: str | os.PathLike[str]) -> str:
    try:
        return os.path.abspath(os.fsdecode(model))
    except TypeError:
        raise InvalidArgumentError(f"model must be a path or None, not {type(model).__name__}") from None


def _threads_from_environment() -> int:
    """SAFETYCLF_THREADS, or 0: as many as the process may use."""
    value = os.environ.get("SAFETYCLF_THREADS")
    if not value:
        return 0
    try:
        return _checked_int("SAFETYCLF_THREADS", int(value), _MAX_THREADS)
    except ValueError:
        raise InvalidArgumentError(f"SAFETYCLF_THREADS must be 1 to {_MAX_THREADS}, not {value!r}") from None


def _checked_int(name: str, value: int, largest: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= value <= largest:
        raise InvalidArgumentError(f"{name} must be an integer from 1 to {largest}, not {value!r}")
    return int(value)


def _check_device(value: object) -> None:
    if value in ("cpu", "cuda", "auto"):
        return
    number = value.removeprefix("cuda:") if isinstance(value, str) else ""
    if value != f"cuda:{number}" or not (number.isascii() and number.isdecimal() and len(number) < 5):
        raise InvalidArgumentError(f"device={value!r}; allowed: 'cpu', 'cuda', 'cuda:1', ..., 'auto'")


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgumentError(f"{name}={value!r}; allowed: {', '.join(map(repr, allowed))}")
