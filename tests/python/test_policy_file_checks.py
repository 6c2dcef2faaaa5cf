"""`safetyclf policy check`: each finding, at its place, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from places import REPOSITORY
from safetyclf import Classifier, Thresholds
from safetyclf._cli import main
from safetyclf.policy import checks, examples
from safetyclf.policy.checks import check, check_file
from safetyclf.policy.reading import loads
from test_policy_file import HEAD

# The tiny model scores harassment, violence and violence/graphic, and knows illicit.
ABOUT_EXAMPLES = {"example-missed", "example-flagged"}


def findings(text: str, classifier: Classifier) -> list[tuple[str, str, int]]:
    """Code, severity and line of what is found, examples aside: the tiny model's scores are random."""
    found = check(loads(text), classifier)
    return [(f.code, f.severity, f.line) for f in found if f.code not in ABOUT_EXAMPLES]


def category(name: str, lines: str = "") -> str:
    given = f"title = '{name}'\ndefinition = 'd'\npositive = ['p {name}']\nnegative = ['n {name}']\n"
    return f"[categories.'{name}']\n{given}{lines}" + ("\n" if lines[-1:] not in ("", "\n") else "")


# Lines 5 to 9, 10 to 14 and 15 to 19.
ALL = HEAD + category("harassment") + category("violence") + category("violence/graphic")


def test_a_good_policy_has_no_findings(tiny: Classifier) -> None:
    assert findings(ALL, tiny) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (category("illicit"), [("unscored", "error", 20)]),
        (category("spam"), [("not-compiled", "error", 20)]),
        (category("illicit", "review = 'never'\nblock = 'never'"), [("never-decides", "warning", 20)]),
        (
            category("illicit", "review = 'never'\nblock = 'never'\n")
            + "[lists.a]\ntitle = 'A'\naction = 'block'\ncategory = 'illicit'\nterms = ['x']\n",
            [],
        ),
        (
            category("illicit", "review = 'never'\nblock = 'never'\n")
            + "[audiences.t]\ntitle = 'T'\n[audiences.t.thresholds.illicit]\nreview = 0.5\n",
            [("unscored", "error", 20), ("bare-number", "warning", 30)],
        ),
        (
            "[calibrated]\nmodel = 'm'\n[[calibrated.thresholds]]\ncategory = 'violence'\naction = 'review'\n"
            "target = { fpr = 0.1 }\nvalue = 0.5\nstatement = {}\n",
            [("stale-calibration", "error", 22)],
        ),
        (
            # An audience may have a number of its own for a target that is everybody's.
            category("spam", "review = { fpr = 0.1 }")
            + "[audiences.t]\ntitle = 'T'\n[calibrated]\nmodel = 'm'\n[[calibrated.thresholds]]\n"
            "category = 'spam'\naction = 'review'\naudience = 't'\ntarget = { fpr = 0.1 }\nvalue = 0.5\n"
            "statement = {}\n",
            [("not-compiled", "error", 20)],
        ),
        ("[lists.a]\ntitle = 'A'\naction = 'block'\nterms = []\n", [("empty-list", "warning", 20)]),
        (
            "[lists.a]\ntitle = 'A'\naction = 'block'\nterms = ['Foo', 'foot',\n"
            "'fo*', 'f?o', 'f??', 'xfo', 'go*']\n",
            [("term-covered", "warning", 23)] * 2 + [("term-covered", "warning", 24)],
        ),
        (
            "[lists.a]\ntitle = 'A'\naction = 'block'\nterms = ['x y']\n"
            "[lists.b]\ntitle = 'B'\naction = 'allow'\nterms = ['a', 'X  Y']\n",
            [("lists-disagree", "error", 27)],
        ),
        (
            "[lists.a]\ntitle = 'A'\naction = 'block'\nterms = ['x']\n"
            "[lists.b]\ntitle = 'B'\naction = 'review'\nterms = ['X']\n",
            [("term-repeated", "warning", 27)],
        ),
    ],
)
def test_findings_about_what_is_added(
    text: str, expected: list[tuple[str, str, int]], tiny: Classifier
) -> None:
    assert findings(ALL + text, tiny) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (category("harassment", "review = 0.5"), [("bare-number", "warning", 10)]),
        (category("harassment", "review = { fpr = 0.1 }"), [("no-calibration", "error", 10)]),
        (
            category("harassment", "review = { fpr = 0.1 }\n")
            + "[calibrated]\nmodel = 'm'\n[[calibrated.thresholds]]\ncategory = 'harassment'\n"
            "action = 'review'\ntarget = { fpr = 0.1 }\nvalue = 0.5\nstatement = {}\n",
            [("other-model", "error", 10)],
        ),
        (category("harassment", "severity = { high = 1 }"), [("unreachable", "warning", 10)]),
        (
            category("harassment", "review = 1"),
            [("bare-number", "warning", 10), ("unreachable", "warning", 10)],
        ),
        (
            "[categories.harassment]\ntitle = 'H'\n",
            [("no-definition", "warning", 5), ("no-examples", "warning", 5)],
        ),
        ("", [("left-out", "warning", 1)]),
        (
            category("harassment", "review = 'never'\nblock = 'never'\n")
            + "[audiences.t]\ntitle = 'T'\n[audiences.t.thresholds.violence]\nreview = 'model'\n",
            [("never-decides", "warning", 5)],
        ),
    ],
)
def test_findings_about_harassment(
    changed: str, expected: list[tuple[str, str, int]], tiny: Classifier
) -> None:
    found = findings(HEAD + changed + category("violence") + category("violence/graphic"), tiny)
    # "left-out" stands at the table of categories, whichever line that is.
    assert [(code, severity, 1 if code == "left-out" else line) for code, severity, line in found] == expected


