"""Files of results that grow row by row and can be continued: JSON lines, and Parquet in parts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mmav.errors import ConfigError, OutputError
from mmav.files import remove_torn_files, written_whole
from mmav.outputs import check_place

SUFFIXES = ('.jsonl', '.parquet')
PART_ROWS = 1000
_PART = 'part-{:06d}.parquet'
# readers of Parquet leave out what begins with a line or a dot
_SETTINGS = '_settings.json'
Row = Mapping[str, Any]


class RowFile:
    """Rows with a ``path`` and an ``error``, which a later run goes on with.

    Beside the rows stands what they depend on (``NAME.settings.json``, or ``_settings.json`` in the folder of parts):
    rows of other settings are not mixed with them. One run writes at a time.

    Args:
        path: ``.jsonl`` for a file to which each row is appended, ``.parquet`` for a folder of parts, each of which is
            complete or not there.
        settings: What rows depend on, plain values.
        parts: Parts of the label, for the columns of Parquet.

    Raises:
        OutputError: There is a file that is not such a one, was begun with other settings or by a run that goes on, or
            it cannot be written.
        ConfigError: pyarrow is missing.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Mapping[str, Any], *, parts: Sequence[str] = ('label',)
    ) -> None:
        self.path, self.parts = Path(path), list(parts)
        check_place(path)
        self._note = self._note_of(self.path)
        if not self._note.is_file() and self.path.exists():
            raise OutputError(f"'{path}' was not begun by this command: give another name")
        self._settings = json.loads(json.dumps(dict(settings)))
        self._lock: IO[bytes] | None = None
        try:
            self._begin()
        except BaseException as error:
            if self._lock is not None:
                self._lock.close()
            if isinstance(error, OSError):
                raise OutputError(f"cannot write '{path}': {error.strerror or error}; give another name") from error
            raise

    def _begin(self) -> None:
        self._note.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(self._note, 'ab')  # noqa: SIM115 - until `close`
        if not _lock(self._lock):
            raise OutputError(f"'{self.path}' is being written by another run: wait for it, or give another name")
        try:
            before = json.loads(self._note.read_text(encoding='utf-8') or 'null')
        except ValueError:  # torn, before there were any rows
            before = None
        if before is None:
            if any(True for _ in self.rows()):
                raise OutputError(
                    f"'{self._note}' is damaged: what '{self.path}' depends on is unknown; give another name"
                )
            self._lock.truncate(0)
            self._lock.write(json.dumps(self._settings, indent=2).encode() + b'\n')
            self._lock.flush()
        elif before != self._settings:
            names = [name for name in {**before, **self._settings} if before.get(name) != self._settings.get(name)]
            told = ', '.join(f'{name} was {before.get(name)!r}, now {self._settings.get(name)!r}' for name in names)
            raise OutputError(f"'{self.path}' was begun with other settings: {told}; give another name for these")

    @staticmethod
    def _note_of(path: Path) -> Path:
        raise NotImplementedError

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_names(self, clips: Sequence[str]) -> None:
        """Refuses clips whose names such a file cannot hold, before any of them is classified.

        Raises:
            OutputError: There is one.
        """

    def rows(self) -> Iterator[dict[str, Any]]:
        """``path`` and ``error`` of the rows that are there."""
        raise NotImplementedError

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows."""
        raise NotImplementedError

    def remove(self, doomed: Callable[[Row], bool]) -> None:
        """Removes rows."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is left, and lets others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _Lines(RowFile):
    """One JSON object a line."""

    _file: IO[bytes] | None = None

    @staticmethod
    def _note_of(path: Path) -> Path:
        return path.with_name(f'{path.name}.settings.json')

    def _begin(self) -> None:
        super()._begin()
        with suppress(FileNotFoundError), open(self.path, 'rb+') as file:
            file.truncate(_whole(file))
        remove_torn_files(self.path.parent, of=self.path.name)
        self._file = open(self.path, 'ab')  # noqa: SIM115 - until `close`

    def rows(self) -> Iterator[dict[str, Any]]:
        with suppress(FileNotFoundError), open(self.path, 'rb') as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    yield dict(path=row['path'], error=row['error'])
                except (ValueError, KeyError, TypeError) as error:  # noqa: PERF203 - names the line
                    if not line.endswith(b'\n'):
                        return  # torn by a kill
                    raise OutputError(
                        f"'{self.path}', line {number}: is no row of this command; give another name"
                    ) from error

    def add(self, rows: Sequence[Row]) -> None:
        assert self._file is not None
        for row in rows:
            self._file.write(json.dumps(row).encode() + b'\n')
        self._file.flush()

    def remove(self, doomed: Callable[[Row], bool]) -> None:
        assert self._file is not None
        self._file.close()
        with written_whole(self.path) as part, open(self.path, 'rb') as old, open(part, 'wb') as new:
            new.writelines(line for line in old if not doomed(json.loads(line)))
        self._file = open(self.path, 'ab')  # noqa: SIM115 - until `close`

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


