"""Test suites: labelled text with a header that says what it is. docs/suites.md."""

from .._categories import ATTRIBUTES, MODERATION_CATEGORIES
from .read import read_files, read_suite
from .suite import EXPECTED_FLAG, KNOWN, UNKNOWN, DataFile, Suite, combined

__all__ = [
    "ATTRIBUTES",
    "EXPECTED_FLAG",
    "KNOWN",
    "MODERATION_CATEGORIES",
    "UNKNOWN",
    "DataFile",
    "Suite",
    "combined",
    "read_files",
    "read_suite",
]
