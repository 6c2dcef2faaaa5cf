"""Where answers go."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from ._common import UsageError


class OutputError(UsageError):
    """The output cannot be written."""


class Output:
    """The output file or standard output, written without a buffer: an answered message is out at once."""

    def __init__(self, path: str | None = None, inputs: Sequence[str] = ()) -> None:
        """Creates or empties the file; None is standard output. Refuses to overwrite one of the inputs."""
        self._name = path or "standard output"
        self._descriptor = 1
        if path is None:
            return
        if any(os.path.exists(path) and os.path.exists(i) and os.path.samefile(path, i) for i in inputs):
            raise OutputError(f"{path} is both input and output")
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._error(error) from None

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> None:
        """Writes all of it. Raises BrokenPipeError when nobody reads it any more, else OutputError."""
        data = memoryview(text.encode("utf-8"))
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        try:
            while data:
                poll.poll()  # a descriptor may have been made non-blocking by another process
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Closes the file; some systems report a failed write only here."""
        if self._descriptor != 1:
            try:
                os.close(self._descriptor)
            except OSError as error:
                raise self._error(error) from None

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._name}: cannot write: {error.strerror}")
