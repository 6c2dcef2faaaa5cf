"""What an epoch of fine-tuning is made of: rows drawn by weight and changed, and made-up texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .._native import Engine
from .augment import Augmenter
from .benign import benign_sentences, degenerate_texts, everyday_prompts
from .config import TrainingConfig
from .contrast import contrast_texts
from .data import TRAIN, Dataset, fill_derived
from .finetune import Epoch, LossWeights
from .weights import row_weights

Ids = npt.NDArray[np.int64]


def loss_weights(dataset: Dataset, config: TrainingConfig) -> LossWeights:
    """Positives weigh by (negatives / positives) ** exponent, limited, as an epoch draws them."""
    rows, tuning = dataset.rows(TRAIN), config.finetune
    draws, labels = row_weights(dataset, config)[rows], dataset.labels[rows]
    ratio = (draws @ (labels == 0)) / (draws @ (labels == 1))
    positive = np.clip(ratio**tuning.positive_exponent, 1, tuning.max_positive_weight)
    category = [tuning.derived_weight if name in config.derived else 1.0 for name in config.scored]
    return LossWeights(np.array(category, np.float32), positive.astype(np.float32))


class Epochs:
    """Makes the texts of each epoch; the same for the same data, configuration and number."""

    def __init__(
        self, dataset: Dataset, config: TrainingConfig, engine: Engine, report: Callable[[str], None]
    ) -> None:
        """`engine` is of any model file with the vocabulary and the normalisation rules of the new one."""
        self.dataset, self.config, self.engine, self.report = dataset, config, engine, report
        self.rows = dataset.rows(TRAIN)
        self.draws = row_weights(dataset, config)[self.rows]
        domain = [config.source(name).kind == "domain" for name in dataset.sources]
        # Nobody judged these texts one by one, so there is no judgement to be wrong.
        self.certain = np.array(domain, np.bool_)[dataset.source]
        self.augmenter = Augmenter(config.finetune.seed, config.augment)

    def __call__(self, number: int) -> Epoch:
        """Epoch `number`, from 0."""
        tuning = self.config.finetune
        generator = np.random.default_rng([tuning.seed, number])
        whole = np.floor(self.draws)
        times = (whole + (generator.random(len(whole)) < self.draws - whole)).astype(np.int64)
        rows = np.repeat(self.rows, times)
        seed = tuning.seed * 1_000_003 + number
        made, made_labels = contrast_texts(seed, tuning.contrast_texts, self.config.scored)
        fill_derived(made_labels, self.config)
        texts, labels = self.augmenter(
            [*self.dataset.texts_of(rows), *made],
            np.concatenate([self.dataset.labels[rows], made_labels]),
            number,
        )
        harmless = [
            *benign_sentences(seed, tuning.identity_sentences),
            *everyday_prompts(seed, tuning.everyday_prompts),
            *degenerate_texts(seed, tuning.degenerate_texts),
        ]
        zeros = np.zeros((len(harmless), labels.shape[1]), np.int8)
        self.report(
            f"fine-tuning: epoch {number + 1}: {len(rows)} of {len(self.rows)} training rows drawn, "
            f"{len(made) + len(harmless)} texts made"
        )
        ids = [token_ids(self.engine, text, tuning.max_tokens) for text in [*texts, *harmless]]
        certain = np.concatenate(
            [self.certain[rows], np.zeros(len(made), np.bool_), np.ones(len(harmless), np.bool_)]
        )
        return Epoch(ids, np.concatenate([labels, zeros]), certain)


def token_ids(engine: Engine, text: str, max_tokens: int) -> Ids:
    """Token ids int64 [tokens] from [CLS] to [SEP]; a text that is too long loses its end."""
    ids = engine.tokenize(text)[0]
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    return np.array(ids, np.int64)
