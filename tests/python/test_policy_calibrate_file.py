"""The calibrated part of a policy file: what is written, and what stays."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf import PolicyError

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

pytest.importorskip("scipy")

from safetyclf.policy.calibrated_file import MARKER, to_toml, with_calibration, write_file
from safetyclf.policy.document import Calibrated, Calibration, Target

POLICY = 'id = "a"\r\n# a comment \u00e9\n[categories."hate/threatening"]\nreview = { fpr = 0.1 }'.encode()


def calibration(value: float | None = 0.43, model: str = "m-1.0.0+abc", **statement: Any) -> Calibration:
    target = Target("fpr", 0.1)
    entry = Calibrated("hate/threatening", "review", None, target, value, {"rule": "says what", **statement})
    teen = Calibrated("hate/threatening", "block", "teen", Target("recall", 0.9, 0.99), 1e-9, {})
    return Calibration(model, (entry, teen))


def expected(found: Calibration) -> dict[str, Any]:
    """What a parser must find; docs/policies.md has the keys."""
    entries = []
    for entry in found.thresholds:
        target = {entry.target.metric: entry.target.value, "confidence": entry.target.confidence}
        entries.append(
            {"category": entry.category, "action": entry.action}
            | ({} if entry.audience is None else {"audience": entry.audience})
            | {"target": target}
            | ({"never": True} if entry.value is None else {"value": entry.value})
            | {"statement": dict(entry.statement)}
        )
    return {
        "calibrated": {"model": found.model, "thresholds": entries} if entries else {"model": found.model}
    }


def same(a: Any, b: Any) -> bool:
    """Equal with types: 1 is not 1.0, and True is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
shares = st.floats(0.001, 0.999)
entries = st.builds(
    Calibrated,
    texts,
    st.sampled_from(["review", "block"]),
    st.none() | texts,
    st.builds(Target, st.sampled_from(["fpr", "recall", "precision"]), shares, shares),
    st.none() | st.floats(0, 1),
    st.dictionaries(texts, values, max_size=5),
)
calibrations = st.builds(Calibration, texts, st.lists(entries, min_size=1, max_size=3).map(tuple))


@given(calibrations)
def test_what_is_written_reads_as_the_same_values(found: Calibration) -> None:
    assert same(tomllib.loads(to_toml(found)), expected(found))


@given(calibrations, calibrations)
def test_an_older_part_is_replaced_and_what_stands_above_stays(old: Calibration, new: Calibration) -> None:
    first = with_calibration(POLICY, old)
    second = with_calibration(first, new)
    assert first.startswith(POLICY)
    assert second == with_calibration(POLICY, new)
    parsed = tomllib.loads(second.decode())
    assert same(parsed.pop("calibrated"), expected(new)["calibrated"])
    assert parsed == tomllib.loads(POLICY.decode())


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n\n# last words\n", b"\n[lists]  # empty"])
def test_every_byte_above_stays(end: bytes) -> None:
    source = POLICY + end
    found = with_calibration(source, calibration())
    assert found.startswith(source)
    assert found[len(source) :].lstrip(b"\n").startswith(MARKER.encode())
    assert with_calibration(found, calibration()) == found


def test_a_byte_order_mark_stays() -> None:
    found = with_calibration(b"\xef\xbb\xbf" + POLICY, calibration())
    assert found.startswith(b"\xef\xbb\xbf" + POLICY)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"= 3", "no TOML"),
        (b'id = "\xff"', "no TOML"),
        (POLICY + b'\n[calibrated]\nmodel = "m"\n', "lacks the comment line"),
        (with_calibration(POLICY, calibration()) + b'[audiences.teen]\ntitle = "T"\n', "would be lost"),
    ],
)
def test_nothing_of_the_author_is_lost(source: bytes, reason: str) -> None:
    with pytest.raises(PolicyError, match=f"rules.toml: .*{reason}"):
        with_calibration(source, calibration(), "rules.toml")


def test_a_marker_within_a_text_is_no_place_to_cut() -> None:
    source = POLICY + f'\ndescription = """\n{MARKER}\n"""\n'.encode()
    with pytest.raises(PolicyError):
        with_calibration(source, calibration())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "rules.toml", tmp_path / "link.toml"
    file.write_bytes(POLICY)
    file.chmod(0o640)
    link.symlink_to(file)
    write_file(str(link), b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_file(str(file), b"newer")
    assert file.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "rules.toml"]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_file(str(tmp_path / "made"), b"x")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode
