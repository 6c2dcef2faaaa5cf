"""A page as one HTML file that loads nothing and follows the reader's light or dark setting."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from .blocks import Block, Drawing, Grid, Heading, Items, Page, Paragraph

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --muted: #59636e; --accent: #0b57b0; --line: #d6dae0;
  --page: #ffffff; --stripe: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --muted: #9aa4af; --accent: #6cb0ff;
  --line: #363c44; --page: #14171b; --stripe: #1c2026; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.35rem; margin-top: 2.5rem; }
h3 { font-size: 1.1rem; margin-top: 1.8rem; } h4 { font-size: 1rem; margin-bottom: .2rem; }
p, ul, ol { max-width: 46rem; } ul, ol { margin-top: .3rem; }
a { color: var(--accent); } a:focus-visible, .wide:focus-visible { outline: 3px solid var(--accent); }
.skip { position: absolute; left: -999rem; } .skip:focus { position: static; }
.lead { font-size: 1.1rem; } footer { color: var(--muted); margin-top: 3rem; font-size: .85rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
tbody tr:nth-child(even) { background: var(--stripe); } tbody th { font-weight: 600; }
svg { max-width: 100%; height: auto; }
"""
# Not even a title that slipped through could load or run anything.
_RULES: Final = "default-src 'none'; style-src 'unsafe-inline'"
# Browsers drop or replace them; tab and line feed are blanks to them anyway.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def escape(text: str) -> str:
    """Text as HTML, also inside of quoted attributes."""
    return html.escape(_CONTROLS.sub("\ufffd", text))


def to_html(page: Page) -> str:
    """The page as HTML."""
    title = escape(page.title)
    sections = list(_sections(page.blocks))
    entries = "\n".join(
        f'<li><a href="#part-{number}">{escape(heading.text)}</a></li>'
        for number, (heading, _) in enumerate(sections, 1)
        if heading is not None
    )
    body = "\n".join(_section(number, *section) for number, section in enumerate(sections, 1))
    nav = f'<nav aria-label="Contents">\n<ul>\n{entries}\n</ul>\n</nav>\n' if entries else ""
    lead = f'<p class="lead">{escape(page.lead)}</p>\n' if page.lead else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_RULES}">\n'
        f'<title>{title}</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<style>{_STYLE}</style>\n</head>\n<body>\n<a class="skip" href="#main">Skip to the content</a>\n'
        f'<header>\n<h1>{title}</h1>\n{lead}</header>\n{nav}<main id="main">\n{body}\n</main>\n'
        f"<footer>\n<p>{escape(page.source)}</p>\n</footer>\n</body>\n</html>\n"
    )


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[Heading | None, list[Block]]]:
    """Headings of level 2 and what follows each; None for what stands before the first."""
    number = 0

    def section_of(block: Block) -> int:
        nonlocal number
        number += isinstance(block, Heading) and block.level == 2
        return number

    for _, group in groupby(blocks, section_of):
        first, *rest = group
        if isinstance(first, Heading) and first.level == 2:
            yield first, rest
        else:
            yield None, [first, *rest]


def _section(number: int, heading: Heading | None, blocks: list[Block]) -> str:
    body = "\n".join(map(_block, blocks))
    if heading is None:
        return body
    name = f"part-{number}"
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(heading.text)}</h2>\n{body}\n</section>'
    )


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Items):
        tag = "ol" if block.ordered else "ul"
        return f"<{tag}>\n" + "".join(f"<li>{escape(text)}</li>\n" for text in block.texts) + f"</{tag}>"
    if isinstance(block, Drawing):
        return f'<div class="wide">{block.svg}</div>'
    return _grid(block)


def _grid(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in grid.head)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in grid.rows
    )
    caption = escape(grid.caption)
    # A table wider than the screen scrolls; the keyboard must reach it for that.
    return (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0">\n'
        f"<table><caption>{caption}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n</div>"
    )
