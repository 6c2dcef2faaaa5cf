"""A classifier with a policy file: what decides, and what its verdicts say of it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetyclf
from safetyclf import Classifier, InvalidArgumentError, PolicyError, Thresholds
from safetyclf.policy import loads

TEXTS = ["hello friends", "the bad dog is angry", "", "we like the weather in the city " * 20]
HEAD = 'format = "safetyclf-policy/1"\nid = "house"\nversion = "1.0.0"\ntitle = "House rules"\n'
RULES = (
    HEAD
    + """
[categories.harassment]
title = "Harassment"
review = 0.25
block = 0.75
severity = { some = 0.0, more = 1.0 }
[categories.violence]
title = "Violence"
[audiences.teen]
title = "Teenagers"
[audiences.teen.thresholds.harassment]
review = 0.125
"""
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "house.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


def test_a_file_its_document_and_a_mapping_decide_alike(tiny_path: Path, path: Path) -> None:
    default = Classifier(tiny_path)
    never: tuple[float | None, float | None] = (None, None)
    mapping = {"harassment": (0.25, 0.75), "violence/graphic": never}
    expected = Classifier(tiny_path, policy=mapping)
    for policy in (path, str(path), loads(RULES)):
        classifier = Classifier(tiny_path, policy=policy)
        assert classifier.thresholds == expected.thresholds
        assert classifier.thresholds["violence"] == default.thresholds["violence"]
        for one, other in zip(classifier.classify_batch(TEXTS), expected.classify_batch(TEXTS), strict=True):
            assert (one.flagged, one.action, one.categories) == (
                other.flagged,
                other.action,
                other.categories,
            )
            assert one.scores == other.scores
    assert loads(RULES).full_id == classifier.policy_id == classifier.classify("a").policy
    assert expected.policy_id is expected.classify("a").policy is None


def test_what_the_policy_leaves_out_is_scored_but_not_decided_on(tiny_path: Path, path: Path) -> None:
    classifier = Classifier(tiny_path, policy=path)
    assert classifier.thresholds["violence/graphic"] == Thresholds(None, None)
    assert "violence/graphic" in classifier.classify("hello").scores


def test_audiences(tiny_path: Path, path: Path) -> None:
    teen = Classifier(tiny_path, policy=path, audience="teen")
    assert teen.thresholds["harassment"] == Thresholds(0.125, 0.75)
    assert teen.info()["audience"] == "teen"
    with pytest.raises(PolicyError, match="no audience 'ten'"):
        Classifier(tiny_path, policy=path, audience="ten")
    with pytest.raises(InvalidArgumentError, match="only policy files have audiences"):
        Classifier(tiny_path, audience="teen")


def test_verdicts_name_level_and_statement(tiny_path: Path, path: Path) -> None:
    classifier = Classifier(tiny_path, policy=path)
    verdict = classifier.classify("the bad dog")
    assert verdict.severity == {"harassment": "some"}
    assert verdict.statements["harassment"] == (None, None)
    assert set(verdict.statements) == set(classifier.categories)
    scores = [verdict.scores[name] for name in verdict.triggered]
    assert scores == sorted(scores, reverse=True)
    assert set(verdict.triggered) == {name for name, flag in verdict.categories.items() if flag}


def test_statements_of_the_bundled_model() -> None:
    classifier = Classifier(policy={"hate": 0.75})
    verdict = classifier.classify("good morning")
    review, block = verdict.statements["harassment"]
    assert review is not None
    assert review == block
    assert classifier.statements[review]["confidence"] == 0.95
    assert verdict.statements["hate"][0] is None
    assert set(classifier.statements) >= {review}


def test_severity_without_a_policy_is_the_default_one() -> None:
    verdict = Classifier().classify("You are an idiot.")
    assert verdict.policy is None
    assert "harassment" in verdict.severity
    assert Classifier().classify("good morning").severity == {}


LISTS = (
    RULES
    + """
