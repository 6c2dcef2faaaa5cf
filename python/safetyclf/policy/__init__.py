"""Policies: one file that people read, engines run and tests check. docs/policies.md."""

from __future__ import annotations

from .document import PolicyDocument
from .reading import load, load_default, loads

__all__ = ["PolicyDocument", "load", "load_default", "loads"]
