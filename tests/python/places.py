"""Where tests find things."""

from __future__ import annotations

from pathlib import Path

import safetyclf

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLED = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
