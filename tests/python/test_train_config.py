"""The configuration of a training run: defaults and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetyclf._errors import DataFileError

pytest.importorskip("scipy")

from safetyclf.train import load_config


def test_default_configuration() -> None:
    config = load_config()
    assert len(config.categories) == 20
    assert len(config.derived) == 5
    assert "sexual/minors" not in config.scored
    assert config.source("written_voices").kind == "written"
    assert config.source("sap200_weak").kind == "weak"
    assert config.source("somebody else's").kind == "human"


MINIMAL = """
categories = ["hate"]
[model]
name = "m"
version = "0.1.0"
licence = "MIT"
description = ""
[data]
files = ["*.jsonl"]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + 'colour = "red"', "key 'data.colour' does not exist"),
        (lambda text: text.replace('licence = "MIT"', ""), "key 'model.licence' is missing"),
        (lambda text: text.replace('["*.jsonl"]', "[]"), "'data.files' must be a list that is not empty"),
        (lambda text: text + "valid_share = 'half'", "'data.valid_share' must be of type float"),
        (lambda text: text + "valid_share = 0.5", "'data.valid_share' must be above 0 and below 0.5"),
        (lambda text: text + '[uncovered]\nlove = "x"', "which is not in 'categories'"),
        (lambda text: text + '[uncovered]\nhate = "x"', "nothing to train"),
        (lambda text: text + '[sources.a]\nkind = "rumour"', "'sources.a.kind' must be one of"),
        (lambda text: text + '[derived.x]\nany = ["hate"]\ndefinition = ""', "'derived.x' is not a category"),
        (lambda text: text + '[derived.hate]\nany = ["hate"]\ndefinition = ""', "names 'hate', not a scored"),
        (lambda text: text + '[derived.hate]\nany = ["hate"]', "key 'derived.hate.definition' is missing"),
        (lambda text: text + "[data.near_duplicates]\nthreshold = 0.3", "must be 0 (keep all) or from 0.5"),
        (
            lambda text: text + "[data.near_duplicates]\nshingles = 3",
            "'data.near_duplicates.shingles' does not",
        ),
        (lambda text: text + "[data.near_duplicates]\npermutations = 3", "must be from 16 to 1024"),
        (lambda text: text + "[sources.a]\ncontrast = 1", "'sources.a.contrast' must be of type bool, not 1"),
        (lambda text: 'sha256 = "x"\n' + text, "key 'sha256' does not exist"),
        (lambda text: text + "[", "not valid TOML"),
    ],
)
def test_wrong_configurations(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    assert load_config(path).scored == ("hate",)
    path.write_text(change(MINIMAL))
    with pytest.raises(DataFileError, match=r"config\.toml: ") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_the_configuration_in_the_documentation_is_complete(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/training.md"
    if not page.is_file():
        pytest.skip("needs docs/, which an installed package does not have")
    block = page.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "our-forum.toml"
    path.write_text(block)
    config = load_config(path)
    assert config.scored == ("spam", "harassment")
    assert config.finetune.epochs > 0
