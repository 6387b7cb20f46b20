"""Blocks of a page that a tool writes, and the rest of which it leaves alone."""

from __future__ import annotations

from pathlib import Path

from mmav.engine.checkpoint_io import atomic_write
from mmav.errors import MmavError

START, END = '<!-- {name}: start, written by {tool} -->', '<!-- {name}: end -->'


def fill_block(page: str | Path, name: str, tool: str, content: str) -> None:
    """Puts ``content`` between the two comments that mark a generated block of a page.

    Args:
        page: Markdown file; written whole or not at all.
        name: Name of the block.
        tool: The tool that writes it, as the first comment names it.
        content: What stands between the comments from now on.

    Raises:
        MmavError: There is no such page, or it does not have each comment once, in this order.
    """
    page = Path(page)
    if not page.is_file():
        raise MmavError(f"no page '{page}': give a Markdown file that has the block {name!r}")
    start, end = START.format(name=name, tool=tool), END.format(name=name)
    before, found_start, rest = page.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end or start in rest or end in after:
        raise MmavError(f"'{page}' needs one line {start} and, after it, one line {end}: what is written goes between")
    atomic_write(page, f'{before}{start}\n\n{content}\n\n{end}{after}'.encode())
