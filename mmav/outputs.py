"""Files that a command writes for its user: checked before the work, and never in the place of other files.

A program may replace a file if the record of its folder, :data:`RECORD`, says that the program wrote it as it is now; a
file that was changed since belongs to the user. So a command can be repeated, and all other files are safe.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmav.errors import OutputError, did_you_mean
from mmav.files import atomic_write, digest_of, is_stream, written_whole

RECORD = '.mmav_written'
# a kind of file: a copy with something drawn on its frames
ANNOTATED = 'annotated'
PROGRAM = 'mmav'  # for users of the package in their own programs
_program = PROGRAM


class Entry(NamedTuple):
    """A line of a folder's record: a file, who wrote it, its digest, and size and time to save computing the digest."""

    name: str
    by: str
    size: int
    time: int
    digest: str
    kind: str = ''


@contextmanager
def program(name: str) -> Iterator[None]:
    """Sets the program that files written in the body belong to; a command has the name of its file."""
    global _program
    before, _program = _program, name
    try:
        yield
    finally:
        _program = before


def check_output(
    path: str | os.PathLike[str],
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    suffixes: Sequence[str] = (),
    remedy: str = 'give another name',
) -> None:
    """Checks, before the work, that its result can be written; leaves no files.

    Args:
        path: The file that will be written.
        inputs: Files that the command reads, which it must not replace.
        suffixes: Suffixes that its name may have.
        remedy: What to do if it cannot be written.

    Raises:
        OutputError: It is a folder, an input or a file that this program did not write, or it cannot be written.
    """
    text = os.fspath(path)
    if suffixes and not text.lower().endswith(tuple(suffixes)):
        hint = did_you_mean(Path(text).suffix.lower(), suffixes)
        raise OutputError(f"'{text}': the name has to end in {' or '.join(suffixes)}{hint}")
    if os.path.isdir(text) or text.endswith(('/', os.sep)):
        raise OutputError(f"cannot write '{text}': it is a folder; give the name of a file")
    for name in inputs:
        if same_file(text, name):
            raise OutputError(f"'{text}' is read by this command and would be lost: give the result another name")
    check_own(text, remedy=remedy)
    check_place(text, remedy=remedy)


