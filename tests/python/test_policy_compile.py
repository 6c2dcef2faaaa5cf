"""Compiled policies: one file with the model's scores, custom categories, and the policy's thresholds."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import BUNDLED, REPOSITORY
from safetyclf import Classifier, InvalidArgumentError, PolicyError, Thresholds, _modelfile
from safetyclf.__main__ import main
from safetyclf._native import Engine
from safetyclf.policy import background, custom_heads, embedded
from safetyclf.policy.compile import Compiled, compile_policy
from safetyclf.policy.document import (
    Audience,
    Calibrated,
    Calibration,
    Category,
    Limits,
    PolicyDocument,
    Target,
    TermList,
)
from safetyclf.policy.reading import load, load_default
from tiny_model import WORDS, TinyModel, random_exits

ABOUT = ["music", "weather", "game", "team", "book", "food", "river", "tree"]
POSITIVE = tuple(
    f"please help the {a} dog and the {b} cat" for a in ("red", "blue", "green") for b in ABOUT[:4]
)
NEGATIVE = tuple(f"we like the {a} in the {b} city" for a in ("good", "nice", "bad") for b in ABOUT[4:])
BACKGROUND = [
    " ".join(WORDS.split()[(i * step + 7 * step) % len(WORDS.split())] for step in range(1, 6)) + f" {i}"
    for i in range(700)
]
PETS = Category("pets", "Pets", positive=POSITIVE, negative=NEGATIVE)
HARASSMENT = Category("harassment", "Harassment")


def policy(*categories: Category, **more: Any) -> PolicyDocument:
    content: dict[str, Any] = {
        "id": "house",
        "version": "1.2.0",
        "title": "House rules",
        "description": "",
        "categories": {category.name: category for category in categories},
        "audiences": {},
        "lists": {},
        "calibration": None,
        "sha256": "a" * 64,
    }
    return PolicyDocument(**{**content, **more})


def compiled(model: Path, folder: Path, document: PolicyDocument) -> tuple[Compiled, Classifier]:
    result = compile_policy(document, folder / "out.safetensors", model=model, background=BACKGROUND)
    return result, Classifier(folder / "out.safetensors", threads=1)


@pytest.fixture(scope="module")
def pets(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Compiled, Classifier]:
    return compiled(tiny_path, tmp_path_factory.mktemp("pets"), policy(HARASSMENT, PETS))


def statement(result: Compiled, name: str) -> Mapping[str, Any]:
    (found,) = [c.threshold_statement for c in result.file.categories if c.name == name]
    assert found is not None
    return found


def test_the_same_input_gives_the_same_bytes(
    tiny_path: Path, tmp_path: Path, pets: tuple[Compiled, Classifier]
) -> None:
    again, _ = compiled(tiny_path, tmp_path, policy(HARASSMENT, PETS))
    assert again.file.id == pets[0].file.id
    assert (tmp_path / "out.safetensors").read_bytes() == Path(pets[1].info()["path"]).read_bytes()


def test_the_models_own_scores_keep_their_bits(pets: tuple[Compiled, Classifier], tiny: Classifier) -> None:
    texts = list(POSITIVE) + BACKGROUND[:50]
    assert np.array_equal(pets[1].scores(texts)[:, : len(tiny.categories)], tiny.scores(texts))
    assert pets[1].categories == (*tiny.categories, "pets")


def test_custom_scores_are_the_head_on_pooled_vectors(
    pets: tuple[Compiled, Classifier], tiny_path: Path
) -> None:
    texts = [*POSITIVE, *NEGATIVE, "a long text " * 40]
    engine = Engine(str(tiny_path).encode(), threads=1, max_text_bytes=1 << 20, isa="")
    pooled = background.pool(engine, texts)
    assert len(pooled.vectors) > len(texts)
    tensors = pets[0].file.tensors
    expected = custom_heads.SIGMOID(
        pooled.logits(tensors["heads.weight"][-1, -1], float(tensors["heads.bias"][-1, -1])).astype(
            np.float32
        )
    )
    # The engine adds up 64 products in single precision.
    assert np.allclose(pets[1].scores(texts)[:, -1], expected, rtol=0, atol=1e-5)
    assert (tensors["heads.weight"][:-1, -1] == 0).all()


def test_the_file_says_what_it_is(pets: tuple[Compiled, Classifier], tiny_path: Path) -> None:
    base, file = _modelfile.read(tiny_path), _modelfile.read(pets[1].info()["path"])
    assert pets[1].model_id.startswith("tiny-house-1.2.0+")
    assert pets[1].coverage["pets"] == "weak"
    assert file.provenance["base"]["model"] == base.id
    assert file.calibration is not None
    assert file.calibration["columns"]["of_the_base_model"]["weights_sha256"] == base.weights_sha256()
    assert file.weights_sha256() != base.weights_sha256()
    assert file.policy is not None
    assert file.policy["categories"]["pets"]["positive"] == list(POSITIVE)
    assert file.policy["sha256"] == "a" * 64


def test_thresholds_are_the_policys(tiny_path: Path, tmp_path: Path, tiny: Classifier) -> None:
    document = policy(
        Category("harassment", "Title", limits=Limits(0.25, 0.75)),
        Category("violence", "Title", limits=Limits("model", "never")),
        dataclasses.replace(PETS, limits=Limits(0.5, 0.9)),
    )
    result, classifier = compiled(tiny_path, tmp_path, document)
    thresholds = classifier.thresholds
    assert (thresholds["harassment"].review, thresholds["harassment"].block) == (0.25, 0.75)
    assert thresholds["violence"].review == tiny.thresholds["violence"].review
    assert thresholds["violence"].block is None
    assert thresholds["violence/graphic"].review is None  # not in the policy
    assert thresholds["pets"].review == 0.5
    assert statement(result, "violence/graphic")["rule"].startswith("not in the policy")
    assert statement(result, "harassment")["review"] == {"threshold": 0.25, "from": "a number of the policy"}
    by_hand = {name: (t.review, t.block) for name, t in thresholds.items() if name != "pets"}
    texts = [*POSITIVE, *BACKGROUND[:100]]
    plain = Classifier(tiny_path, policy=by_hand, threads=1).classify_batch(texts)
    for expected, verdict in zip(plain, classifier.classify_batch(texts), strict=True):
        assert {**expected.categories, "pets": verdict.scores["pets"] >= 0.5} == verdict.categories


def test_default_thresholds_of_custom_categories_come_from_the_background(
    pets: tuple[Compiled, Classifier],
) -> None:
    found = statement(pets[0], "pets")
    threshold = pets[1].thresholds["pets"].review
    assert threshold == pytest.approx(found["review"]["threshold"])
    assert found["review"]["background_bound"] <= custom_heads.REVIEW_RATE
    assert found["block"]["threshold"] is None  # 350 texts cannot promise 1 in 400
    assert found["cross_validation"]["positives"] == len(POSITIVE)
    assert pets[1].thresholds["pets"].block is None


@pytest.mark.parametrize(
    ("target", "needs"),
    [
        (Target("fpr", 0.001), "2995 held-out background texts, there are 350"),
        (Target("recall", 0.9), "29 positive examples, there are 12"),
        (Target("precision", 0.9), "safetyclf calibrate"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    tiny_path: Path, tmp_path: Path, target: Target, needs: str
) -> None:
    document = policy(dataclasses.replace(PETS, limits=Limits(target)))
    with pytest.raises(PolicyError, match=needs):
        compiled(tiny_path, tmp_path, document)
    assert not list(tmp_path.iterdir())


def test_targets_that_can_be_promised_are(tiny_path: Path, tmp_path: Path) -> None:
    document = policy(dataclasses.replace(PETS, limits=Limits(Target("recall", 0.7), Target("fpr", 0.02))))
    try:
        result, _ = compiled(tiny_path, tmp_path, document)
    except PolicyError as error:  # a random encoder may need a lower threshold for recall than for alarms
        assert "is below review" in str(error)  # noqa: PT017
        return
    assert statement(result, "pets")["review"]["recall"] >= 0.7


def test_calibrated_targets_of_the_models_categories_are_taken(tiny_path: Path, tmp_path: Path) -> None:
    target = Target("precision", 0.9)
    found = Calibrated("harassment", "review", None, target, 0.625, {"rule": "made up"})
    document = policy(
        Category("harassment", "Title", limits=Limits(target, "never")),
        calibration=Calibration(_modelfile.read(tiny_path).id, (found,)),
    )
    result, classifier = compiled(tiny_path, tmp_path, document)
    assert classifier.thresholds["harassment"].review == 0.625
    assert statement(result, "harassment")["review"]["statement"] == {"rule": "made up"}
    with pytest.raises(PolicyError, match="run safetyclf calibrate"):
        compiled(tiny_path, tmp_path, dataclasses.replace(document, calibration=None))


@pytest.mark.parametrize(
    ("category", "message"),
    [
        (dataclasses.replace(PETS, positive=POSITIVE[:4]), "4 different positive examples"),
        (dataclasses.replace(PETS, positive=(*POSITIVE[:4], POSITIVE[0].upper())), "4 different positive"),
        (dataclasses.replace(PETS, negative=()), "no negative examples"),
        (dataclasses.replace(PETS, negative=(*NEGATIVE, POSITIVE[2].title())), "on both sides"),
        (Category("pets", "Pets"), "no examples"),
    ],
)
def test_examples_that_cannot_do_are_refused(
    tiny_path: Path, tmp_path: Path, category: Category, message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        compiled(tiny_path, tmp_path, policy(HARASSMENT, category))


def test_another_model_needs_texts(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"other weights|cannot read"):
        compile_policy(policy(PETS), tmp_path / "out.safetensors", model=tiny_path)


def test_a_compiled_file_is_no_base(pets: tuple[Compiled, Classifier], tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="compiled with a policy already"):
        compiled(Path(pets[1].info()["path"]), tmp_path, policy(HARASSMENT))


def test_a_name_that_would_be_too_long_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="shorten the policy's id"):
        compiled(tiny_path, tmp_path, policy(HARASSMENT, id="x" * 64))


def test_a_category_without_score_gets_one(tiny_path: Path, tmp_path: Path) -> None:
    _, classifier = compiled(tiny_path, tmp_path, policy(dataclasses.replace(PETS, name="illicit")))
    assert classifier.coverage["illicit"] == "weak"
    assert classifier.categories[-1] == "illicit"


@pytest.fixture
def leaving(tmp_path: Path) -> Path:
    file = TinyModel().build()
    path = tmp_path / "leaving.safetensors"
    _modelfile.write(path, file.with_exits(random_exits(file), {"rule": "made up"}))
    return path


def test_rules_for_leaving_early_stay_where_they_hold(leaving: Path, tmp_path: Path) -> None:
    result, classifier = compiled(
        leaving, tmp_path, policy(Category("harassment", "Title", limits=Limits(0.5, 0.8)))
    )
    assert result.file.exits == {"rule": "made up"}
    texts = BACKGROUND[:60]
    fast = Classifier(tmp_path / "out.safetensors", effort="adaptive", threads=1)
    base = Classifier(leaving, effort="adaptive", threads=1)
    assert np.array_equal(fast.scores(texts), base.scores(texts))
    assert classifier.categories == base.categories


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        (Category("harassment", "Title", limits=Limits(0.1)), "below their floors: harassment"),
        (PETS, "does not count custom categories"),
    ],
)
def test_rules_for_leaving_early_go_where_they_do_not(
    leaving: Path, tmp_path: Path, category: Category, reason: str
) -> None:
    result, _ = compiled(leaving, tmp_path, policy(category))
    assert result.file.exits is None
    assert any(reason in line for line in result.report)
    with pytest.raises(InvalidArgumentError, match="no rules for leaving early"):
        Classifier(tmp_path / "out.safetensors", effort="adaptive")


def stated_model(folder: Path) -> Path:
    """The tiny model with a joint promise of its thresholds."""
    file = TinyModel().build()
    categories = tuple(
        dataclasses.replace(c, threshold_statement={"rule": "all together"}) for c in file.categories
    )
    _modelfile.write(folder / "stated.safetensors", dataclasses.replace(file, categories=categories))
    return folder / "stated.safetensors"


@pytest.mark.parametrize(
    ("other", "not_counting"),
    [
        (Category("violence", "Title", limits=Limits(0.05)), ["violence"]),
        (Category("violence", "Title", limits=Limits(0.99)), None),
        (PETS, ["pets"]),
    ],
)
def test_joint_promises_do_not_count_what_flags_more(
    tmp_path: Path, other: Category, not_counting: list[str] | None
) -> None:
    result, _ = compiled(stated_model(tmp_path), tmp_path, policy(HARASSMENT, other))
    assert statement(result, "harassment").get("not_counting") == not_counting


EASY_MONEY = REPOSITORY / "examples" / "easy-money.toml"


@pytest.mark.slow
@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without a model")
def test_the_example_finds_what_it_is_about(tmp_path: Path) -> None:
    result = compile_policy(load(EASY_MONEY), tmp_path / "out.safetensors")
    classifier = Classifier(tmp_path / "out.safetensors", threads=1)
    offers = [
        "Make 800 a day online without experience, write me for the link!",
        "Zero risk, 40 % every month.",
    ]
    others = ["The bus to the station leaves at nine.", "Could you check my essay for mistakes, please?"]
    scores = classifier.scores([*offers, *others])[:, -1]
    assert scores[:2].min() > scores[2:].max()
    assert statement(result, "easy-money")["review"]["background_bound"] <= 0.01
    # Everyday sentences that no one has seen: at most a few of them.
    messages = (REPOSITORY / "examples" / "messages.txt").read_text("utf-8").splitlines()
    assert (
        np.mean([verdict.categories["easy-money"] for verdict in classifier.classify_batch(messages)]) < 0.2
    )


@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without a model")
def test_the_command(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in BACKGROUND), "utf-8")
    content = EASY_MONEY.read_text("utf-8").replace("[categories.hate]", "[categories.violence]")
    (tmp_path / "policy.toml").write_text(content, "utf-8")
    output = tmp_path / "out.safetensors"
    arguments = ["policy", "compile", str(tmp_path / "policy.toml"), "--model", str(tiny_path)]

    def run(*more: str) -> int:
        return main([*arguments, "--output", str(output), *more])

    assert run("--background", str(texts)) == 0
    assert "15 positive and 15 negative examples" in capsys.readouterr().out
    assert Classifier(output).categories[-1] == "easy-money"
    assert run() == 2
    assert "--background" in capsys.readouterr().err


def test_reading_keeps_the_policy(pets: tuple[Compiled, Classifier], tmp_path: Path) -> None:
    check: Callable[[Path], _modelfile.ModelFile] = _modelfile.read
    file = check(pets[1].info()["path"])
    assert _modelfile.write(tmp_path / "again.safetensors", file).id == pets[0].file.id


# What the compiled file decides by itself -------------------------------------------------------------------


def test_custom_heads_read_before_the_last_layer(tmp_path: Path) -> None:
    model = tmp_path / "three.safetensors"
    _modelfile.write(model, TinyModel(layers=3).build())
    result, classifier = compiled(model, tmp_path, policy(HARASSMENT, PETS))
    tensors = result.file.tensors
    assert tensors["heads.depth"].tolist() == [3, 3, 3, 2]
    assert (tensors["heads.weight"][[0, 1, 3], -1] == 0).all()
    engine = Engine(str(model).encode(), threads=1, max_text_bytes=1 << 20, isa="")
    vectors = background.pool(engine, POSITIVE)
    logits = vectors.logits(tensors["heads.weight"][2, -1], float(tensors["heads.bias"][2, -1]))
    expected = custom_heads.SIGMOID(logits.astype(np.float32))
    assert np.allclose(classifier.scores(POSITIVE)[:, -1], expected, rtol=0, atol=1e-5)
    assert np.array_equal(classifier.scores(POSITIVE)[:, :3], Classifier(model).scores(POSITIVE))


def test_the_file_applies_audiences_lists_and_levels(tiny_path: Path, tmp_path: Path) -> None:
    document = policy(
        Category(
            "harassment", "Harassment", limits=Limits(0.5, 0.75), severity=(("low", 0.0), ("high", 0.9))
        ),
        Category("violence", "Violence", limits=Limits("never", "never")),
        audiences={"teen": Audience("teen", "Teenagers", limits={"harassment": Limits(0.25, 0.75)})},
        lists={"names": TermList("names", "Names", "block", "word", ("wombat*",), "violence")},
    )
    _, classifier = compiled(tiny_path, tmp_path, document)
    plain = Classifier(tiny_path, policy=document)
    path = classifier.info()["path"]
    teen = Classifier(path, audience="teen")
    assert teen.thresholds["harassment"] == Thresholds(0.25, 0.75)
    assert teen.thresholds == Classifier(tiny_path, policy=document, audience="teen").thresholds
    assert classifier.policy_id == document.full_id
    for text in ("the wombats are here", "hello friend"):
        found, expected = classifier.classify(text), plain.classify(text)
        assert (found.action, found.categories, found.matches) == (
            expected.action,
            expected.categories,
            expected.matches,
        )
        assert found.severity == expected.severity
        assert found.policy == expected.policy
    assert classifier.classify("the wombats are here").categories["violence"]
    assert pickle.loads(pickle.dumps(teen)).thresholds == teen.thresholds
    with pytest.raises(PolicyError, match="no audience 'ten'; did you mean 'teen'"):
        Classifier(path, audience="ten")
    # What is given takes the place of what is in the file.
    given = Classifier(path, policy={"violence": 0.5})
    assert given.policy_id is None
    assert given.classify("the wombats are here").matches == ()


def test_the_default_policy_survives_the_way_through_a_file() -> None:
    default = load_default()
    sections = json.loads(json.dumps(embedded.section(default, {}), sort_keys=True))
    assert embedded.document(sections).full_id == default.full_id
    assert embedded.document(sections).categories == default.categories
