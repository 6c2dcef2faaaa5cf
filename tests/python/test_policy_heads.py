"""Heads of custom categories: background, fit, cross-validation, thresholds."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from places import BUNDLED
from safetyclf import PolicyError, _modelfile
from safetyclf._native import Engine
from safetyclf.policy import background, custom_heads
from safetyclf.policy.background import Background, Pooled
from safetyclf.policy.bounds import allowed_hits, upper_bound

HIDDEN = 16


def one_window(vectors: np.ndarray) -> Pooled:
    return Pooled(vectors.astype(np.float32), np.arange(len(vectors) + 1))


def blob(n: int, seed: int, shift: float = 0.0, hidden: int = HIDDEN) -> Pooled:
    """Normal vectors whose first numbers are shifted."""
    vectors = np.random.default_rng(seed).normal(size=(n, hidden))
    vectors[:, :3] += shift
    return one_window(vectors)


def world(fitting: int = 400, held_out: int = 1000, rounding: float = 0.0) -> Background:
    return Background(blob(fitting, 1), blob(held_out, 2), np.full(HIDDEN, rounding), {})


def test_pooled_texts_score_by_their_highest_window() -> None:
    texts = Pooled(np.array([[1, 0], [3, 0], [2, 0]], np.float32), np.array([0, 2, 3]))
    assert texts.logits(np.array([1.0, 0.0]), -1.0).tolist() == [2.0, 1.0]
    assert texts.take(np.array([1, 0])).logits(np.array([1.0, 0.0]), 0.0).tolist() == [2.0, 3.0]
    assert texts.shares().tolist() == [0.5, 0.5, 1.0]


def test_a_head_finds_what_examples_have_in_common() -> None:
    fitted = custom_heads.fit(blob(25, 3, shift=2.0), blob(25, 4), world())
    fresh = fitted.head.logits(blob(500, 5, shift=2.0))
    assert (fresh > 0).mean() > 0.9
    assert (fitted.head.logits(blob(500, 6)) < 0).mean() > 0.9
    assert fitted.statement()["average_precision"] > 0.5


def test_examples_are_scored_by_heads_that_did_not_see_them() -> None:
    """Labels without meaning: a head that had seen its examples would tell them apart."""
    hidden = 200
    random = Background(blob(100, 1, hidden=hidden), blob(300, 2, hidden=hidden), np.zeros(hidden), {})
    positive, negative = blob(20, 3, hidden=hidden), blob(20, 4, hidden=hidden)
    fitted = custom_heads.fit(positive, negative, random)
    seen = custom_heads.fit_head(positive, negative, random.fitting)
    gap = np.median(seen.logits(positive)) - np.median(seen.logits(random.held_out))
    assert gap > 1.5
    assert abs(np.median(fitted.positive) - np.median(fitted.background)) < 0.5 * gap


def test_thresholds_keep_their_rate_as_often_as_they_say() -> None:
    fitted = custom_heads.fit(blob(25, 3, shift=1.0), blob(25, 4), world())
    spread, bias = float(np.linalg.norm(fitted.head.weight)), fitted.head.bias
    broken = 0
    for seed in range(200):
        seen = dataclasses.replace(fitted, background=fitted.head.logits(blob(500, 100 + seed)))
        threshold = seen.above_background(0.05)
        stated = seen.at(threshold, 0.05)
        assert stated["background_bound"] <= 0.05
        assert stated["background_bound"] == pytest.approx(
            upper_bound(allowed_hits(500, 0.05, 0.95), 500, 0.95), rel=1e-3
        )
        # Logits of normal vectors are normal.
        standard = (np.log(threshold / (1 - threshold)) - bias) / spread
        broken += 0.5 * math.erfc(standard / math.sqrt(2)) > 0.05
    assert 0 < broken < 20  # 10 are allowed, with a deviation of 3


def test_too_few_background_texts_promise_nothing() -> None:
    fitted = custom_heads.fit(blob(25, 3, shift=1.0), blob(25, 4), world(held_out=298))
    assert fitted.above_background(0.01) == _modelfile.NEVER
    assert (
        custom_heads.fit(blob(25, 3, shift=1.0), blob(25, 4), world(held_out=299)).above_background(0.01) < 1
    )


def test_rounding_of_the_bank_raises_thresholds() -> None:
    exact, rough = (
        custom_heads.fit(blob(25, 3, shift=1.0), blob(25, 4), world(rounding=rounding))
        for rounding in (0, 0.1)
    )
    assert rough.above_background(0.05) > exact.above_background(0.05)


def test_few_positives_state_no_recall() -> None:
    fitted = custom_heads.fit(blob(9, 3, shift=2.0), blob(9, 4), world())
    assert fitted.statement()["average_precision"] is None
    assert "9" not in fitted.statement()["note"]
    assert "recall" not in fitted.at(fitted.above_background(0.05))
    assert "recall" in custom_heads.fit(blob(10, 3, shift=2.0), blob(9, 4), world()).at(0.5)


def test_recall_is_promised_by_enough_positives_alone() -> None:
    many = custom_heads.fit(blob(29, 3, shift=2.0), blob(9, 4), world())
    threshold = many.below_positives(0.9)
    assert threshold is not None
    assert many.at(threshold)["recall"] == 1.0  # none of 29 may be missed
    assert custom_heads.fit(blob(28, 3, shift=2.0), blob(9, 4), world()).below_positives(0.9) is None


def test_recall_has_an_exact_interval() -> None:
    fitted = dataclasses.replace(
        custom_heads.fit(blob(20, 3, shift=2.0), blob(9, 4), world()),
        positive=np.array([5.0] * 15 + [-5.0] * 5),
    )
    assert fitted.at(0.5)["recall_interval"] == [0.509, 0.9134]  # of 15 in 20, from tables


def test_a_background_full_of_the_category_is_noticed() -> None:
    assert custom_heads.fit(blob(20, 3, shift=2.0), blob(20, 4), world()).background_alike() is None
    mixed = np.concatenate([blob(700, 1).vectors, blob(300, 2, shift=2.0).vectors])
    share = custom_heads.fit(
        blob(20, 3, shift=2.0), blob(20, 4), dataclasses.replace(world(), held_out=one_window(mixed))
    ).background_alike()
    assert share is not None
    assert share > 0.1


def test_one_negative_and_constant_features_do_no_harm() -> None:
    def flat(pooled: Pooled) -> Pooled:
        vectors = pooled.vectors.copy()
        vectors[:, 5] = 1.0
        return one_window(vectors)

    texts = world()
    fitted = custom_heads.fit(
        flat(blob(5, 3, shift=2.0)),
        flat(blob(1, 4)),
        dataclasses.replace(texts, fitting=flat(texts.fitting), held_out=flat(texts.held_out)),
    )
    assert np.isfinite(fitted.head.weight).all()
    assert np.isfinite(fitted.background).all()


def test_the_shared_curve_is_the_sigmoid() -> None:
    x = np.linspace(-11, 11, 1001).astype(np.float32)
    # Chords of steps of 1/4 differ from the sigmoid by at most (1/4)^2 / 8 * max |sigmoid''| = 0.00075.
    assert np.abs(custom_heads.SIGMOID(x) - 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 0.00076


def test_a_bank_survives_the_file(tmp_path: Path) -> None:
    vectors = Pooled(blob(300, 1).vectors, np.array([*range(299), 300]))  # the last text has two windows
    for name in ("a.npz", "b.npz"):
        background.save_bank(tmp_path / name, vectors, 120, "1" * 64, {"texts": "made"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    bank = background.load_bank("1" * 64, tmp_path / "a.npz")
    assert (len(bank.fitting), len(bank.held_out)) == (120, 179)
    read = np.concatenate([bank.fitting.vectors, bank.held_out.vectors])
    # At most half a step, and sqrt(12) deviations are a step.
    assert (np.abs(read - vectors.vectors) <= bank.rounding * np.sqrt(12) * 0.501).all()
    assert bank.origin["texts"] == "made"


def test_a_bank_of_other_weights_is_refused(tmp_path: Path) -> None:
    background.save_bank(tmp_path / "a.npz", blob(300, 1), 120, "1" * 64, {})
    with pytest.raises(PolicyError, match="--background"):
        background.load_bank("2" * 64, tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(PolicyError, match="cannot read"):
        background.load_bank("1" * 64, tmp_path / "a.npz")
    with pytest.raises(PolicyError, match="cannot read"):
        background.load_bank("1" * 64, tmp_path / "missing.npz")


def test_the_users_texts_are_split_by_themselves_alone(tiny_path: Path) -> None:
    engine = Engine(str(tiny_path).encode(), threads=1, max_text_bytes=1 << 20, isa="")
    texts = [f"the weather is good in city {i}" for i in range(300)]
    one, other = background.from_texts(engine, texts), background.from_texts(engine, texts[::-1] + texts[:5])
    assert np.array_equal(one.fitting.vectors, other.fitting.vectors)
    assert np.array_equal(one.held_out.vectors, other.held_out.vectors)
    assert len(one.fitting) + len(one.held_out) == 300
    assert one.origin == other.origin
    with pytest.raises(PolicyError, match="at least 200"):
        background.from_texts(engine, texts[:199])


def test_background_files_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two", "id": 3}\n', "utf-8")
    assert background.read_texts(path) == ["one", "two"]
    path.write_text(json.dumps({"text": " "}) + "\n", "utf-8")
    with pytest.raises(PolicyError, match=r"texts\.jsonl:1"):
        background.read_texts(path)


@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without a model")
def test_the_bundled_bank_is_of_the_bundled_model() -> None:
    file = _modelfile.read(BUNDLED)
    bank = background.load_bank(file.weights_sha256())
    assert bank.fitting.vectors.shape[1] == file.architecture.hidden
    assert len(bank.held_out) >= 2000
    assert background.BANK.stat().st_size < 1_500_000