def test_parents(tiny: Classifier) -> None:
    text = HEAD + category("harassment") + category("violence", "review = 'never'\nblock = 'never'\n")
    graphic = category("violence/graphic", "parent = 'violence'\n").replace("p violence/", "N  Violence#/")
    graphic = graphic.replace("['N  Violence#/graphic']", "['x',\n'N  Violence']")
    assert findings(text + graphic, tiny) == [
        ("never-decides", "warning", 10),
        ("parent-never", "warning", 17),
        ("child-against-parent", "error", 21),
    ]


@pytest.fixture
def cut(tiny: Classifier) -> tuple[str, str, float]:
    """A text with a higher harassment score, one with a lower one, and a threshold between."""
    texts = ["the bad dog", "a good tree", "hate you", "thank you"]
    low, *_, high = sorted(texts, key=lambda text: tiny.classify(text).scores["harassment"])
    scores = [tiny.classify(text).scores["harassment"] for text in (low, high)]
    return low, high, sum(scores) / 2


def with_examples(positive: str, negative: str, review: float) -> str:
    return (
        f"{HEAD}[categories.harassment]\ntitle = 'H'\ndefinition = 'd'\nreview = {review}\nblock = 'never'\n"
        f"positive = ['{positive}']\nnegative = ['{negative}']\n"
    )


def test_examples_against_the_model(tiny: Classifier, cut: tuple[str, str, float]) -> None:
    low, high, review = cut
    assert not {f.code for f in check(loads(with_examples(high, low, review)), tiny)} & ABOUT_EXAMPLES
    wrong = [f for f in check(loads(with_examples(low, high, review)), tiny) if f.code in ABOUT_EXAMPLES]
    assert [(f.code, f.line) for f in wrong] == [("example-missed", 10), ("example-flagged", 11)]
    assert f"is below review {review:.4f}: {low!r}" in wrong[0].message


def test_outcomes(tiny: Classifier, cut: tuple[str, str, float]) -> None:
    low, high, review = cut
    document = loads(with_examples(high, low, review))
    for threshold, passed in [(review, [True, True]), (0.0, [True, False]), (None, [None, None])]:
        outcomes = examples.run(document, tiny, {"harassment": Thresholds(threshold, None)})
        assert [outcome.passed for outcome in outcomes] == passed
        assert [(o.kind, o.number, o.line, o.text) for o in outcomes] == [
            ("positive", 1, 10, high),
            ("negative", 1, 11, low),
        ]
    score = tiny.classify(high).scores["harassment"]
    exactly = examples.run(document, tiny, {"harassment": Thresholds(score, None)})
    assert exactly[0].passed is True


