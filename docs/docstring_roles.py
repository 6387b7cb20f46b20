"""Turns what docstrings have of Sphinx's notation into Markdown, for the API reference of the site."""

from __future__ import annotations

import logging
import re
from typing import Any

from griffe import AliasResolutionError, CyclicAliasError, Extension, GriffeLoader, Module, Object

# MkDocs counts the warnings below its own name, and a strict build fails on them
LOG = logging.getLogger('mkdocs.plugins.docstring_roles')
ROLE = re.compile(r':(?:func|class|meth|mod|attr|data|exc):`(~?)([^`<>]+)`')


class Roles(Extension):
    """Links ``:func:`name``` and its like to what they name; one that names nothing of the package is a warning."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        todo: list[Object] = [pkg]
        while todo:
            item = todo.pop()
            if item.docstring:
                item.docstring.value = to_markdown(item.docstring.value, item, pkg)
            todo += [member for member in item.members.values() if not member.is_alias]


def to_markdown(text: str, item: Object, package: Module) -> str:
    """A docstring as Markdown.

    Args:
        text: The docstring.
        item: What it belongs to.
        package: The package, in which names are looked up.
    """

    def link(found: re.Match) -> str:
        name = found[2].removesuffix('()')
        shown = name.rpartition('.')[2] if found[1] else name
        path = find(name, item, package)
        outside = '.' in name and name.partition('.')[0] not in (package.name, *item.module.members)
        if path is None and not outside:
            LOG.warning(f'{item.path}: {found[0]} names nothing')
        return f'[`{shown}`][{path}]' if path and on_a_page(path, package) else f'`{shown}`'

    text = re.sub(r':math:`([^`]*)`|\.\. math:: (.*)', lambda found: f'`{found[1] or found[2]}`', text)
    text = ROLE.sub(link, text)
    text = re.sub(r'::$', ':', text, flags=re.MULTILINE)
    # a doctest in a text is a quotation to Markdown
    return re.sub(r'^( *)>>>[^\n]*(?:\n(?!\s*\n| *```)[^\n]*)*', fence, text, flags=re.MULTILINE)


def on_a_page(path: str, package: Module) -> bool:
    """Whether the reference shows what has this path: what is public and has a docstring."""
    parts = path.split('.')[1:]
    return not any(part.startswith('_') for part in parts) and (not parts or package[parts].has_docstring)


def fence(found: re.Match) -> str:
    """A doctest as a block of code."""
    return f'{found[1]}```pycon\n{found[0]}\n{found[1]}```'


def find(name: str, item: Object, package: Module) -> str | None:
    """The full path of a name, as seen from a docstring; None where the package has no such thing."""
    first, _, rest = name.partition('.')
    candidates = [name]
    scope: Object | None = item
    while scope is not None:
        candidates.append(f'{scope.path}.{name}')
        scope = scope.parent
    member = item.module.members.get(first)
    if member is not None and member.is_alias:
        candidates.append('.'.join(filter(None, (member.target_path, rest))))
    for candidate in candidates:
        path = candidate.removeprefix(f'{package.name}.')
        try:
            found = package if candidate == package.name else package[path]
            return found.canonical_path
        except (KeyError, AliasResolutionError, CyclicAliasError):
            continue
    return None
