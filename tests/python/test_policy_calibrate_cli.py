"""`safetyclf calibrate`, with the tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetyclf import Classifier
from safetyclf._cli import main

pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from safetyclf._policy import statement_id
from safetyclf.policy.reading import load

POLICY = """\
format = "safetyclf-policy/1"
id = "house-rules"
version = "1.0.0"
title = "House rules"

[categories.harassment]
title = "Harassment"
review = { recall = 0.8 }

[categories.violence]
title = "Violence"
review = { fpr = 0.1, confidence = 0.9 }

[audiences.teen]
title = "Teenagers"
[audiences.teen.thresholds.harassment]
review = { recall = 0.9 }
"""
WORDS = [
    "good",
    "bad",
    "nice",
    "kind",
    "rude",
    "happy",
    "sad",
    "angry",
    "friend",
    "people",
    "thing",
    "day",
    "time",
    "weather",
    "music",
    "food",
    "game",
    "team",
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs `safetyclf calibrate` in a folder with rules.toml: exit code, output, standard error."""
    monkeypatch.setenv("SAFETYCLF_MODEL", str(tiny_path))
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text(POLICY)

    def calibrate(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["calibrate", *arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capfd.readouterr()

    return calibrate


def write_rows(name: str, seed: int, n: int = 300, harassment: float = 0.3, **keys: Any) -> None:
    rng = np.random.default_rng(seed)
    with Path(name).open("w") as file:
        for i in range(n):
            labels = {"harassment": int(rng.random() < harassment), "violence": 0}
            text = f"{' '.join(rng.choice(WORDS, 6))} {seed} {i}"
            file.write(json.dumps({"text": text, "labels": labels, **keys}) + "\n")


def test_thresholds_are_written_into_the_policy(run: Run, tiny: Classifier) -> None:
    write_rows("rows.jsonl", 1)
    code, out, err = run("rules.toml", "rows.jsonl")
    assert (code, err) == (0, "")
    found = load("rules.toml").calibration
    assert found is not None
    assert found.model == tiny.model_id
    assert Path("rules.toml").read_text().startswith(POLICY)
    assert [(entry.category, entry.audience) for entry in found.thresholds] == [
        ("harassment", None),
        ("violence", None),
        ("harassment", "teen"),
    ]
    lines = out.splitlines()
    assert lines[0] == f"model {tiny.model_id}"
    for line, entry in zip(lines[2:], found.thresholds, strict=True):
        assert line.startswith(entry.category)
        assert line.endswith(statement_id(entry.statement))
    # What the statement says is what the classifier does.
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    value = found.thresholds[0].value
    assert value is not None
    strict = Classifier(tiny.info()["path"], policy={"harassment": value})
    flagged = [v.categories["harassment"] for v in strict.classify_batch([row["text"] for row in rows])]
    hits = sum(f for f, row in zip(flagged, rows, strict=True) if row["labels"]["harassment"])
    assert hits == found.thresholds[0].statement["hits"]
    # Again gives the same file.
    before = Path("rules.toml").read_bytes()
    assert run("rules.toml", "rows.jsonl")[0] == 0
    assert Path("rules.toml").read_bytes() == before


def test_another_output_leaves_the_policy_alone(run: Run) -> None:
    write_rows("rows.jsonl", 1)
    assert run("rules.toml", "rows.jsonl", "--output", "new.toml", "--joint")[0] == 0
    assert Path("rules.toml").read_text() == POLICY
    found = load("new.toml").calibration
    assert found is not None
    assert {entry.statement["joint"] for entry in found.thresholds} == {3}


def test_an_audience_alone(run: Run) -> None:
    write_rows("rows.jsonl", 1)
    write_rows("teen.jsonl", 2, split="valid")
    assert run("rules.toml", "rows.jsonl")[0] == 0
    before = load("rules.toml").calibration
    code, out, _ = run("rules.toml", "teen.jsonl", "--audience", "teen", "--split", "valid")
    after = load("rules.toml").calibration
    assert before is not None
    assert after is not None
    assert code == 0
    assert len(out.splitlines()) == 3
    assert after.thresholds[:2] == before.thresholds[:2]
    assert after.thresholds[2].statement["data_sha256"] != before.thresholds[2].statement["data_sha256"]
    assert after.thresholds[2].statement["split"] == "valid"


def test_a_check_of_new_data(run: Run) -> None:
    write_rows("rows.jsonl", 1)
    write_rows("new.jsonl", 2)
    assert run("rules.toml", "rows.jsonl")[0] == 0
    before = Path("rules.toml").read_bytes()
    code, out, err = run("rules.toml", "new.jsonl", "--check")
    assert (code, err) == (0, "")
    assert out.count("not contradicted") == 3
    code, _, err = run("rules.toml", "rows.jsonl", "--check")
    assert code == 0
    assert "the data that statements rest on" in err
    # All texts that scored low are harassment now.
    rows = [json.loads(line) for line in Path("new.jsonl").read_text().splitlines()]
    scores = Classifier().scores([row["text"] for row in rows])[:, 0]
    for row, score in zip(rows, scores, strict=True):
        row["labels"]["harassment"] = int(score < np.median(scores))
    Path("worse.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run("rules.toml", "worse.jsonl", "--check")
    assert code == 1
    assert [line.count("not contradicted") for line in out.splitlines()[1:]] == [0, 1, 0]
    assert Path("rules.toml").read_bytes() == before


def test_a_broken_calibrated_part_is_mended(run: Run) -> None:
    write_rows("rows.jsonl", 1)
    assert run("rules.toml", "rows.jsonl")[0] == 0
    good = Path("rules.toml").read_text()
    Path("rules.toml").write_text(good.replace("value = ", "valeu = "))
    code, _, err = run("rules.toml", "rows.jsonl", "--check")
    assert code == 2
    assert "valeu" in err
    assert run("rules.toml", "rows.jsonl")[0] == 0
    assert Path("rules.toml").read_text() == good


def test_copies_of_a_text_are_warned_of(run: Run) -> None:
    write_rows("rows.jsonl", 1)
    rows = Path("rows.jsonl").read_text().splitlines()
    copy = json.loads(rows[0])
    copy["text"] = f"  {copy['text'].upper()}\n"
    Path("rows.jsonl").write_text("\n".join([*rows, json.dumps(copy)]))
    code, _, err = run("rules.toml", "rows.jsonl")
    assert code == 0
    assert "warning: 1 of 301 rows repeat the text of another" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["absent.toml", "rows.jsonl"], "absent.toml"),
        (["rules.toml", "absent.jsonl"], "absent.jsonl: cannot read"),
        (
            ["rules.toml", "few.jsonl"],
            "rules.toml:8: 'harassment': recall at least 0.8 needs at least 14 rows",
        ),
        (["rules.toml", "other.jsonl"], "other.jsonl:1: unknown category 'rudeness'"),
        (["rules.toml", "unknown.jsonl"], "the data have 0"),
        (["rules.toml", "rows.jsonl", "--check"], "the target has no statement; run safetyclf calibrate"),
        (["rules.toml", "rows.jsonl", "--check", "--joint"], "--check changes nothing"),
        (["rules.toml", "rows.jsonl", "--audience", "teen", "--joint"], "--joint is about all targets"),
        (["rules.toml", "rows.jsonl", "--audience", "adult"], "no audience 'adult'"),
        (["rules.toml", "rows.jsonl", "--output", "absent/new.toml"], "there is no folder absent"),
        (["rules.toml"], "the following arguments are required: DATA"),
    ],
)
def test_errors_leave_the_policy_as_it_is(run: Run, arguments: list[str], reason: str) -> None:
    write_rows("rows.jsonl", 1)
    write_rows("few.jsonl", 1, n=20, harassment=0.1)
    Path("other.jsonl").write_text('{"text": "x", "labels": {"rudeness": 1}}\n')
    Path("unknown.jsonl").write_text('{"text": "x", "labels": {"illicit": 1}}\n')
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert "Traceback" not in err
    assert Path("rules.toml").read_text() == POLICY


def test_a_policy_that_changed_meanwhile_is_not_overwritten(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetyclf.evaluate.scoring import Scorer

    write_rows("rows.jsonl", 1)
    scores = Scorer.scores

    def edit(*arguments: Any) -> Any:
        Path("rules.toml").write_text(POLICY + "# edited\n")
        return scores(*arguments)

    monkeypatch.setattr(Scorer, "scores", edit)
    code, _, err = run("rules.toml", "rows.jsonl")
    assert code == 2
    assert "changed meanwhile" in err
    assert Path("rules.toml").read_text() == POLICY + "# edited\n"
