"""Generated blocks of a page; a tool that writes one leaves the rest of the page alone."""

from __future__ import annotations

from pathlib import Path

from mmav.errors import MmavError
from mmav.files import atomic_write
from mmav.outputs import check_place

START, END = '<!-- {name}: start, written by {tool} -->', '<!-- {name}: end -->'


def find_block(page: str | Path, name: str, tool: str) -> tuple[str, str]:
    """Finds the generated block of a page between the two comments that mark it.

    Args:
        page: Markdown file.
        name: Name of the block.
        tool: The tool that writes it, as the first comment names it.

    Returns:
        The text before the block's content and the text after it, the comments included.

    Raises:
        MmavError: There is no such page, it is not writable, or it does not have each comment once, in this order.
    """
    page = Path(page)
    if not page.is_file():
        raise MmavError(f"no page '{page}': give a Markdown file that has the block {name!r}")
    check_place(page)
    start, end = START.format(name=name, tool=tool), END.format(name=name)
    before, found_start, rest = page.read_text(encoding='utf-8').partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end or start in rest or end in after:
        raise MmavError(f"'{page}' needs one line {start} and, after it, one line {end}: what is written goes between")
    return before + start, end + after


def read_block(page: str | Path, name: str, tool: str) -> str:
    """The content of the generated block of a page.

    Raises:
        MmavError: See :func:`find_block`.
    """
    before, after = find_block(page, name, tool)
    return Path(page).read_text(encoding='utf-8')[len(before) : -len(after)]


def fill_block(page: str | Path, name: str, tool: str, content: str) -> None:
    """Writes ``content`` into the generated block of a page; the page is written whole or not at all.

    Args:
        page: Markdown file.
        name: Name of the block.
        tool: The tool that writes it.
        content: Replaces what is between the comments.

    Raises:
        MmavError: See :func:`find_block`.
    """
    before, after = find_block(page, name, tool)
    atomic_write(page, f'{before}\n\n{content}\n\n{after}'.encode())
