"""The audit log: one JSON line for each decision, with a hash in place of the text."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping, Sequence

from .engines import Judged


class Audit:
    """Appends to a file that several workers share: each call is one write, which the system keeps whole.

    The hash is SHA-256 of the UTF-8 text, or HMAC-SHA-256 with the key of SAFETYCLF_AUDIT_KEY: short texts
    can be guessed from a plain hash.
    """

    def __init__(self, path: str, environment: Mapping[str, str]) -> None:
        """Opens the file, for its owner alone if it is new. Raises OSError."""
        self._path = path
        self._key = environment.get("SAFETYCLF_AUDIT_KEY", "").encode()
        self._file = self._opened()

    def reopen(self) -> None:
        """After the file was moved away (logrotate)."""
        before, self._file = self._file, self._opened()
        os.close(before)

    def write(self, request_id: str, texts: Sequence[str], policy: str, judged: Sequence[Judged]) -> None:
        """Lines for the verdicts on one request's texts. Raises OSError, for a full disk as well."""
        now = round(time.time(), 3)
        lines = []
        for text, one in zip(texts, judged, strict=True):
            verdict = one.verdict
            line = {
                "time": now,
                "request": request_id,
                "hash": self._hash(text.encode("utf-8", "surrogatepass")),
                "action": verdict.action,
                "policy": policy,
                "policy_id": verdict.policy,
                "model": verdict.model,
                # Nine digits tell any two float32 apart.
                "scores": {name: float(f"{score:.9g}") for name, score in verdict.scores.items()},
            }
            lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        data = "".join(lines).encode()
        if os.write(self._file, data) != len(data):
            raise OSError("a line of the audit log was cut")

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _hash(self, data: bytes) -> str:
        if self._key:
            return hmac.new(self._key, data, hashlib.sha256).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        """Ends it."""
        os.close(self._file)
