"""A page as Markdown, in which no text of a policy can become markup."""

from __future__ import annotations

import re
from typing import Final

from .blocks import Block, Drawing, Grid, Heading, Items, Page, Paragraph

_ACTIVE: Final = re.compile(r"[\\`*_{}\[\]<>|~&#$]")
# What would make a list, a quotation, a heading or a rule of a line.
_FIRST: Final = re.compile(r"^([-+=](?=[-=\s]|$)|\d{1,9}[.)](?=\s|$))")
_BLANKS: Final = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def escape(text: str) -> str:
    """Text on one line as Markdown."""
    text = _ACTIVE.sub(r"\\\g<0>", _BLANKS.sub(" ", text).strip())
    return _FIRST.sub(lambda found: found[0][:-1] + "\\" + found[0][-1], text)


def to_markdown(page: Page) -> str:
    """The page as Markdown."""
    parts = [f"# {escape(page.title)}"]
    if page.lead:
        parts.append(escape(page.lead))
    parts += [_block(block) for block in page.blocks]
    return "\n\n".join([*parts, escape(page.source)]) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {escape(block.text)}"
    if isinstance(block, Paragraph):
        return escape(block.text)
    if isinstance(block, Items):
        marks = (f"{number}." if block.ordered else "-" for number in range(1, len(block.texts) + 1))
        return "\n".join(f"{mark} {escape(text)}" for mark, text in zip(marks, block.texts, strict=True))
    if isinstance(block, Drawing):
        return escape(block.words)
    return _grid(block)


def _grid(grid: Grid) -> str:
    head, *rows = (f"| {' | '.join(map(escape, row))} |" for row in (grid.head, *grid.rows))
    return "\n".join([f"**{escape(grid.caption)}**", "", head, "|---" * len(grid.head) + "|", *rows])
