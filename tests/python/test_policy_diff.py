"""What stands differently in two policies, and the command that compares them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetyclf
from safetyclf._cli import main
from safetyclf.policy.diff import Change, differences
from safetyclf.policy.reading import loads

OLD = """
format = "safetyclf-policy/1"
id = "house"
version = "1.0.0"
title = "House rules"

[categories.harassment]
title = "Harassment"
includes = ["insults", "mocking"]
review = 0.4
block = { precision = 0.95 }
severity = { low = 0.4, high = 0.8 }
positive = ["you are such a f**l"]
negative = ["what a foolish idea"]
crosswalk.other = ["abuse"]

[categories.violence]
title = "Violence"
review = 0.5
block = "never"

[audiences.teen]
title = "Teenagers"
[audiences.teen.thresholds.harassment]
review = 0.2

[lists.rude]
title = "Rude words"
action = "review"
terms = ["f**l", "darn"]
"""


def changed(*edits: tuple[str, str]) -> list[Change]:
    new = OLD
    for before, after in edits:
        assert before in new
        new = new.replace(before, after)
    return differences(loads(OLD), loads(new))


def only(*edits: tuple[str, str]) -> Change:
    (change,) = changed(*edits)
    return change


def test_equal_policies_have_no_differences() -> None:
    assert changed() == []
    assert changed(('"insults", "mocking"', '"mocking", "insults"')) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            ("review = 0.4", "review = 0.35"),
            Change(
                ("categories", "harassment", "review"), "changed", old="0.4", new="0.35", effect="stricter"
            ),
        ),
        (
            ('block = "never"', "block = 0.9"),
            Change(("categories", "violence", "block"), "changed", old="never", new="0.9", effect="stricter"),
        ),
        (
            ("review = 0.2", "review = 0.3"),
            Change(
                ("audiences", "teen", "thresholds", "harassment", "review"),
                "changed",
                old="0.2",
                new="0.3",
                effect="laxer",
            ),
        ),
        (
            ('version = "1.0.0"', 'version = "1.1.0"'),
            Change(("version",), "changed", old="1.0.0", new="1.1.0"),
        ),
        (
            ('title = "Violence"', 'title = "Violence"\ndefinition = "Harm to bodies."'),
            Change(("categories", "violence", "definition"), "added", new="Harm to bodies."),
        ),
        (
            ('"mocking"', '"dogpiling"'),
            Change(
                ("categories", "harassment", "includes"), "changed", come=("dogpiling",), gone=("mocking",)
            ),
        ),
        (
            ('"darn"', '"darn", "drat"'),
            Change(("lists", "rude", "terms"), "changed", come=("drat",), private=True),
        ),
        (
            ("high = 0.8", "high = 0.9"),
            Change(
                ("categories", "harassment", "severity"),
                "changed",
                old="low from 0.4, high from 0.8",
                new="low from 0.4, high from 0.9",
            ),
        ),
        (
            ('crosswalk.other = ["abuse"]', "crosswalk.other = []"),
            Change(
                ("categories", "harassment", "crosswalk", "other"),
                "changed",
                old="abuse",
                new="no equivalent",
            ),
        ),
        (
            ('action = "review"', 'action = "block"'),
            Change(("lists", "rude", "action"), "changed", old="review", new="block"),
        ),
        (
            ("0.95", "0.9"),
            Change(
                ("categories", "harassment", "block"),
                "changed",
                old="precision at least 95 % (confidence 95 %), not calibrated",
                new="precision at least 90 % (confidence 95 %), not calibrated",
            ),
        ),
    ],
)
def test_each_kind_of_difference(edit: tuple[str, str], expected: Change) -> None:
    assert only(edit) == expected


def test_an_audience_has_only_what_it_says_itself() -> None:
    assert only(("review = 0.2\n", "review = 0.4\n")).kind == "removed"
    found = changed(("review = 0.4", "review = 0.1"), ("review = 0.2\n", "review = 0.1\n"))
    assert [(c.key, c.kind) for c in found] == [
        ("categories.harassment.review", "changed"),
        ("audiences.teen.thresholds.harassment.review", "removed"),
    ]


def test_whole_parts_come_and_go() -> None:
    found = changed(("categories.violence", "categories.hate"), ("audiences.teen", "audiences.adult"))
    assert [(c.key, c.kind, c.old, c.new) for c in found] == [
        ("categories.hate", "added", None, "Violence"),
        ("categories.violence", "removed", "Violence", None),
        ("audiences.adult", "added", None, "Teenagers"),
        ("audiences.teen", "removed", "Teenagers", None),
    ]


def test_keys_are_spelled_as_in_the_file() -> None:
    assert Change(("categories", "hate/threatening", "review"), "added").key == (
        'categories."hate/threatening".review'
    )


def test_calibrated_thresholds_are_compared_by_what_was_found() -> None:
    part = """
