"""What the checks of a policy find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .document import PolicyDocument
from .problems import Path, line_of

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One finding. `code` names its kind and does not change; docs/policies.md lists the codes."""

    code: str
    severity: Severity
    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message} [{self.code}]"


class Report:
    """Makes findings about one document."""

    def __init__(self, document: PolicyDocument) -> None:
        self._file = document.path or "policy"
        self._lines = document.lines

    def error(self, code: str, path: Path, message: str) -> Finding:
        """Something that cannot be meant, or will fail when the policy is used."""
        return Finding(code, "error", self._file, line_of(self._lines, path), message)

    def warning(self, code: str, path: Path, message: str) -> Finding:
        """Something that may be meant."""
        return Finding(code, "warning", self._file, line_of(self._lines, path), message)