[lists.names]
title = "Names that we do not call each other"
action = "block"
category = "harassment"
terms = ["wombat", "newt*"]
[lists.words]
title = "Words to look at"
action = "review"
terms = ["quibble"]
[lists.fine]
title = "What is meant otherwise"
action = "allow"
terms = ["wombat crossing"]
[lists.greetings]
title = "Whole messages that are always fine"
action = "allow"
match = "text"
terms = ["hello wombat"]
"""
)


@pytest.mark.parametrize(
    ("text", "action", "found", "counts"),
    [
        ("a wombat was here", "block", ["wombat"], True),
        ("so many newts, so many wombats", "block", ["newt*"], True),
        ("what a quibble", "review", ["quibble"], False),
        ("see the wombat crossing", "allow", [], False),
        ("wombat at the wombat crossing", "block", ["wombat"], True),
        ("Hello, wombat", "block", ["wombat"], True),
        ("  Hello WOMBAT ", "allow", ["hello wombat"], False),
    ],
)
def test_term_lists_decide(tiny_path: Path, text: str, action: str, found: list[str], counts: bool) -> None:
    never = LISTS.replace("review = 0.25\nblock = 0.75", 'review = "never"\nblock = "never"').replace(
        "[categories.violence]", '[categories.violence]\nreview = "never"\nblock = "never"'
    )
    never = never.replace("review = 0.125", 'review = "never"')
    verdict = Classifier(tiny_path, policy=loads(never)).classify(text)
    assert verdict.action == action
    assert verdict.flagged is (action != "allow")
    assert sorted(match.term for match in verdict.matches) == found
    assert verdict.categories["harassment"] is counts
    assert ("harassment" in verdict.triggered) is counts
    for match in verdict.matches:
        assert 0 <= match.start < match.end <= len(text)


def test_whole_texts_that_are_allowed_overrule_the_model(tiny_path: Path) -> None:
    always = LISTS.replace("review = 0.25", "review = 0.0").replace("block = 0.75", "block = 0.0")
    always = always.replace("review = 0.125", "review = 0.0")
    classifier = Classifier(tiny_path, policy=loads(always))
    assert classifier.classify("hello friend").action == "block"
    verdict = classifier.classify("hello wombat")
    assert (verdict.action, verdict.flagged, verdict.triggered) == ("allow", False, ())
    assert verdict.scores == Classifier(tiny_path).classify("hello wombat").scores


def test_disguised_terms_are_found() -> None:
    policy = loads(
        LISTS.replace("review = 0.25", 'review = "never"').replace("block = 0.75", 'block = "never"')
    )
    verdict = Classifier(policy=policy).classify("what a w0mbat")
    assert [(match.term, match.start, match.end) for match in verdict.matches] == [("wombat", 7, 13)]


def test_lists_survive_pickling_and_batches(tiny_path: Path) -> None:
    classifier = Classifier(tiny_path, policy=loads(LISTS))
    texts = ["a wombat", "hello wombat", "", "quibble quibble"] * 50
    verdicts = classifier.classify_batch(texts)
    assert verdicts == [classifier.classify(text) for text in texts]
    assert pickle.loads(pickle.dumps(classifier)).classify_batch(texts) == verdicts
    assert len(verdicts[3].matches) == 2


def test_targets_must_be_calibrated(tiny_path: Path) -> None:
    target = HEAD + '[categories.harassment]\ntitle = "Harassment"\nreview = { fpr = 0.01 }\n'
    with pytest.raises(PolicyError, match="run safetyclf calibrate"):
        Classifier(tiny_path, policy=loads(target))


def test_pickles_keep_the_policy(tiny_path: Path, path: Path) -> None:
    classifier = Classifier(tiny_path, policy=path, audience="teen")
    path.unlink()  # the other process need not have it
    copy = pickle.loads(pickle.dumps(classifier))
    assert copy.thresholds == classifier.thresholds
    verdict = classifier.classify("the bad dog")
    assert copy.classify("the bad dog") == verdict == pickle.loads(pickle.dumps(verdict))
    assert pickle.loads(pickle.dumps(verdict)).severity == verdict.severity


@pytest.mark.parametrize("policy", [3, b"house.toml", ["harassment"]])
def test_other_types_are_refused(tiny_path: Path, policy: object) -> None:
    with pytest.raises(PolicyError, match="policy"):
        Classifier(tiny_path, policy=policy)  # type: ignore[arg-type]


def test_a_file_that_is_not_there(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml: cannot read the policy"):
        Classifier(tiny_path, policy=tmp_path / "none.toml")


def test_the_policy_package_is_imported_only_when_needed(tiny_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, safetyclf; v = safetyclf.Classifier(sys.argv[1]).classify('hello'); v.scores;"
        "print([name for name in sys.modules if 'policy' in name and 'safetyclf' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['safetyclf._policy']"


def test_documents_of_the_package_are_public() -> None:
    assert safetyclf.policy.load_default().id
