"""The whole evaluation: suites and a model in, one frozen report out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._classifier import Classifier, Effort
from .._errors import InvalidArgumentError
from .._in_force import Policy
from ..suites import EXPECTED_FLAG, KNOWN, UNKNOWN, DataFile, Suite, combined, read_suite
from .benign import BenignFigures, NoiseFigures, noise_floor, over_blocking
from .bias import BiasFigures, bias_figures
from .bootstrap import CONFIDENCE, generator
from .exits import ExitFigures, ExitMean, exit_figures
from .figures import BinaryFigures, binary_figures, category_figures
from .float_comparison import FloatFigures, float_figures
from .quoted import Quoted, quoted_for
from .robustness import Robustness, classifier_curves
from .scoring import Floats, Progress, Scorer, Scores
from .slices import SliceFigures, slice_figures
from .speed import Speed, measured_speed

ANY: Final = "any category"
MAX_RESAMPLES: Final = 100_000
_MAX_TEXT_BYTES: Final = 1 << 24  # attacked texts are longer than those of the files


@dataclass(frozen=True)
class Settings:
    """What else decides the figures. Equal settings, data and model give equal reports."""

    seed: int
    resamples: int
    confidence: float
    split: str | None
    slices: Mapping[str, str]


@dataclass(frozen=True)
class SuiteFacts:
    """What was measured on: the suite's id, name, version, licence, and the rows taken."""

    id: str
    name: str
    version: str
    licence: str
    rows: int


@dataclass(frozen=True)
class SourceFigures:
    """Rows of one source, or of all ("all"), and the figures of each scored category and of ANY.

    ANY is the highest probability over the scored categories against "any label is 1; 0 if at least one is
    known and all known ones are 0"; its decisions are those of the verdict. Where rows say whether they
    should be flagged, "expected_flag" is the same against that.
    """

    source: str
    rows: int
    categories: Mapping[str, BinaryFigures]


@dataclass(frozen=True)
class Report:
    """All figures of one evaluation; docs/evaluation.md explains each.

    Attributes:
        model: id of the model, `name-version+hash`.
        policy: id of the policy file in force, if any.
        coverage: of each category that the model file names.
        settings: seed and the like.
        suites: what was measured on.
        files: of the suites, with rows.
        notes: what the rows cannot tell, a sentence each.
        not_scored: labelled categories for which the model has no score.
        sources: figures by source; "all" first.
        slices: figures by values under the keys of slices.
        bias: by identity term.
        over_blocking: on benign rows.
        noise: on degenerate inputs.
        exits: by depth; empty for a model that has none.
        exit_means: by depth, over categories.
        robustness: under attacks; None unless asked for.
        float_comparison: int8 against fp32; None unless asked for.
        speed: latency and throughput; None unless asked for.
        quoted: published figures for sets of these sources.
    """

    model: str
    policy: str | None
    coverage: Mapping[str, str]
    settings: Settings
    suites: tuple[SuiteFacts, ...]
    files: tuple[DataFile, ...]
    notes: tuple[str, ...]
    not_scored: tuple[str, ...]
    sources: tuple[SourceFigures, ...]
    slices: tuple[SliceFigures, ...]
    bias: tuple[BiasFigures, ...]
    over_blocking: tuple[BenignFigures, ...]
    noise: tuple[NoiseFigures, ...]
    exits: tuple[ExitFigures, ...]
    exit_means: tuple[ExitMean, ...]
    robustness: Robustness | None
    float_comparison: tuple[FloatFigures, ...] | None
    speed: Speed | None
    quoted: tuple[Quoted, ...]

    def to_json(self) -> str:
        """One JSON object; figures that do not exist are null, numbers have six significant digits."""
        return json.dumps(_plain(dataclasses.asdict(self)), indent=1, ensure_ascii=False) + "\n"


