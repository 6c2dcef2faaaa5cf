"""Where in a TOML file each key stands.

The TOML parser yields values without places. This scanner reads only the structure, of a text that the parser
has accepted, and so it can be lenient: it need not know what is forbidden.
"""

from __future__ import annotations

import re
from typing import Final

Path = tuple[str, ...]

_BLANK: Final = re.compile(r"[ \t]*")
# Also line breaks and comments, which may stand between the elements of an array.
_FILLER: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# A multi-line string may end in one or two quotes of its own before the three that close it.
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER_VALUE: Final = re.compile(r"[^,\]}#\n]*")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def key_lines(text: str) -> dict[Path, int]:
    """The line of each key of a valid TOML text, from 1, by the path of names to it.

    Elements of arrays count as keys "0", "1" and so on. A table stands where its header does, or where it is
    first mentioned if it has none.
    """
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._array_sizes: dict[Path, int] = {}  # of the arrays of tables
        self._counted_to = 0
        self._line = 1

    def run(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_FILLER)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_FILLER)
        return self._lines

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of the table that it opens."""
        line = self._here()
        of_array = self._text.startswith("[[", self._at)
        self._at += 2 if of_array else 1
        *parents, last = self._key()
        self._at += 2 if of_array else 1
        path: Path = ()
        for name in parents:
            path = (*path, name)
            self._lines.setdefault(path, line)
            if path in self._array_sizes:
                path = (*path, str(self._array_sizes[path] - 1))
        path = (*path, last)
        if not of_array:
            self._lines[path] = line
            return path
        self._lines.setdefault(path, line)
        size = self._array_sizes.get(path, 0)
        self._array_sizes[path] = size + 1
        path = (*path, str(size))
        self._lines[path] = line
        return path

    def _pair(self, table: Path) -> None:
        """`key = value`, in a table or an inline table."""
        line = self._here()
        *parents, last = self._key()
        path = table
        for name in parents:
            path = (*path, name)
            self._lines.setdefault(path, line)
        path = (*path, last)
        self._lines[path] = line
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, and the blanks around it."""
        names = []
        while True:
            self._skip(_BLANK)
            if match := _STRING.match(self._text, self._at):
                names.append(_unquoted(match[0]))
            else:
                match = _BARE_KEY.match(self._text, self._at)
                assert match is not None, "the text is not valid TOML"
                names.append(match[0])
            self._at = match.end()
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, path: Path) -> None:
        if match := _STRING.match(self._text, self._at):
            self._at = match.end()
        elif self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            self._skip(_OTHER_VALUE)

    def _array(self, path: Path) -> None:
        self._at += 1
        self._skip(_FILLER)
        count = 0
        while not self._text.startswith("]", self._at):
            element = (*path, str(count))
            self._lines[element] = self._here()
            self._value(element)
            count += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_FILLER)
        while not self._text.startswith("}", self._at):
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_FILLER)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_FILLER)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "these patterns match the empty string"
        self._at = match.end()

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line


def _unquoted(key: str) -> str:
    """What a quoted key says; keys are strings of one line."""
    if key.startswith("'"):
        return key[1:-1]
    return _ESCAPE.sub(_unescaped, key[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    return chr(int(digits, 16)) if digits else _ESCAPED.get(match[3], match[3])
