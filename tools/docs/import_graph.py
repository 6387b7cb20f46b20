#!/usr/bin/env python
"""Draws the rooms of the library and who imports whom, and fails where an arrow points up or runs in a circle.

Imports inside functions count, and so does what a package's ``__init__`` brings along.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.outputs import check_output
from mmav.visualization.figures import save_figure

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = 'mmav'
# Rooms of one row know nothing of each other, nor of those above. Modules beside the rooms are the ground floor.
ROWS = (
    ('ground floor',),
    ('config',),
    ('models', 'datasets'),
    ('engine', 'evaluation', 'preparation'),
    ('visualization',),
    ('inference',),
    ('apis', 'deployment', 'analysis'),
    ('web', 'serving'),
)
# where a box would stand on an arrow of others
ASIDE = {'config': 1 / 3}
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
EXAMPLE = """example:
  python tools/docs/import_graph.py --out docs/architecture.png"""

Graph = Mapping[str, set[str]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', metavar='FILE', help='picture, .png, .svg or .pdf')
    args = parser.parse_args()
    if args.out:
        check_output(args.out)
    graph = import_graph(ROOT / LIBRARY)
    wrong = [*arrows_up(graph), *filter(None, [circle(graph)])]
    if wrong:
        raise MmavError('; '.join(wrong))
    print(f'{len(graph)} modules in {len(ROW_OF)} rooms: every arrow points downwards')
    if args.out:
        save_figure(draw(graph), args.out)


def import_graph(folder: Path) -> dict[str, set[str]]:
    """Module -> modules of the same package that its text imports, wherever in the text.

    Raises:
        MmavError: An import is relative.
    """
    files = {_name(path, folder.parent): path for path in sorted(folder.rglob('*.py'))}
    return {name: set(_imports(name, path, files)) - {name} for name, path in files.items()}


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def _imports(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise MmavError(f'{name}, line {node.lineno}: the import is relative; write the whole name')
            inside = (f'{node.module}.{alias.name}' for alias in node.names)
            modules = [each if each in files else str(node.module) for each in inside]
            yield from (module for module in modules if module in files)


def room_of(name: str, folder: Path = ROOT / LIBRARY) -> str:
    """The room of a module: its folder directly below the library's."""
    parts = name.split('.')
    return parts[1] if len(parts) > 1 and (folder / parts[1]).is_dir() else 'ground floor'


def packages_of(name: str) -> list[str]:
    """The packages that importing a module imports before it."""
    parts = name.split('.')
    return ['.'.join(parts[:length]) for length in range(1, len(parts))]


def arrows_up(graph: Graph) -> list[str]:
    """Imports of a room above, or beside, one line each."""
    rooms = {name: room_of(name) for name in graph}
    return [
        f'{name} imports {other}, which is not below it'
        for name, others in graph.items()
        for other in sorted(others)
        if rooms[name] != rooms[other] and ROW_OF[rooms[other]] >= ROW_OF[rooms[name]]
    ]


def circle(graph: Graph) -> str:
    """Modules that import each other in a circle; empty where there are none."""
    whole = {
        name: {*others, *(package for other in others for package in packages_of(other))} - {name, *packages_of(name)}
        for name, others in graph.items()
    }
    try:
        graphlib.TopologicalSorter(whole).prepare()
    except graphlib.CycleError as error:
        return f'a circle of imports: {" -> ".join(error.args[1])}'
    return ''


def reached(name: str, graph: Graph) -> set[str]:
    """All modules that importing one may import."""
    found: set[str] = set()
    left = [name]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += [*graph[module], *packages_of(module)]
    return found


def draw(graph: Graph) -> Figure:
    """A box for each room with the number of its modules; arrows that follow from others are left out."""
    rooms = {name: room_of(name) for name in graph}
    sizes = Counter(rooms.values())
    uses: dict[str, set[str]] = {room: set() for room in ROW_OF}
    for name, others in graph.items():
        uses[rooms[name]] |= {rooms[other] for other in others} - {rooms[name]}
    closed = {room: reached(room, uses) - {room} for room in uses}
    arrows = [
        (above, below)
        for above, others in uses.items()
        for below in others
        if not any(below in closed[between] for between in others - {below})
    ]
    figure = Figure(figsize=(9, 8))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(-0.6, len(ROWS) - 0.4))
    axes.axis('off')
    at = {
        room: (ASIDE.get(room, (k + 1) / (len(row) + 1)), y) for y, row in enumerate(ROWS) for k, room in enumerate(row)
    }
    for above, below in arrows:
        axes.annotate(
            '',
            xy=(at[below][0], at[below][1] + 0.27),
            xytext=(at[above][0], at[above][1] - 0.27),
            arrowprops=dict(
                arrowstyle='-|>',
                color='#4c72b0',
                linewidth=1.5,
                shrinkA=0,
                shrinkB=0,
            ),
        )
    for room, (x, y) in at.items():
        label = f'{room if room == "ground floor" else f"mmav.{room}"}\n{_counted(sizes[room])}'
        style = dict(boxstyle='round,pad=0.5', facecolor='white', edgecolor='#444444')
        axes.text(x, y, label, ha='center', va='center', fontsize=11, bbox=style)
    return figure


def _counted(number: int) -> str:
    return f'{number} module{"s" * (number != 1)}'


if __name__ == '__main__':
    run_tool(main)
