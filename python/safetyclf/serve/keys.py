"""API keys: read from a file and the environment, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from .._errors import DataFileError
from .refusals import Refusal


class Keys:
    """The keys that open the server. Only their hashes are kept.

    Attributes:
        needed: there are keys, so a request has to have one.
    """

    def __init__(self, keys: list[str]) -> None:
        self._hashes = [_hash(key.encode()) for key in keys]
        self.needed = bool(keys)

    @classmethod
    def read(cls, path: str | None, environment: Mapping[str, str]) -> Keys:
        """Keys of SAFETYCLF_API_KEYS, separated by commas, and of a file, one a line; # begins a comment.

        Raises:
            OSError: the file cannot be read. DataFileError: it is not UTF-8 or holds no key.
        """
        keys = [key.strip() for key in environment.get("SAFETYCLF_API_KEYS", "").split(",")]
        if path is not None:
            try:
                with open(path, encoding="utf-8") as file:
                    lines = [line.strip() for line in file]
            except UnicodeDecodeError:
                raise DataFileError(f"{path}: not UTF-8") from None
            found = [line for line in lines if line and not line.startswith("#")]
            if not found:
                raise DataFileError(f"{path}: no key in it")
            keys += found
        return cls([key for key in keys if key])

    def __len__(self) -> int:
        return len(self._hashes)

    def check(self, key: str | None) -> None:
        """Refuses with 401 what is none of the keys, unless there are none at all."""
        if not self._hashes:
            return
        if not key:
            raise _refusal("No API key was given. Send it as 'Authorization: Bearer KEY'.", None)
        # Neither which key nor how much of it fits shows in the time: hashes, and always all of them.
        given = _hash(key.encode("utf-8", "surrogatepass"))
        if not sum([hmac.compare_digest(given, known) for known in self._hashes]):
            raise _refusal("The API key is not one of this server's.", "invalid_api_key")


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _refusal(message: str, code: str | None) -> Refusal:
    return Refusal(401, message, code=code, headers={"www-authenticate": 'Bearer realm="safetyclf"'})
