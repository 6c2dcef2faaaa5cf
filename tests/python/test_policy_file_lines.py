"""The scanner that tells on which line a key stands: every key that the parser yields, in any layout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf.policy.lines import key_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple[str, ...]

# Whatever looks like structure, inside strings and comments.
TRICKY = st.sampled_from(
    ['"', "'", "#", "[a]", "[[a]]", "]", "}", "{", "=", ",", "\\", '"""', "'''", "x = 1", "é", "\t", " "]
)
WORDS = st.lists(TRICKY | st.sampled_from("abc"), max_size=6).map("".join)
BLANKS = st.sampled_from(["", " ", "\t "])


def all_paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, entry in entries:
        yield from all_paths(entry, (*path, str(name)))


class Writer:
    """Writes a document in a layout that Hypothesis chooses, and notes where each leaf's key stands."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def blank(self) -> None:
        self.put(self.draw(BLANKS))

    def note(self, path: Path) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def end_line(self) -> None:
        self.blank()
        if self.draw(st.booleans()):
            self.put("#" + self.draw(WORDS))
        self.put(self.draw(st.sampled_from(["\n", "\r\n", "\n\n"])))

    def filler(self) -> None:
        """Between the elements of an array."""
        if self.draw(st.booleans()):
            self.end_line()
        self.blank()

    def key(self, name: str) -> None:
        self.blank()
        plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        choices = [json.dumps(name, ensure_ascii=self.draw(st.booleans()))]
        if plain:
            choices.append(name)
        if "'" not in name:
            choices.append(f"'{name}'")
        self.put(self.draw(st.sampled_from(choices)))
        self.blank()

    def dotted(self, names: Path) -> None:
        for i, name in enumerate(names):
            self.put("." if i else "")
            self.key(name)

    def scalar(self) -> None:
        words = self.draw(WORDS)
        choices = [
            "1",
            "-0.5e3",
            "true",
            "1979-05-27T07:32:00Z",
            "1979-05-27 07:32:00",
            "inf",
            json.dumps(words),
        ]
        escaped = json.dumps(words)[1:-1]
        choices += [f'"""\n{escaped}\n"""', f'"""{escaped}""""', '"""a""b\\\n  c"""""', '""']
        if "'" not in words:
            choices += [f"'{words}'", f"'''{words}\n#'''", f"'''a''b{words}'''''"]
        self.put(self.draw(st.sampled_from(choices)))

    def value(self, path: Path, depth: int = 0) -> None:
        kind = self.draw(st.sampled_from(["scalar", "scalar", "array", "table"] if depth < 3 else ["scalar"]))
        if kind == "scalar":
            self.scalar()
        elif kind == "array":
            self.put("[")
            count = self.draw(st.integers(0, 3))
            for i in range(count):
                self.filler()
                self.note((*path, str(i)))
                self.value((*path, str(i)), depth + 1)
                self.filler()
                if i < count - 1 or self.draw(st.booleans()):
                    self.put(",")
            self.filler()
            self.put("]")
        else:
            self.put("{")
            for i, name in enumerate(self.names(2)):
                self.put("," if i else "")
                self.pair(path, name, depth + 1)
            self.blank()
            self.put("}")

    def names(self, most: int, taken: tuple[str, ...] = ()) -> list[str]:
        fresh = (WORDS | st.sampled_from(["a", "b-c", "1"])).filter(lambda name: name not in taken)
        return self.draw(st.lists(fresh, max_size=most, unique=True))

    def pair(self, table: Path, name: str, depth: int = 0) -> None:
        path = (*table, name, *self.names(1))
        self.note(path)
        self.dotted(path[len(table) :])
        self.put("=")
        self.blank()
        self.value(path, depth)

    def body(self, table: Path, taken: tuple[str, ...] = ()) -> None:
        for name in self.names(3, taken):
            self.filler()
            self.pair(table, name)
            self.end_line()

    def document(self) -> None:
        tables = self.names(3)
        self.body((), tuple(tables))
        for name in tables:
            if self.draw(st.booleans()):
                names = (name, *self.names(2))
                self.header("[", names, "]", names)
                self.body(names)
                continue
            for i in range(self.draw(st.integers(1, 3))):
                self.header("[[", (name,), "]]", (name, str(i)))
                self.body((name, str(i)), ("sub",))
                if self.draw(st.booleans()):
                    self.header("[", (name, "sub"), "]", (name, str(i), "sub"))
                    self.body((name, str(i), "sub"))

    def header(self, before: str, names: Path, after: str, path: Path) -> None:
        self.filler()
        self.note(path)
        self.put(before)
        self.dotted(names)
        self.put(after)
        self.end_line()


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Path, int]]:
    writer = Writer(draw)
    writer.document()
    return writer.text, writer.lines


@given(documents())
def test_every_key_of_a_document_has_its_line(document: tuple[str, dict[Path, int]]) -> None:
    text, lines = document
    data = tomllib.loads(text)
    found = key_lines(text.replace("\r\n", "\n"))
    assert set(found) == set(all_paths(data))
    assert {path: found[path] for path in lines} == lines


def test_the_kinds_of_keys() -> None:
    text = """\
# x = 1
a = 1
"b.c" = "[no]"
'd' . e = { f = [1, 2,
  # ]
  3], "\\u0067" = {} }
h = '''
[no]
i = 1'''
[j]
k.l = 1
[[m.n]]
o = 1
[[m.n]]
[m.n.p]
q = 1
[j.r]
"""
    assert key_lines(text) == {
        ("a",): 2,
        ("b.c",): 3,
        ("d",): 4,
        ("d", "e"): 4,
        ("d", "e", "f"): 4,
        ("d", "e", "f", "0"): 4,
        ("d", "e", "f", "1"): 4,
        ("d", "e", "f", "2"): 6,
        ("d", "e", "g"): 6,
        ("h",): 7,
        ("j",): 10,
        ("j", "k"): 11,
        ("j", "k", "l"): 11,
        ("m",): 12,
        ("m", "n"): 12,
        ("m", "n", "0"): 12,
        ("m", "n", "0", "o"): 13,
        ("m", "n", "1"): 14,
        ("m", "n", "1", "p"): 15,
        ("m", "n", "1", "p", "q"): 16,
        ("j", "r"): 17,
    }
    assert set(key_lines(text)) == set(all_paths(tomllib.loads(text)))


@pytest.mark.parametrize("size", [10, 200_000])
def test_long_strings_are_no_problem(size: int) -> None:
    body = 'a""\\\\' * size
    assert key_lines(f'x = """{body}"""\ny = 1\n') == {("x",): 1, ("y",): 2}
