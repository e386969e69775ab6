"""Tables of the commands of ``flask redis``."""

from __future__ import annotations

from collections.abc import Sequence

import click


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns; the first one is the heading."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
