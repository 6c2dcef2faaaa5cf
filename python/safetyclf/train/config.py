"""The configuration of a training run, as TOML has it. docs/training.md explains every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from .._modelfile import ModelInfo

DEFAULT_CONFIG = Path(__file__).with_name("default.toml")
CALIBRATION_METHODS = ("platt", "beta", "isotonic")
PRECISIONS = ("auto", "bf16", "fp32")
KINDS = ("human", "domain", "weak", "written", "guide")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Where the encoder comes from, and how an fp32 source becomes int8 (a model file stays as it is)."""

    origin: str = ""
    licence: str = ""
    rules: tuple[str, ...] = ()
    calibration_texts: int = 512
    layers: int = 0  # keep the first this many; 0 keeps all


@dataclass(frozen=True, kw_only=True)
class NearDuplicatesConfig:
    """Texts whose `shingle`-character runs have a Jaccard similarity of `threshold` are one; 0 keeps all."""

    threshold: float = 0.75
    shingle: int = 5
    permutations: int = 160
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """`files` are globs below the data folder; the labels of later ones override those of earlier ones."""

    files: tuple[str, ...]
    valid_share: float = 0.1
    test_share: float = 0.1
    calibration_share: float = 0.5  # of the valid rows; the rest is for selection
    near_duplicates: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A category whose label, where a row does not give it, is 1 if one of `any` is 1 and 0 if all are 0."""

    any: tuple[str, ...]
    definition: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the rows of one set come from. `kind` says who labelled them; weights and coverage go by it.

    `contrast` sets hold pairs that differ in a word or an emoji and in their labels, which must stay apart;
    those of the kinds written and guide are taken for such anyway.
    """

    kind: str = "human"
    origin: str = ""
    licence: str = ""
    attribution: str = ""
    contrast: bool = False
    weight: float = 1.0  # beside the factor of its kind


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Weight of a row = factor of its kind, for the part of a set beyond `full_rows` only by square root."""

    full_rows: int = 2000
    human: float = 1.0
    domain: float = 1.0
    weak: float = 0.5
    written: float = 1.0
    guide: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What is tried on the selection rows: every combination of the three."""

    l2: tuple[float, ...] = (1e-4,)
    reference_factor: tuple[float, ...] = (1.0,)
    positive_exponent: tuple[float, ...] = (0.5,)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Fine-tuning of encoder and heads; `epochs` 0 keeps the encoder frozen and fits heads alone."""

    epochs: int = 4
    seed: int = 0
    learning_rate: float = 2e-4  # of the last layer and of the heads
    layer_decay: float = 0.9  # factor from each layer to the one below it
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    batch_tokens: int = 4096
    batch_rows: int = 192
    max_tokens: int = 256  # longer training texts are cut; the engine itself has windows of 512
    dropout: float = 0.1
    clip_norm: float = 1.0
    average_decay: float = 0.998  # of the moving average of the parameters, which is what is kept
    label_smoothing: float = (
        0.01  # of rows that somebody judged; domain rows and made harmless texts are certain
    )
    positive_exponent: float = 0.5
    max_positive_weight: float = 8.0
    derived_weight: float = 0.2  # of the loss of derived categories, which repeat what others say
    exit_weight: float = 0.15  # of the labels' loss at each depth but the last
    distillation_weight: float = 0.15  # of the last depth's probabilities as a target for the others
    contrast_texts: int = 0  # made anew each epoch, with labels of their own
    identity_sentences: int = 0  # made as well, all of them harmless; so are the next two
    everyday_prompts: int = 0
    degenerate_texts: int = 0
    precision: str = "auto"  # "fp32", "bf16", or "auto": bf16 where the machine has matrix units for it


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How often a row is changed, and how.

    Attributes:
        identity_swap: probability that identity terms, if there are any, become others of their kind.
        concatenate: probability that a row gets other rows before and after it.
        concatenate_rows: most rows added.
        max_chars: a row is not concatenated beyond this length.
        truncate: probability that a row is cut (never concatenated as well).
        perturb: probability that one of the operations below changes the spelling.
        perturb_twice: probability that a second one follows.
        strength: share of the words that an operation changes, at most.
        lower: weight of this operation among all; so on for the others. They are named as the functions.
    """

    identity_swap: float = 0.15
    concatenate: float = 0.06
    concatenate_rows: int = 4
    max_chars: int = 4000
    truncate: float = 0.04
    perturb: float = 0.35
    perturb_twice: float = 0.15
    strength: float = 0.15
    lower: float = 0.0
    upper: float = 0.0
    title_case: float = 0.0
    random_case: float = 0.0
    strip_punctuation: float = 3.0
    collapse_whitespace: float = 0.0
    typos: float = 3.0
    leet: float = 1.0
    homoglyphs: float = 0.4
    mask: float = 1.0
    space_out: float = 0.6
    repeat_letters: float = 0.7
    join_words: float = 0.6


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Limits of the optimiser."""

    max_iterations: int = 300
    gradient_tolerance: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """When a curve can be fitted, and of which kinds."""

    methods: tuple[str, ...] = CALIBRATION_METHODS
    folds: int = 5  # for the choice among the methods
    min_positives: int = 10
    max_knots: int = 32


@dataclass(frozen=True, kw_only=True)
class ThresholdsConfig:
    """Bounds on the share of harmless texts that all categories together flag, with `confidence`.

    With `ordinary`, kinds of sources, the first two are about harmless texts of these kinds, and the `hard`
    ones about harmless texts of all kinds, look-alikes included. The first two also hold for ordinary
    sentences that name a group of people, `naming_sentences` of which are made (0: nothing is promised).
    """

    review_rate: float = 0.01
    block_rate: float = 0.0025
    hard_review_rate: float = 0.03
    hard_block_rate: float = 0.01
    ordinary: tuple[str, ...] = ()
    naming_sentences: int = 0
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class ExitsConfig:
    """Rules for leaving early; `rate` 0 makes none.

    Attributes:
        rate: at most this share of texts may leave although some category would have reached its floor, with
            `confidence` for all levels of floors together.
        margins: a level each, rising: floors so far below the thresholds that the selection rows give, in
            logits. Policies with thresholds above the floors of a level can use it.
        floor_rate: of the last level, for policies with lower thresholds: floors lie where this share of the
            harmless selection rows reaches one of them.
        texts: training texts for the weights of hidden states; the lexicon is fitted to all.
        pairs: size of the lexicon's table of token pairs, a power of two.
        l2: of the weights of hidden states.
    """

    rate: float = 0.0
    confidence: float = 0.95
    margins: tuple[float, ...] = (0.1, 0.3, 0.6)
    floor_rate: float = 0.05
    texts: int = 40_000
    pairs: int = 2**17
    l2: float = 1e-3
    lexicon_passes: int = 4
    lexicon_batch: int = 256
    lexicon_rate: float = 0.2
    lexicon_l2: float = 1e-5
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. `sha256` is that of the TOML file's bytes."""

    model: ModelInfo
    categories: tuple[str, ...]
    data: DataConfig
    uncovered: Mapping[str, str] = field(default_factory=dict)  # category without a head: the reason
    derived: Mapping[str, Derived] = field(default_factory=dict)
    trained_positives: int = 200
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    thresholds: ThresholdsConfig = field(default_factory=ThresholdsConfig)
    exits: ExitsConfig = field(default_factory=ExitsConfig)
    sources: Mapping[str, Source] = field(default_factory=dict)
    sha256: str = ""

    @property
    def scored(self) -> tuple[str, ...]:
        """Categories that get a head, in column order."""
        return tuple(c for c in self.categories if c not in self.uncovered)

    def source(self, name: str) -> Source:
        """The entry of a source: that of its name, else of the first pattern that fits, else the default."""
        matching = (entry for pattern, entry in self.sources.items() if fnmatchcase(name, pattern))
        return self.sources.get(name) or next(matching, Source())

    def weight_of_kind(self, kind: str) -> float:
        """The factor of a kind of source."""
        return float(getattr(self.weights, kind))