def check_folder(
    folder: str | os.PathLike[str],
    names: Iterable[str] = (),
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    remedy: str | None = None,
) -> None:
    """Checks, before the work, that files can be written to a folder; leaves no files.

    Args:
        folder: The folder; may be missing.
        names: The files that will be written to it, as far as they are known.
        inputs: Files that the command reads.
        remedy: What to do if the folder cannot be written to; defaults to giving another one.

    Raises:
        OutputError: See :func:`check_output`.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise OutputError(f"'{folder}' is a file: {remedy or 'give a folder'}")
    remedy = remedy or 'give another folder'
    check_place(os.path.join(folder, 'file'), shown=folder, remedy=remedy)
    inputs = list(inputs)
    for name in names:
        check_output(os.path.join(folder, name), inputs=inputs, remedy=remedy)


def check_place(
    path: str | os.PathLike[str], *, shown: str | os.PathLike[str] | None = None, remedy: str = 'give another name'
) -> None:
    """Checks that a file can be written: writes another one beside it, and removes it with the folders made for it.

    Args:
        path: The file.
        shown: The path that messages name; defaults to the file's.
        remedy: What to do if it cannot be written.

    Raises:
        OutputError: It cannot be written.
    """
    made: list[Path] = []
    try:
        if is_stream(path):
            return
        with suppress(FileNotFoundError):
            os.lstat(path)  # names that are too long
        real = Path(os.path.realpath(path))
        for folder in reversed(real.parents):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                made.append(folder)
        part = real.with_name(f'.probe.{os.getpid()}.tmp')
        with open(part, 'wb') as file:
            file.write(b'x')
        part.unlink()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(
            f"cannot write '{os.fspath(path if shown is None else shown)}': {reason}; {remedy}"
        ) from error
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def is_first() -> bool:
    """Whether this process is the one that writes, before the processes of a launcher have met."""
    return all(os.environ.get(name, '0') == '0' for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))


def same_file(one: str | os.PathLike[str], two: str | os.PathLike[str]) -> bool:
    """Whether two names are those of one existing file, also through links or in a file system that ignores case."""
    try:
        return os.path.samefile(one, two)
    except (OSError, ValueError):
        return False


def folded(path: str | os.PathLike[str]) -> str:
    """A name as file systems compare it that ignore case and the composition of letters."""
    return unicodedata.normalize('NFC', os.path.abspath(path)).casefold()


def check_own(path: str | os.PathLike[str], *, remedy: str = 'give another name') -> None:
    """Checks that writing a file destroys nothing.

    Raises:
        OutputError: It exists, and this program did not write it or it was changed since.
    """
    check_all_own([path], remedy=remedy)


def check_all_own(paths: Iterable[str | os.PathLike[str]], *, remedy: str = 'give another name') -> None:
    """:func:`check_own` of many files; each folder's record is read once.

    Raises:
        OutputError: See :func:`check_own`.
    """
    records: dict[Path, list[Entry]] = {}
    for path in paths:
        real = Path(os.path.realpath(path))
        # nothing is lost with an empty file, such as mktemp makes
        if not os.path.isfile(real) or not real.stat().st_size:
            continue
        if real.parent not in records:
            records[real.parent] = read_record(real.parent)
        known = [entry for entry in records[real.parent] if entry.name == real.name]
        writers = [entry.by for entry in known if _unchanged(real, entry)]
        # a user's own program means what it writes
        if _program in writers or (writers and _program == PROGRAM):
            continue
        if writers:
            why = f'was written by {writers[-1]}'
        else:
            why = 'was changed since it was written' if known else f'was not written by {_program}'
        raise OutputError(f"'{os.fspath(path)}' is there and {why}: {remedy}, or move the file away")


def is_edited_copy(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> bool:
    """Whether a file was edited since this program wrote it as a copy of ``source``, which is still the same."""
    real = Path(os.path.realpath(path))
    if not real.is_file():
        return False
    known = [entry for entry in read_record(real.parent) if entry.name == real.name and entry.by == _program]
    if not known or any(_unchanged(real, entry) for entry in known):
        return False
    return os.path.getsize(source) == known[-1].size and _digest(Path(source)) == known[-1].digest


def names_of_kind(folder: str | os.PathLike[str], kind: str) -> set[str]:
    """The files of a folder that were written as a kind, see :func:`writing`, and not changed since."""
    found = [entry for entry in read_record(Path(folder)) if entry.kind == kind]
    return {entry.name for entry in found if _unchanged(Path(folder, entry.name), entry)}


def read_record(folder: Path) -> list[Entry]:
    """The record of a folder, without torn lines."""
    entries = []
    with suppress(OSError):
        for line in (folder / RECORD).read_bytes().splitlines():
            with suppress(ValueError, TypeError):
                entries.append(Entry(*json.loads(line)))
    return entries


@contextmanager
def writing(path: str | os.PathLike[str], *, kind: str = '') -> Iterator[Path]:
    """Yields a temporary file to write to, which replaces the file if the body succeeds, and adds it to the record.

    Args:
        path: The file.
        kind: Its kind, if other commands need to know.

    Raises:
        OutputError: It exists and this program did not write it.
        OSError: It cannot be written.
    """
    check_own(path)
    with written_whole(path, finish=partial(_note, Path(os.path.realpath(path)), kind)) as part:
        yield part


def move_output(part: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Moves a file that was written elsewhere on the same disk to its place, and adds it to the record.

    Raises:
        OutputError: Its place has a file that this program did not write.
        OSError: It cannot be moved.
    """
    check_own(path)
    real = Path(os.path.realpath(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    with open(part, 'rb+') as file:
        os.fsync(file.fileno())
    _note(real, '', Path(part))
    os.replace(part, real)


def adopt(path: str | os.PathLike[str]) -> None:
    """Adds a file to the record that this program is known to have written, by other evidence."""
    _note(Path(os.path.realpath(path)), '', Path(path))


def write_output(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a result, whole or not at all; text in UTF-8.

    Raises:
        OutputError: It exists and this program did not write it.
        CheckpointError: It cannot be written.
    """
    content = data.encode('utf-8', 'backslashreplace') if isinstance(data, str) else data
    check_own(path)
    atomic_write(path, content, finish=partial(_note, Path(os.path.realpath(path)), ''))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file, see :func:`write_output`. Numbers that are not finite, which JSON does not have, are null."""
    write_output(path, json.dumps(_finite(content), indent=2) + '\n')


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _note(path: Path, kind: str, part: Path) -> None:
    """Adds a file to the record of its folder, just before it is moved to its place.

    It is a single append, which processes can do at the same time. It comes first, so that a kill leaves no unknown
    file; if the record cannot be written, the next run will refuse to replace the file.
    """
    status = part.stat()
    entry = Entry(path.name, _program, status.st_size, status.st_mtime_ns, _digest(part), kind)
    if path.exists() and any(known._replace(time=entry.time) == entry for known in read_record(path.parent)):
        return  # the same again
    with suppress(OSError), open(path.parent / RECORD, 'ab') as file:
        file.write(json.dumps(entry).encode() + b'\n')


def _unchanged(path: Path, entry: Entry) -> bool:
    try:
        status = path.stat()
        if status.st_size != entry.size:
            return False
        return status.st_mtime_ns == entry.time or _digest(path) == entry.digest
    except OSError:
        return False


def _digest(path: Path) -> str:
    return digest_of(path, partial(hashlib.blake2b, digest_size=16))
