"""From a policy to thresholds, without a model: the rules of docs/policies.md."""

from __future__ import annotations

import struct

import pytest
from safetyclf import Classifier, PolicyError, Thresholds
from safetyclf.policy.reading import loads
from safetyclf.policy.resolve import resolve, resolve_for
from test_policy_file import HEAD

MODEL = "tiny-1.0.0+000000000000"
DEFAULTS = {"a": Thresholds(0.5, 0.75), "b": Thresholds(None, None), "c": Thresholds(0.25, None)}
COVERAGE = {"a": "trained", "b": "derived", "c": "weak", "dark": "none"}


def resolved(text: str, audience: str | None = None) -> dict[str, Thresholds]:
    document = loads(HEAD + text)
    return resolve_for(document, defaults=DEFAULTS, coverage=COVERAGE, model_id=MODEL, audience=audience)


def refused(text: str, audience: str | None = None) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        resolved(text, audience)
    return str(caught.value).splitlines()


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


A = "[categories.a]\ntitle = 'A'\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0.5, 0.75)),
        ("review = 0.25", (0.25, 0.75)),
        # "model" gives way: what is blocked is also flagged.
        ("review = 0.9", (float32(0.9), float32(0.9))),
        ("block = 0.25", (0.25, 0.25)),
        ("review = 'never'", (None, None)),
        ("block = 'never'", (0.5, None)),
        ("review = 0\nblock = 1", (0.0, 1.0)),
    ],
)
def test_numbers_and_the_model(text: str, expected: tuple[float | None, float | None]) -> None:
    found = resolved(A + text + "\n")
    assert found == {"a": Thresholds(*expected), "b": Thresholds(None, None), "c": Thresholds(None, None)}


def test_a_block_number_alone_also_reviews_what_the_model_never_does() -> None:
    assert resolved("[categories.b]\ntitle = 'B'\nblock = 0.5\n")["b"] == Thresholds(0.5, 0.5)
    assert resolved("[categories.c]\ntitle = 'C'\n")["c"] == Thresholds(0.25, None)


def test_an_audience_replaces_what_it_names() -> None:
    text = A + (
        "review = 0.25\nblock = 0.5\n[audiences.teen]\ntitle = 'T'\n"
        "[audiences.teen.thresholds.a]\nblock = 0.375\n"
        "[audiences.other]\ntitle = 'O'\n"
    )
    assert resolved(text)["a"] == resolved(text, "other")["a"] == Thresholds(0.25, 0.5)
    assert resolved(text, "teen")["a"] == Thresholds(0.25, 0.375)
    assert refused(text, "ten") == ["policy: no audience 'ten'; did you mean 'teen'?"]


TARGET = "[categories.a]\ntitle = 'A'\nreview = { fpr = 0.01 }\n"
TEEN = "[audiences.teen]\ntitle = 'T'\n[audiences.teen.thresholds.a]\nblock = { recall = 0.5 }\n"


def entry(action: str, target: str, value: str, audience: str = "") -> str:
    who = f"audience = '{audience}'\n" if audience else ""
    return (
        f"[[calibrated.thresholds]]\ncategory = 'a'\naction = '{action}'\n{who}target = {{ {target} }}\n"
        f"{value}\nstatement = {{}}\n"
    )


def calibrated(*entries: str, model: str = MODEL) -> str:
    return f"[calibrated]\nmodel = '{model}'\n" + ("".join(entries) if entries else "thresholds = []\n")


def test_targets_take_their_calibrated_values() -> None:
    everybody = entry("review", "fpr = 0.01", "value = 0.125")
    text = TARGET + TEEN + calibrated(everybody, entry("block", "recall = 0.5", "value = 0.25", "teen"))
    assert resolved(text)["a"] == Thresholds(0.125, 0.75)
    # The audience has no review threshold of its own, so that the one for everybody holds.
    assert resolved(text, "teen")["a"] == Thresholds(0.125, 0.25)
    own = text + entry("review", "fpr = 0.01", "value = 0.1875", "teen")
    assert resolved(own, "teen")["a"] == Thresholds(0.1875, 0.25)
    assert resolved(TARGET + calibrated(entry("review", "fpr = 0.01", "never = true")))["a"] == Thresholds(
        None, None
    )


@pytest.mark.parametrize(
    ("text", "audience", "expected"),
    [
        (
            TARGET,
            None,
            ["policy:7: categories.a.review is a target and not calibrated; run safetyclf calibrate"],
        ),
        (
            TARGET + calibrated(entry("review", "fpr = 0.02", "value = 0.5")),
            None,
            ["policy:7: categories.a.review"],
        ),
        (
            TARGET + calibrated(entry("block", "fpr = 0.01", "value = 0.5")),
            None,
            ["policy:7: categories.a.review"],
        ),
        (
            TARGET + calibrated(entry("review", "fpr = 0.01", "value = 0.5"), model="other"),
            None,
            [f"policy:7: categories.a.review was calibrated for the model other, not for {MODEL}; run"],
        ),
        (
            TARGET + TEEN + calibrated(entry("review", "fpr = 0.01", "value = 0.5")),
            "teen",
            ["policy:11: audiences.teen.thresholds.a.block is a target and not calibrated"],
        ),
        (
            TARGET
            + TEEN
            + calibrated(
                entry("review", "fpr = 0.01", "value = 0.5"),
                entry("block", "recall = 0.5", "value = 0.25", "teen"),
            ),
            "teen",
            ["policy:11: audiences.teen.thresholds.a: block at 0.25 is below review at 0.5"],
        ),
        ("[categories.dark]\ntitle = 'D'\n", None, ["policy:5: 'dark' has no score in this model; write"]),
        (
            "[categories.own]\ntitle = 'O'\n",
            None,
            ["policy:5: 'own' is not a category of this model; run safetyclf"],
        ),
        (
            "[categories.own]\ntitle = 'O'\n[categories.dark]\ntitle = 'D'\nreview = 0.5\n",
            None,
            ["policy:5: 'own' is not", "policy:7: 'dark' has no"],
        ),
    ],
)
def test_what_cannot_be_resolved(text: str, audience: str | None, expected: list[str]) -> None:
    found = refused(text, audience)
    assert len(found) == len(expected)
    assert all(problem.startswith(part) for problem, part in zip(found, expected, strict=True))


def test_a_category_without_a_score_may_stand_there_if_it_never_decides() -> None:
    text = "[categories.dark]\ntitle = 'D'\nreview = 'never'\nblock = 'never'\n"
    assert resolved(text) == dict.fromkeys(DEFAULTS, Thresholds(None, None))


def test_the_models_own_thresholds_are_the_files(model_path: object, tiny: Classifier) -> None:
    strict = Classifier(tiny.info()["path"], policy={"harassment": 0.0}, threads=1)
    document = loads(HEAD + "[categories.harassment]\ntitle = 'H'\n")
    assert resolve(document, strict)["harassment"] == tiny.thresholds["harassment"]
    assert set(resolve(document, strict)) == set(tiny.categories)