class _Parquet(RowFile):
    """A folder of parts."""

    @staticmethod
    def _note_of(path: Path) -> Path:
        return path / _SETTINGS

    def _begin(self) -> None:
        self._waiting: list[Row] = []
        super()._begin()
        remove_torn_files(self.path)

    def check_names(self, clips: Sequence[str]) -> None:
        for clip in clips:
            try:
                clip.encode()
            except UnicodeEncodeError as error:  # noqa: PERF203 - names the clip
                raise OutputError(
                    f'{clip!a}: Parquet has no place for names that are not UTF-8; rename the file, or give an '
                    'output that ends in .jsonl'
                ) from error

    def _parts(self) -> list[Path]:
        return sorted(self.path.glob('part-*.parquet'))

    def rows(self) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet

        for part in self._parts():
            try:
                yield from pyarrow.parquet.read_table(part, columns=['path', 'error']).to_pylist()
            except (pyarrow.ArrowInvalid, KeyError) as error:  # noqa: PERF203 - names the part
                raise OutputError(f"'{part}' is damaged: remove it, and its clips are read again") from error

    def add(self, rows: Sequence[Row]) -> None:
        self._waiting += rows
        while len(self._waiting) >= PART_ROWS:
            self._write(self._waiting[:PART_ROWS])
            self._waiting = self._waiting[PART_ROWS:]

    def remove(self, doomed: Callable[[Row], bool]) -> None:
        import pyarrow.parquet

        for part in self._parts():
            rows = pyarrow.parquet.read_table(part).to_pylist()
            kept = [row for row in rows if not doomed(row)]
            if not kept:
                part.unlink()
            elif len(kept) < len(rows):
                self._write(kept, part)

    def close(self) -> None:
        if self._lock is not None and self._waiting:
            self._write(self._waiting)
            self._waiting = []
        super().close()

    def _write(self, rows: Sequence[Row], part: Path | None = None) -> None:
        import pyarrow
        import pyarrow.parquet

        if part is None:
            parts = self._parts()
            part = self.path / _PART.format(int(parts[-1].stem[5:]) + 1 if parts else 0)
        table = pyarrow.Table.from_pylist([dict(row) for row in rows], schema=schema_of(self.parts))
        with written_whole(part) as torn:
            pyarrow.parquet.write_table(table, torn)


def open_rows(
    path: str | os.PathLike[str], settings: Mapping[str, Any], *, parts: Sequence[str] = ('label',)
) -> RowFile:
    """Opens a file of rows, of the kind that its name asks for, see :class:`RowFile`."""
    check_row_file(path)
    kind = _Parquet if os.fspath(path).lower().endswith('.parquet') else _Lines
    return kind(path, settings, parts=parts)


def check_row_file(path: str | os.PathLike[str]) -> None:
    """Refuses a name from which the kind of file cannot be told, and Parquet without pyarrow.

    Raises:
        OutputError: It has another suffix.
        ConfigError: pyarrow is missing.
    """
    if not os.fspath(path).lower().endswith(SUFFIXES):
        raise OutputError(f"'{os.fspath(path)}': the name has to end in {' or '.join(SUFFIXES)}")
    if os.fspath(path).lower().endswith('.parquet'):
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                'Parquet needs pyarrow: pip install -r requirements/optional.txt, or give a name that ends in .jsonl'
            ) from error


def schema_of(parts: Sequence[str]) -> Any:
    """The columns of Parquet for results of :class:`mmav.apis.AVInferencer`, as a ``pyarrow.Schema``."""
    import pyarrow as pa

    def labels(index: Any) -> Any:
        return pa.list_(pa.struct([('label', pa.string()), ('index', index), ('score', pa.float64())]))

    one, text = labels(pa.int64()), pa.string()
    best = one if len(parts) == 1 else labels(pa.list_(pa.int64()))
    said = [('predictions', best), ('labels', one), *((part, one) for part in parts if len(parts) > 1)]
    span = [('start', pa.float64()), ('end', pa.float64())]
    return pa.schema(
        [
            ('path', text),
            ('error', text),
            ('duration', pa.float64()),
            *((name, pa.list_(text)) for name in ('present', 'missing', 'withheld')),
            *said,
            ('windows', pa.list_(pa.struct([*span, *said]))),
            ('skipped', pa.list_(pa.struct([*span, ('reason', text)]))),
            ('attempts', pa.int64()),
        ]
    )


def _whole(file: IO[bytes]) -> int:
    """Bytes of a file up to the end of its last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 2**16)
        file.seek(start)
        found = file.read(end - start).rfind(b'\n')
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _lock(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system cannot lock
        return True
    return True
