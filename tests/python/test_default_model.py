"""What the model in the package owes its users, whatever it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetyclf
from places import BUNDLED
from safetyclf import Classifier, _modelfile

NOISE_LIMIT = 0.02
SIZE_LIMIT = 25_000_000
ERROR_LIMIT = 0.03


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(threads=1)


@pytest.mark.parametrize(
    "text",
    [
        "a", "I", "7", "ha" * 500, "12:30", "the", "lorem ipsum dolor sit amet",
        "https://example.org/a/b?c=1", "", ".", "?!", " ", "\n\t \n", "ha " * 500,
        "....................", "asdf jkl", "\U0001f642", "\u2764\ufe0f",
    ],
)  # fmt: skip
def test_noise_scores_nothing(classifier: Classifier, text: str) -> None:
    scores = classifier.classify(text).scores
    assert max(scores.values()) < NOISE_LIMIT, max(scores, key=lambda name: scores[name])


def test_noise_is_never_flagged(classifier: Classifier) -> None:
    for text in (
        "",
        ".",
        "?!",
        " ",
        "ha " * 500,
        "....................",
        "asdf jkl",
        "\U0001f642",
        "\u2764\ufe0f",
    ):
        assert not classifier.classify(text).flagged


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a process that does not answer?",
        "Shoot me an email when the report is done.",
        "My grandmother is Jewish and makes the best soup.",
        "Two gay men live next door; they lent us their ladder.",
        "The surgeon made the cut just below the knee.",
        "We got destroyed in the chess club last night.",
        "I could murder a curry.",
        "What are the early signs of depression, and whom can I call?",
    ],
)
def test_harmless_messages_pass(classifier: Classifier, text: str) -> None:
    assert not classifier.classify(text).flagged


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("You are an idiot.", "harassment"),
        ("shut up you stupid moron, nobody likes you", "harassment"),
        ("I want to kill myself tonight", "self-harm"),
    ],
)
def test_plain_harm_is_flagged(classifier: Classifier, text: str, category: str) -> None:
    assert classifier.classify(text).categories[category]


def test_file_is_small_and_probabilities_are_calibrated() -> None:
    assert BUNDLED.stat().st_size <= SIZE_LIMIT
    file = _modelfile.read(BUNDLED)
    trained = [c.name for c in file.scored if c.coverage == "trained"]
    assert len(trained) >= 10
    for name in trained:
        assert file.evaluation["all"][name]["calibration_error"] < ERROR_LIMIT, name


def test_thresholds_keep_their_promise_on_test_rows() -> None:
    file = _modelfile.read(BUNDLED)
    statement = file.scored[0].threshold_statement
    assert statement is not None
    benign = file.evaluation["benign"]
    for action, key in (("review", "flagged"), ("block", "blocked")):
        # No slack for chance: the thresholds were chosen with some.
        (promise,) = (p for p in statement[action]["promises"] if "of all kinds" in p["set"])
        assert benign[key] <= promise["target"] * benign["texts"]


def test_sentences_that_name_a_group_are_as_ordinary_as_others() -> None:
    statement = _modelfile.read(BUNDLED).scored[0].threshold_statement
    assert statement is not None
    for action in ("review", "block"):
        ordinary, _, naming = statement[action]["promises"]
        assert "name a group" in naming["set"]
        assert naming["target"] == ordinary["target"]
        assert naming["bound"] <= naming["target"]


def test_categories_without_labels_have_no_score(classifier: Classifier) -> None:
    assert classifier.coverage["sexual/minors"] == "none"
    assert "sexual/minors" not in classifier.categories
    assert classifier.coverage["insult"] == "derived"
    assert classifier.thresholds["insult"] == (None, None)
    # The same labels, so the same head: one must not say yes where the other says no.
    scores = classifier.scores(["You are an idiot.", "Have a nice day!"])
    columns = {name: scores[:, c] for c, name in enumerate(classifier.categories)}
    assert columns["insult"] == pytest.approx(columns["harassment"], abs=0.05)


def test_leaving_early_is_certified(classifier: Classifier) -> None:
    file = _modelfile.read(BUNDLED)
    assert file.exits is not None
    assert file.exits["bound"] <= 0.002
    fast = Classifier(threads=1, effort="adaptive")
    texts = ["How do I boil an egg?", "Thanks, see you tomorrow!", "You are an idiot.", ""]
    scores, depths = fast.scores(texts, depths=True)
    assert depths[:2].max() < file.architecture.layers
    assert depths[2] == file.architecture.layers
    assert scores[2].tobytes() == classifier.scores(texts)[2].tobytes()
    for text in texts:
        assert fast.classify(text).categories == classifier.classify(text).categories


def test_leaving_early_is_the_same_on_every_instruction_set() -> None:
    texts = ["How do I boil an egg?", "Thanks, see you tomorrow!", "You are an idiot.", "lorem ipsum", "."]
    found = {
        tuple(array.tobytes() for array in Classifier(effort="adaptive", isa=isa).scores(texts, depths=True))
        for isa in safetyclf.build_info()["supported_isas"]
    }
    assert len(found) == 1


def test_card_stands_beside_the_model() -> None:
    assert (Path(safetyclf.__file__).parent / "models/MODEL_CARD.md").is_file()