def evaluate_suites(
    suites: Sequence[Suite | str | os.PathLike[str]],
    *,
    model: Classifier | str | os.PathLike[str] | None = None,
    policy: Policy | None = None,
    audience: str | None = None,
    split: str | None = None,
    slices: Mapping[str, str] | None = None,
    attacks: Effort | None = None,
    float_encoder: str | os.PathLike[str] | None = None,
    speed: bool = True,
    seed: int = 0,
    resamples: int = 1000,
    threads: int | None = None,
    isa: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Evaluates a model on suites, taken together and by source.

    Args:
        suites: what `safetyclf.suites.read_suite` gives, or paths that it reads.
        model: a classifier, or a model file; None as for `Classifier`.
        policy: as for `Classifier`; so are the five below. None of them goes with a classifier.
        audience: one of the policy's.
        split: take rows of this split alone; only with paths.
        slices: take rows with these values under these keys alone.
        attacks: also attack the texts. "adaptive" measures decisions alone, and texts may leave the model
            early where its file has rules for that; "full" has all layers, and average precision too.
        float_encoder: Hugging Face folder with the same encoder in fp32, to compare with.
        speed: also measure latency; without it reports of equal input are equal.
        seed: of resamples, attacks and what is timed, at least 0.
        resamples: of the bootstrap; 0 leaves its intervals out.
        threads: that work.
        isa: instruction set.
        device: where texts are scored.
        progress: called with a task, texts done and texts in all.

    Raises:
        DataFileError: a suite cannot be read; the message names file and line.
        InvalidArgumentError: an option is out of its range, a slice is empty, the model scores nothing that
            is labelled, or the fp32 encoder does not fit the model.
        ModelFileError, PolicyError, UnsupportedIsaError: as for `Classifier`.
    """
    if seed < 0:
        raise InvalidArgumentError(f"seed must be at least 0, not {seed}")
    if not 0 <= resamples <= MAX_RESAMPLES:
        raise InvalidArgumentError(f"resamples must be 0 to {MAX_RESAMPLES}, not {resamples}")
    options = {"policy": policy, "audience": audience, "threads": threads, "isa": isa, "device": device}
    classifier = _classifier(model, options)
    read = [_read(suite, classifier, split, slices or {}) for suite in suites]
    data = combined(read)
    notes = _notes(data, classifier.categories)
    scorer = Scorer(classifier, progress or _silent)
    begin = time.perf_counter()
    scores = scorer.scores(data.texts)
    seconds = time.perf_counter() - begin
    logits = scorer.all_logits(data.texts)
    ranking = logits[-1] if logits else scores.probabilities
    bootstrap: dict[str, int] = {"seed": seed, "resamples": resamples}
    exits, means = exit_figures(data, scores.categories, logits, **bootstrap)
    robustness = None
    if attacks is not None:
        attacked = classifier
        if attacks == "adaptive" and scorer.has_exits and classifier._engine.exit_floors:
            attacked = _classifier(model, {**options, "effort": attacks})
        robustness = classifier_curves(
            data,
            attacked,
            ranking=attacks == "full",
            clean=scores.probabilities if attacked is classifier else None,
            progress=scorer.progress,
            **bootstrap,
        )
    names = data.source_names()
    return Report(
        model=classifier.model_id,
        policy=classifier.policy_id,
        coverage=classifier.coverage,
        settings=Settings(seed, resamples, CONFIDENCE, split, dict(slices or {})),
        suites=tuple(SuiteFacts(s.full_id, s.name, s.version, s.licence, len(s.texts)) for s in read),
        files=data.files,
        notes=notes,
        not_scored=tuple(name for name in data.categories if name not in scores.categories),
        sources=tuple(
            source_figures(data, scores, ranking, name, **bootstrap)
            for name in ["all", *(names if len(names) > 1 else [])]
        ),
        slices=slice_figures(data, scores, ranking, progress=scorer.progress, **bootstrap),
        bias=bias_figures(data, scores, **bootstrap),
        over_blocking=over_blocking(data, scores),
        noise=noise_floor(classifier.scores, classifier.categories, classifier.thresholds),
        exits=exits,
        exit_means=means,
        robustness=robustness,
        float_comparison=(
            None if float_encoder is None else float_figures(data, scores, scorer, float_encoder, **bootstrap)
        ),
        speed=measured_speed(scorer, data.texts, seconds, seed) if speed else None,
        quoted=quoted_for(names),
    )


def _classifier(model: Classifier | str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Classifier:
    if not isinstance(model, Classifier):
        return Classifier(model, max_text_bytes=_MAX_TEXT_BYTES, **options)
    for name, value in options.items():
        if value is not None and name != "effort":  # a classifier is taken as it is
            raise InvalidArgumentError(f"{name}: the classifier has it already; give one or the other")
    return model


def _read(
    suite: Suite | str | os.PathLike[str],
    classifier: Classifier,
    split: str | None,
    slices: Mapping[str, str],
) -> Suite:
    if not isinstance(suite, Suite):
        known = dict.fromkeys([*classifier.categories, *classifier.coverage, *KNOWN])
        suite = read_suite(suite, split=split, known=list(known))
    elif split is not None:
        raise InvalidArgumentError("split: these suites are read already; give it to read_suite")
    return suite.restricted(slices) if slices else suite


def _notes(data: Suite, scored: Sequence[str]) -> tuple[str, ...]:
    """What the rows cannot tell, in a sentence each."""
    both = [name for name in data.categories if name in scored]
    if not both and (data.expected_flag == UNKNOWN).all():
        raise InvalidArgumentError(
            f"{data.name}: nothing to measure: it labels {', '.join(data.categories)}, and the model scores "
            f"{', '.join(scored)}"
        )
    found = []
    for label, what in ((1, "positives"), (0, "negatives")):
        without = [name for name in both if not (data.column(name) == label).any()]
        if without:
            found.append(f"no {what}, so no AUPRC, AUROC and recall at 1 % FPR: {', '.join(without)}")
    return tuple(found)


def source_figures(
    data: Suite, scores: Scores, ranking: Floats, source: str, *, seed: int, resamples: int
) -> SourceFigures:
    """Figures of one source; "all" takes every row. `ranking` [n, C] ranks the rows of each category."""
    rows = np.ones(len(data.texts), np.bool_) if source == "all" else data.sources == source

    def verdict(name: str, labels: npt.NDArray[np.int8]) -> BinaryFigures:
        known = rows & (labels != UNKNOWN)
        return binary_figures(
            scores.highest[known],
            scores.highest[known],
            labels[known],
            *scores.any_decisions(known),
            random=generator(seed, source, name),
            resamples=resamples,
        )

    whole = {ANY: verdict(ANY, data.any_label())}
    if (data.expected_flag != UNKNOWN).any():
        whole[EXPECTED_FLAG] = verdict(EXPECTED_FLAG, data.expected_flag)
    by_category = category_figures(
        scores.categories,
        scores.probabilities[rows],
        ranking[rows],
        data.columns(scores.categories)[rows],
        scores.review,
        scores.block,
        decided=None if scores.terms is None else (scores.reviewed[rows], scores.blocked[rows]),
        seed=seed,
        resamples=resamples,
        scope=source,
    )
    return SourceFigures(source, int(rows.sum()), {**whole, **by_category})


def _silent(task: str, done: int, total: int) -> None:
    """No progress."""


def _plain(value: Any) -> Any:
    """JSON types: NaN, which JSON lacks, becomes null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