[calibrated]
model = "m"
[[calibrated.thresholds]]
category = "harassment"
action = "block"
target = { precision = 0.95 }
value = %s
statement = { rule = "r" }
"""
    old, new = (loads(OLD + part % value) for value in ("0.8", "0.75"))
    first = differences(old, new)[0]
    assert (first.key, first.effect) == ("categories.harassment.block", "stricter")
    assert (first.new or "").endswith("found: 0.75")
    assert any(c.key == "calibrated.model" and c.kind == "added" for c in differences(loads(OLD), old))


TINY = """
format = "safetyclf-policy/1"
id = "tiny"
version = "1.0.0"
title = "Tiny"
[categories.harassment]
title = "Harassment"
review = {review}
block = "never"
[categories.violence]
title = "Violence \\u001B[31m"
[audiences.teen]
title = "Teenagers"
[audiences.teen.thresholds.harassment]
review = 0.0
"""


@pytest.fixture
def files(tmp_path: Path, tiny_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two policies, texts and a model."""
    (tmp_path / "old.toml").write_text(TINY.replace("{review}", "0.99"))
    (tmp_path / "new.toml").write_text(TINY.replace("{review}", "0.0"))
    (tmp_path / "texts.txt").write_text("\n".join(messages), encoding="utf-8")
    monkeypatch.setenv("SAFETYCLF_MODEL", str(tiny_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return main(["policy", "diff", *arguments])


@pytest.mark.usefixtures("files")
def test_command_shows_differences_without_texts_or_extras(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("old.toml", "new.toml") == 0
    out = capfd.readouterr().out
    assert "~ categories.harassment.review: 0.99 -> 0 (stricter)\n" in out
    assert "decisions" not in out
    assert run("old.toml", "old.toml") == 0
    assert "the policies say the same" in capfd.readouterr().out


@pytest.mark.usefixtures("files")
def test_command_counts_changed_decisions(
    tiny_path: Path, messages: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("old.toml", "new.toml", "--texts", "texts.txt", "--json", "--limit", "3") == 0
    found = json.loads(capfd.readouterr().out)
    limits = safetyclf.Classifier(tiny_path).thresholds
    verdicts = []
    for review in (0.99, 0.0):
        policy = {name: limits[name] if name == "violence" else (None, None) for name in limits}
        policy["harassment"] = (review, None)
        verdicts.append(safetyclf.Classifier(tiny_path, policy=policy).classify_batch(messages))
    changed = [i for i, (a, b) in enumerate(zip(*verdicts, strict=True)) if a.action != b.action]
    assert found["decisions"]["texts"] == len(messages)
    assert found["decisions"]["changed"]["hits"] == len(changed) > 3
    assert found["decisions"]["laxer"]["hits"] == 0
    assert found["decisions"]["categories"]["harassment"]["stricter"]["hits"] >= len(changed)
    assert len(found["listed"]) == 3
    assert found["listed"][0]["place"].startswith("texts.txt:")
    assert found["listed"][0]["gained"] == ["harassment"]
    assert "text" not in found["listed"][0]
    assert found["old_model"] == safetyclf.Classifier(tiny_path).model_id


@pytest.mark.usefixtures("files")
def test_texts_are_shown_only_on_request(messages: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("old.toml", "new.toml", "--texts", "texts.txt", "--limit", "1000") == 0
    hidden = capfd.readouterr().out
    assert run("old.toml", "new.toml", "--texts", "texts.txt", "--limit", "1000", "--show-texts") == 0
    shown = capfd.readouterr().out
    words = [message for message in messages if message.isascii() and 20 < len(message) < 90]
    assert words
    assert not any(message in hidden for message in words)
    assert any(message in shown for message in words)
    assert "\x1b" not in shown


def test_terms_and_examples_are_shown_only_on_request(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.toml").write_text(OLD)
    (tmp_path / "new.toml").write_text(OLD.replace("darn", "drat").replace("foolish", "silly"))
    both = [str(tmp_path / name) for name in ("old.toml", "new.toml")]
    assert run(*both) == run(*both, "--json") == 0
    hidden = capfd.readouterr().out
    assert "~ lists.rude.terms: 1 added, 1 removed\n" in hidden
    assert "drat" not in hidden
    assert "silly" not in hidden
    assert run(*both, "--show-texts") == 0
    shown = capfd.readouterr().out
    assert "    + drat\n    - darn\n" in shown
    assert "what a silly idea" in shown
    assert run(*both, "--show-texts", "--json") == 0
    assert '"drat"' in capfd.readouterr().out


@pytest.mark.usefixtures("files")
def test_an_audience_can_be_compared_with_everybody(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("old.toml", "old.toml", "--texts", "texts.txt", "--new-audience", "teen") == 0
    out = capfd.readouterr().out
    assert "the policies say the same" in out
    assert "new  model tiny-0.1.0" in out
    assert ", audience teen" in out
    assert "allow to review" in out


@pytest.mark.parametrize(
    ("policy", "options", "code", "words"),
    [
        ("new.toml", ["--max-flip", "0.01"], 1, "gate fails: more than 1 %"),
        ("new.toml", ["--max-flip", "1"], 0, "gate passes"),
        ("old.toml", ["--max-flip", "0.01"], 0, "gate passes: cannot tell"),
        ("old.toml", ["--max-flip", "0.01", "--strict"], 1, "gate fails: cannot tell"),
    ],
)
@pytest.mark.usefixtures("files")
def test_gate(
    policy: str, options: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("old.toml", policy, "--texts", "texts.txt", *options) == code
    assert words in capfd.readouterr().out


def test_another_model_can_be_the_new_side(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tiny_model import TinyModel

    TinyModel(seed=3).write(files / "new.safetensors")
    options = ["--texts", "texts.txt", "--new-model", "new.safetensors", "--json"]
    assert run("old.toml", "old.toml", *options) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["old_model"] != found["new_model"]
    assert found["decisions"]["changed"]["hits"] > 0


@pytest.mark.usefixtures("files")
def test_bad_input_ends_with_a_message(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("old.toml", "new.toml", "--max-flip", "0.1") == 2
    assert run("old.toml", "new.toml", "--texts", "texts.txt", "--strict") == 2
    assert run("old.toml", "absent.toml") == 2
    assert run("old.toml", "new.toml", "--texts", "absent.txt") == 2
    err = capfd.readouterr().err
    assert "absent.toml" in err
    assert "absent.txt: cannot read" in err
    assert run("old.toml", "new.toml", "--texts", "texts.txt", "--audience", "nobody") == 2
    assert "Traceback" not in capfd.readouterr().err


def test_texts_are_read_in_batches_and_keep_their_places(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (files / "first.txt").write_text("good morning\n" * 700)
    (files / "second.jsonl").write_text('{"text": "hello"}\n\n{"text": "bye"}\n')
    options = ["--texts", "first.txt", "second.jsonl", "--limit", "1000", "--json"]
    assert run("old.toml", "new.toml", *options) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["decisions"]["texts"] == 702
    assert [entry["place"] for entry in found["listed"]] == [
        *(f"first.txt:{line}" for line in range(1, 701)),
        "second.jsonl:1",
        "second.jsonl:3",
    ]


@pytest.mark.usefixtures("files")
def test_a_text_that_cannot_be_read_is_reported_and_fails(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (files / "bad.txt").write_bytes(b"fine\nbad \xff byte\nfine again\n")
    assert run("old.toml", "new.toml", "--texts", "bad.txt", "--json") == 2
    captured = capfd.readouterr()
    assert "bad.txt:2: invalid UTF-8" in captured.err
    found = json.loads(captured.out)
    assert (found["decisions"]["texts"], found["unreadable"]) == (2, 1)
