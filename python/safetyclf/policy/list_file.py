"""Files of terms that a policy names."""

from __future__ import annotations

import os

from .._errors import PolicyError
from .tables import TERM


def read_terms(path: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """The terms of a file and their lines: one a line, blank lines and those that begin with `#` left out.

    Raises:
        OSError, ValueError: the file cannot be opened or read.
        PolicyError: it is not UTF-8, or has a line of wildcards only; the message names each line.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    terms, wrong = [], []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            term = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            wrong.append(
                f"{name}:{number}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
            )
            continue
        if not term or term.startswith("#"):
            continue
        if TERM.search(term):
            terms.append((term, number))
        else:
            wrong.append(f"{name}:{number}: a term needs more than wildcards; take the line out")
    if wrong:
        raise PolicyError("\n".join(wrong))
    return terms
