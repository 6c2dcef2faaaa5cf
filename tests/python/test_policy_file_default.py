"""The default policy and the example, on the model in the package."""

from __future__ import annotations

import pytest
from places import BUNDLED, REPOSITORY
from safetyclf import Classifier, Thresholds
from safetyclf.policy import examples
from safetyclf.policy.checks import check
from safetyclf.policy.document import PolicyDocument
from safetyclf.policy.reading import load, load_default
from safetyclf.policy.resolve import resolve

pytestmark = pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without a model")

TAXONOMIES = ["openai", "ailuminate", "perspective", "azure", "dsa"]


@pytest.fixture(scope="module")
def default() -> PolicyDocument:
    return load_default()


@pytest.fixture(scope="module")
def bundled() -> Classifier:
    return Classifier(BUNDLED, threads=2)


def test_it_describes_all_that_the_model_scores(default: PolicyDocument, bundled: Classifier) -> None:
    assert set(default.categories) == {*bundled.categories, "sexual/minors"}
    for name, category in default.categories.items():
        assert category.definition
        assert category.includes
        assert category.excludes
        assert list(category.crosswalk) == TAXONOMIES, name
        parent, slash, _ = name.rpartition("/")
        assert category.parent == (parent if slash else None)
        if name in bundled.categories:
            assert len(category.positive) >= 3, name
            assert len(category.negative) >= 3, name
            assert len(category.severity) == 3, name


def test_it_decides_as_the_model_does_by_itself(default: PolicyDocument, bundled: Classifier) -> None:
    assert resolve(default, bundled) == bundled.thresholds


def test_what_has_no_score_has_no_examples_and_never_decides(default: PolicyDocument) -> None:
    minors = default.categories["sexual/minors"]
    assert (minors.positive, minors.negative, minors.severity) == ((), (), ())
    assert (minors.limits.review, minors.limits.block) == ("never", "never")


@pytest.mark.parametrize("audience", [None, "teen"])
def test_its_examples_pass(audience: str | None, default: PolicyDocument, bundled: Classifier) -> None:
    thresholds = resolve(default, bundled, audience)
    outcomes = examples.run(default, bundled, thresholds)
    assert [outcome.describe() for outcome in outcomes if outcome.passed is False] == []
    never = {name for name in bundled.categories if thresholds[name].review is None}
    assert {outcome.category for outcome in outcomes if outcome.passed is None} == never
    assert never == {"toxicity", "insult", "identity_attack", "threat", "sexually_explicit"}


def test_examples_of_what_never_decides_are_told_apart_by_severity(
    default: PolicyDocument, bundled: Classifier
) -> None:
    """Positive examples reach the lowest level, negative ones have none."""
    lowest = {
        name: Thresholds(category.severity[0][1], None)
        for name, category in default.categories.items()
        if category.severity
    }
    outcomes = examples.run(default, bundled, lowest)
    assert [outcome.describe() for outcome in outcomes if not outcome.passed] == []


def test_teenagers_see_no_more_than_everybody(default: PolicyDocument, bundled: Classifier) -> None:
    everybody, teen = resolve(default, bundled), resolve(default, bundled, "teen")
    for name in default.audiences["teen"].limits:
        for theirs, ours in zip(teen[name], everybody[name], strict=True):
            assert theirs is not None
            assert ours is not None
            assert theirs <= ours
        assert teen[name] != everybody[name]
    decided = {name for name, pair in everybody.items() if pair.review is not None}
    assert set(default.audiences["teen"].limits) == decided


def test_what_its_check_says(default: PolicyDocument, bundled: Classifier) -> None:
    found = check(default, bundled)
    assert [(finding.code, finding.severity) for finding in found] == [
        ("never-decides", "warning"),
        ("bare-number", "warning"),
    ]


def test_the_example_of_a_community(bundled: Classifier) -> None:
    community = load(REPOSITORY / "examples" / "community.toml")
    assert community.lists["advertising"].terms[-1] == "make money fast"
    assert {finding.severity for finding in check(community, bundled)} == {"warning"}
    for audience in (None, "beginners"):
        outcomes = examples.run(community, bundled, resolve(community, bundled, audience))
        assert [outcome.describe() for outcome in outcomes if not outcome.passed] == []
