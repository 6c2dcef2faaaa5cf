#!/usr/bin/env python3
"""Writes tests/data/golden.json for tests/capi/golden.c: golden_cases.py FILE. Needs nothing but Python.

Numbers are 32 bits, little-endian: how many texts, how many categories; for each text its size in bytes, its
bytes, and the bits of its scores.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path


def main() -> None:
    golden = json.loads((Path(__file__).parents[1] / "data" / "golden.json").read_text(encoding="ascii"))
    parts = [struct.pack("<2I", len(golden["texts"]), len(golden["categories"]))]
    for text, scores in zip(golden["texts"], golden["scores"], strict=True):
        data = re.sub("[\ud800-\udfff]", "\ufffd", text).encode()
        parts += [struct.pack("<I", len(data)), data]
        parts += [struct.pack("<I", int(bits, 16)) for bits in scores]
    Path(sys.argv[1]).write_bytes(b"".join(parts))


if __name__ == "__main__":
    main()
