"""Files of a dataset, which appear whole or not at all."""

import os
from pathlib import Path


def write_list(path: Path, content: bytes) -> None:
    """Writes a list. A dataset always has the same lists, so a different one was changed by its user.

    Raises:
        FileExistsError: There is another list of that name.
    """
    if not path.exists():
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise FileExistsError(
            f'{path} was changed since it was written, and the dataset is not complete: move the file away, then the '
            'same command completes it'
        )


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name first."""
    part = path.with_name(path.name + '.part')
    part.write_bytes(content)
    os.replace(part, path)
