"""What pages are made of. `render_html` and `render_markdown` write them; all text in them is plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Heading:
    """Begins a part of the page: level 2 for a section, 3 and 4 inside."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; `ordered` numbers it."""

    texts: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Grid:
    """A table; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """An SVG element, which is markup and not escaped; Markdown has the words alone."""

    svg: str
    words: str


Block: TypeAlias = Heading | Paragraph | Items | Grid | Drawing


@dataclass(frozen=True)
class Page:
    """A whole page: title, what stands below it, blocks, and where it comes from."""

    title: str
    lead: str
    blocks: tuple[Block, ...]
    source: str
