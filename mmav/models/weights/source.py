"""Resolves what a config calls public weights, a name, a URL or a path, to a file on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mmav.download import cache_folder, cached_name, fetch
from mmav.errors import CheckpointError, did_you_mean
from mmav.models.weights.table import PUBLIC_WEIGHTS, PublicCheckpoint, find_row
from mmav.weight_files import why_no_weights

_SCHEME = re.compile(r'^([a-zA-Z][a-zA-Z0-9+.-]*)://')
# endings of files of weights; anything else without a folder is a name
_SUFFIXES = ('.pth', '.pyth', '.pt', '.bin', '.ckpt', '.safetensors')


@dataclass(frozen=True)
class Source:
    """Where weights are.

    Attributes:
        given: What the config says.
        path: The file, which may not exist yet.
        address: Its URL; empty for a path.
        row: Its row of the table, if it is published.
    """

    given: str
    path: Path
    address: str = ''
    row: PublicCheckpoint | None = None

    def __str__(self) -> str:
        known = f' ({", ".join(self.row.trained_on)})' if self.row else ''
        return f"'{self.given}'{known}"

    def fetch(self) -> Path:
        """The file, downloaded if it is missing.

        Raises:
            CheckpointError: There is no such file, or it holds no weights; see :func:`mmav.download.fetch`.
        """
        if self.address:
            digits = self.row.sha256 if self.row else ''
            fetch(self.address, self.path, sha256=digits, name=self.given)
        elif not os.path.isfile(self.path):
            raise CheckpointError(
                f"no checkpoint '{self.given}': give the path of a file, an address, or a name that "
                '`mmav download --list` shows'
            )
        self._require_weights()
        return self.path

    def _require_weights(self) -> None:
        """Checks the content of the file, which another program may have written, before any data is read."""
        try:
            what = why_no_weights(self.path)
        except OSError as error:
            raise CheckpointError(f"cannot read '{self.path}': {error.strerror or error}") from error
        if what:
            anew = 'remove it to download it again' if self.address else 'give the file itself'
            raise CheckpointError(f"'{self.path}' is {what}, not weights: {anew}")


def locate(checkpoint: str) -> Source:
    """Resolves a name, URL or path; downloads nothing and reads no file.

    Args:
        checkpoint: A name of :data:`~mmav.models.weights.table.PUBLIC_WEIGHTS`, an address (http, https, file) or a
            path. What has no folder and no ending of a checkpoint is a name.

    Raises:
        CheckpointError: No such name, with the nearest one and all of them; or another kind of address.
    """
    if not isinstance(checkpoint, str) or not checkpoint.strip():
        raise CheckpointError(f'give a name, an address or a path of weights, got {checkpoint!r}')
    row = find_row(checkpoint)
    scheme = _SCHEME.match(checkpoint)
    if row is not None and checkpoint in (row.name, row.address):
        return Source(checkpoint, cache_folder() / row.file, row.address, row)
    if scheme and scheme[1].lower() in ('http', 'https'):
        return Source(checkpoint, cache_folder() / cached_name(checkpoint), checkpoint, row)
    if scheme and scheme[1].lower() == 'file':
        parts = urlsplit(checkpoint)
        if parts.netloc not in ('', 'localhost'):
            raise CheckpointError(
                f"'{checkpoint}': an address of a file has three slashes and the whole path, as in file:///data/a.pth; "
                'or give the path alone'
            )
        return Source(checkpoint, Path(url2pathname(parts.path)), row=row)
    if scheme:
        raise CheckpointError(f"'{checkpoint}': only http, https and file can be read; download it and give its path")
    if not _is_path(checkpoint):
        names = ', '.join(PUBLIC_WEIGHTS)
        hint = did_you_mean(checkpoint.lower(), PUBLIC_WEIGHTS)
        raise CheckpointError(f"no public weights are called '{checkpoint}'{hint or ''} ({names})")
    return Source(checkpoint, Path(checkpoint).expanduser(), row=row)


def _is_path(checkpoint: str) -> bool:
    if '/' in checkpoint or '\\' in checkpoint or checkpoint.lower().endswith(_SUFFIXES):
        return True
    return os.path.isfile(checkpoint)  # False for what no file can be called, where pathlib raises
