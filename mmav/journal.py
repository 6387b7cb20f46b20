"""A journal of a long run, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmav.errors import MmavError, OutputError
from mmav.files import written_whole


def read_journal(path: str | Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Reads a journal, without lines that a kill has torn.

    Returns:
        The settings of the run that wrote it, None if there is no journal; and its results.
    """
    lines: list[Any] = []
    with suppress(OSError):
        for line in Path(path).read_text(encoding='utf-8', errors='replace').splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    if not lines or not isinstance(lines[0], dict) or 'settings' not in lines[0]:
        return None, []
    return lines[0]['settings'], lines[1:]


class Journal:
    """Results of a long run, one JSON object per line, written as they arrive.

    Args:
        path: The file. Its first line holds the settings.
        settings: What the results depend on; a journal with other settings is started anew.

    Attributes:
        entries: The results of earlier runs.

    Raises:
        MmavError: The file is not a journal, or cannot be written.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        head = json.dumps(dict(settings=dict(settings)))
        before, entries = read_journal(self.path)
        if before is None and self.path.is_file() and self.path.stat().st_size:
            raise OutputError(f"'{self.path}' is not the journal of an earlier run: give another folder to write to")
        self.entries = entries if before == json.loads(head)['settings'] else []
        try:
            # anew, as the last line may be torn
            with written_whole(self.path) as part:
                lines = [head, *map(json.dumps, self.entries)]
                part.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
            self._file = self.path.open('a', encoding='utf-8')
        except OSError as error:
            reason = 'its folder is a file' if self.path.parent.is_file() else error.strerror or str(error)
            raise MmavError(f"cannot write '{self.path}': {reason}; give another folder to write to") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Appends a result."""
        self._file.write(json.dumps(entry) + '\n')
        self._file.flush()
