"""Policies: one file that people read, engines run and tests check. docs/policies.md."""

from __future__ import annotations