def test_a_file_with_problems_has_these_as_findings(tmp_path: Path, tiny: Classifier) -> None:
    path = tmp_path / "p.toml"
    path.write_text(ALL + "review = 2\ntypo = 1\n", "utf-8")
    found = check_file(path, tiny)
    assert [(f.code, f.severity, f.file, f.line) for f in found] == [
        ("invalid", "error", str(path), 20),
        ("invalid", "error", str(path), 21),
    ]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs `safetyclf policy` with the tiny model, in an empty folder: exit code, output, standard error."""
    monkeypatch.setenv("SAFETYCLF_MODEL", str(tiny_path))
    monkeypatch.chdir(tmp_path)

    def policy(*arguments: str) -> tuple[int, str, str]:
        return main(["policy", *arguments]), *capfd.readouterr()

    return policy


def test_check_as_a_command(run: Run, tmp_path: Path, tiny: Classifier) -> None:
    (tmp_path / "warned.toml").write_text(ALL + "review = 1\n", "utf-8")
    (tmp_path / "wrong.toml").write_text(ALL + "review = 2\n", "utf-8")
    code, out, err = run("check", "warned.toml")
    assert (code, err) == (0, "")
    assert "warned.toml:20: warning: " in out
    assert run("check", "--strict", "warned.toml")[0] == 1
    code, out, _ = run("check", "wrong.toml")
    assert code == 1
    assert out == (
        "wrong.toml:20: error: 'categories.\"violence/graphic\".review' must be a number from 0 to 1, not 2;"
        " write it like 0.5, without quotes [invalid]\nwrong.toml: 1 errors, 0 warnings\n"
    )
    code, out, _ = run("check", "--json", "wrong.toml")
    result = json.loads(out)
    assert (code, result["errors"], result["warnings"], result["model"]) == (1, 1, 0, tiny.model_id)
    assert [list(finding) for finding in result["findings"]] == [
        ["code", "severity", "file", "line", "message"]
    ]
    code, out, err = run("check", "none.toml")
    assert (code, out) == (2, "")
    assert "none.toml: cannot read the policy: No such file" in err


def test_test_as_a_command(run: Run, tmp_path: Path, cut: tuple[str, str, float]) -> None:
    from xml.etree import ElementTree

    low, high, review = cut
    path = tmp_path / "p.toml"
    path.write_text(with_examples(high, low, review), "utf-8")
    assert run("test", "p.toml") == (
        0,
        "p.toml: 2 examples passed, 0 failed, 0 not tried (never decides)\n",
        "",
    )
    long = "x" * 50 + "\\u0001<&"
    path.write_text(
        with_examples(high, low, 0.0).replace(f"negative = ['{low}']", f'negative = ["{long}"]'), "utf-8"
    )
    code, out, _ = run("test", "p.toml", "--junit", "out.xml")
    assert code == 1
    first, last = out.splitlines()
    assert first.startswith("p.toml:11: failed: harassment negative 1: score 0.")
    assert first.endswith(f" reaches review 0.0000: '{'x' * 39}...")
    assert last == "p.toml: 1 examples passed, 1 failed, 0 not tried (never decides)"
    suites = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("skipped")) for s in suites] == [
        ("harassment", "2", "1", "0")
    ]
    passed, failed = suites[0]
    assert [(case.get("name"), case.get("line"), len(case)) for case in (passed, failed)] == [
        ("positive 1", "10", 0),
        ("negative 1", "11", 1),
    ]
    assert failed[0].tag == "failure"
    assert run("test", "p.toml", "--junit", "out.xml", "--with-text")[0] == 1
    message = ElementTree.parse(tmp_path / "out.xml").getroot()[0][1][0].get("message")
    assert message is not None
    assert message.endswith(f"{'x' * 50}\\x01<&'")
    assert run("test", "p.toml", "--audience", "teen")[::2] == (
        2,
        "safetyclf: error: p.toml: no audience 'teen'; there are none\n",
    )
    code, _, err = run("test", "p.toml", "--junit", "p.toml")
    assert code == 2
    assert "p.toml is both input and output" in err


def test_init_as_a_command(run: Run, tmp_path: Path) -> None:
    from safetyclf.policy.reading import DEFAULT, load

    code, out, _ = run("init", "mine.toml")
    assert (code, out.startswith("mine.toml is a copy")) == (0, True)
    assert (tmp_path / "mine.toml").read_bytes() == DEFAULT.read_bytes()
    assert load(tmp_path / "mine.toml").sha256 == load(DEFAULT).sha256
    (tmp_path / "mine.toml").write_text("kept", "utf-8")
    code, _, err = run("init", "mine.toml")
    assert code == 2
    assert "mine.toml exists, and is left as it is" in err
    assert (tmp_path / "mine.toml").read_text("utf-8") == "kept"
    assert run("init", "none/mine.toml")[0] == 2


def test_schema_as_a_command(run: Run) -> None:
    code, out, _ = run("schema")
    assert (code, json.loads(out)["title"]) == (0, "safetyclf-policy/1")


def test_every_finding_is_on_the_page() -> None:
    page = (REPOSITORY / "docs" / "policies.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z, `-]+`) \| (?:error|warning) \|", page, re.MULTILINE)
    listed = {code for row in rows for code in re.findall("`([a-z-]+)`", row)}
    sources = "".join(path.read_text("utf-8") for path in (Path(checks.__file__).parent).glob("*.py"))
    made = set(re.findall(r'(?:report\.error|report\.warning|Unresolved|Finding)\(\s*"([a-z-]+)"', sources))
    assert made <= listed
    assert {code for code in listed if f'"{code}"' not in sources} == set()


def test_terms_that_no_text_can_hold_are_errors() -> None:
    terms = "[lists.odd]\ntitle = 'Odd'\naction = 'review'\nterms = ['fine', \"\\u200b\"]\n"
    found = findings(ALL + terms, Classifier())
    assert [finding for finding in found if finding[0] == "impossible-term"] == [
        ("impossible-term", "error", 20)
    ]
