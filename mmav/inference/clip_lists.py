"""Which clips a user's list, folder or bucket names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmav.datasets.media.remote_file import WEB, file_system, is_address
from mmav.errors import ManifestError, MediaError, did_you_mean
from mmav.files import read_text
from mmav.inference.sources import list_sources
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES

LISTS = ('.txt', '.lst', '.csv', '.tsv')
COLUMN = 'path'


def list_clips(inputs: Sequence[str], *, column: str = COLUMN, root: str = '') -> list[str]:
    """Lists clips, each once, in the order in which they are named.

    Args:
        inputs: Lists (a path or address a line, or a table with a column of them), media files, folders, addresses of
            clips, and addresses that end in ``/`` or name a folder of an fsspec file system.
        column: The column of a table.
        root: Folder of the relative paths in lists; empty for the working directory.

    Raises:
        ManifestError: A list is missing or wrong, or there are no clips.
        MmavError: A folder or bucket has none, or cannot be listed.
    """
    found = [clip for each in inputs for clip in _clips(each, column, root)]
    if not found:
        raise ManifestError(f'{", ".join(inputs)}: no clips')
    return list(dict.fromkeys(found))


def _clips(text: str, column: str, root: str) -> Iterator[str]:
    if is_address(text):
        yield from _bucket(text)
    elif text.lower().endswith(LISTS):
        yield from _list(text, column, root)
    else:
        yield from (str(source.path) for source in list_sources(text))


def _list(path: str, column: str, root: str) -> Iterator[str]:
    content = read_text(path, 'list of clips', remedy='give a list, a folder, or an address')
    if path.lower().endswith(('.csv', '.tsv')):
        rows = csv.DictReader(content.splitlines(), delimiter='\t' if path.lower().endswith('.tsv') else ',')
        names = [name for name in rows.fieldnames or () if name]
        if column not in names:
            hint = did_you_mean(column, names)
            raise ManifestError(f'{path}: has no column {column!r}, only {", ".join(names) or "none"}{hint}')
        lines = [row[column] or '' for row in rows]
    else:
        lines = content.splitlines()
    for line in (each.strip() for each in lines):
        if line and not line.startswith('#'):
            yield line if is_address(line) else os.path.join(root, os.path.expanduser(line))


def _bucket(address: str) -> Iterator[str]:
    if address.startswith(WEB):
        if address.endswith('/'):
            raise MediaError(address, 'a web server lists no files: give a list of the addresses')
        yield address
        return
    system, path = file_system(address)
    try:
        if not address.endswith('/') and not system.isdir(path):
            yield address
            return
        names = system.find(path)
    except Exception as error:  # each file system has errors of its own
        raise MediaError(
            address, f'cannot be listed: {type(error).__name__}: {" ".join(str(error).split())}'
        ) from error
    kept = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES | AUDIO_SUFFIXES)
    if not kept:
        raise MediaError(address, f'holds no media files among its {len(names)}')
    yield from (system.unstrip_protocol(name) for name in kept)
