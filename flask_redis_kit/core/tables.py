"""Tables of the commands of ``flask redis``."""

from __future__ import annotations

from collections.abc import Sequence

import click


def printable(text: str, but: str = "") -> str:
    r"""Text as it is, with what would command a terminal spelled out (``\x1b``); not ``but``."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in but else ascii(each)[1:-1] for each in text
    )


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns; the first one is the heading.

    What visitors may have made up can't move the cursor: control characters are spelled out.
    """
    if not rows:
        return
    rows = [[_visible(cell) for cell in row] for row in rows]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _visible(cell: str) -> str:
    if cell.isprintable():
        return cell
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in cell)
