"""Where the bytes of shards come from: files of this machine, an address that fsspec opens, or a command's output."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

from mmav.errors import ConfigError, one_line

PIPE = 'pipe:'
# where a command names the shard
SLOT = '{}'
# of shards, which are hundreds of megabytes each
_OPEN_FILES = 64
# Seconds before another try, after errors of a network.
PAUSES = (0.2, 1.0, 3.0)

Result = TypeVar('Result')


def _read_at(file: int, size: int, begin: int) -> bytes:
    if hasattr(os, 'pread'):
        return os.pread(file, size, begin)
    os.lseek(file, begin, os.SEEK_SET)  # Windows
    return os.read(file, size)


class ShardFiles:
    """Shards in a folder of this machine.

    Args:
        folder: The folder.
    """

    # threads that read ahead gain nothing where the system does so itself
    is_remote = False
    is_forward = False

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self._open: OrderedDict[str, int] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardFiles, (self.folder,)

    def __del__(self) -> None:
        for file in vars(self).get('_open', {}).values():
            with suppress(OSError):
                os.close(file)

    def where(self, shard: str) -> str:
        """The path of a shard."""
        return os.path.join(self.folder, shard)

    def read(self, shard: str, begin: int, size: int) -> bytes:
        """Reads bytes of a shard, fewer at its end.

        Raises:
            OSError: There is no such shard, or it cannot be read.
        """
        file = self._open.get(shard)
        if file is None:
            file = self._open[shard] = os.open(self.where(shard), os.O_RDONLY | getattr(os, 'O_BINARY', 0))
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(shard)
        data = _read_at(file, size, begin)
        while len(data) < size and (more := _read_at(file, size - len(data), begin + len(data))):
            data += more
        return data

    def size(self, shard: str) -> int:
        """Bytes of a shard.

        Raises:
            OSError: There is no such shard.
        """
        return os.path.getsize(self.where(shard))

    def names(self) -> set[str]:
        """The shards that are there."""
        try:
            return set(os.listdir(self.folder))
        except OSError:
            return set()

    def open(self, shard: str) -> BinaryIO:
        """Opens a shard, to be read forward.

        Raises:
            OSError: It cannot be opened.
        """
        return open(self.where(shard), 'rb')


class ShardAddress:
    """Shards at an address that fsspec opens, such as ``s3://bucket/folder``; a failing network is tried again.

    Args:
        address: The address of their folder.

    Raises:
        ConfigError: fsspec does not know the kind of address, or the package for it is missing.
    """

    is_remote = True
    is_forward = False

    def __init__(self, address: str) -> None:
        self.address = address.rstrip('/')
        self._owner = 0
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardAddress, (self.address,)

    def where(self, shard: str) -> str:
        """The address of a shard."""
        return f'{self.address}/{shard}'

    def read(self, shard: str, begin: int, size: int) -> bytes:
        """As :meth:`ShardFiles.read`."""
        path = f'{self._path}/{shard}'
        return self._tried(lambda: bytes(self._system().cat_file(path, start=begin, end=begin + size)))

    def size(self, shard: str) -> int:
        """As :meth:`ShardFiles.size`."""
        return int(self._tried(lambda: self._system().size(f'{self._path}/{shard}')))

    def names(self) -> set[str]:
        """As :meth:`ShardFiles.names`."""
        found: Sequence[str] = self._tried(lambda: self._system().ls(self._path, detail=False))
        return {name.rstrip('/').rsplit('/', 1)[-1] for name in found}

    def open(self, shard: str) -> BinaryIO:
        """As :meth:`ShardFiles.open`."""
        file: BinaryIO = self._tried(lambda: self._system().open(f'{self._path}/{shard}', 'rb'))
        return file

    def fetch(self, shard: str) -> bytes:
        """All bytes of a file at the address."""
        return self._tried(lambda: bytes(self._system().cat_file(f'{self._path}/{shard}')))

    def version(self, shard: str) -> str:
        """What changes when a file at the address is replaced."""
        return str(self._tried(lambda: self._system().checksum(f'{self._path}/{shard}')))

    def _connect(self) -> None:
        import fsspec

        scheme = self.address.split('://')[0]
        try:
            self._files, self._path = fsspec.url_to_fs(self.address)
        except ImportError as error:
            raise ConfigError(f'{self.address}: {one_line(error)}') from error
        except ValueError as error:
            raise ConfigError(
                f'{self.address}: {scheme}:// is no kind of address that fsspec opens ({one_line(error)})'
            ) from error
        self._owner = os.getpid()

    def _system(self) -> Any:
        if self._owner != os.getpid():  # its threads and connections do not survive a fork
            self._connect()
        return self._files

    def _tried(self, work: Callable[[], Result], pauses: Sequence[float] | None = None) -> Result:
        pauses = PAUSES if pauses is None else pauses
        try:
            return work()
        except (FileNotFoundError, PermissionError, NotImplementedError):
            raise
        except Exception as error:  # each kind of store has errors of its own
            if not pauses and isinstance(error, OSError):
                raise
            if not pauses:
                raise OSError(None, f'{type(error).__name__}: {one_line(error)}') from error
        time.sleep(pauses[0])
        return self._tried(work, pauses[1:])


class ShardPipe:
    """Shards that a command prints, such as ``pipe:curl -s https://host/{}``; they are read forward only.

    Args:
        command: The command, with ``{}`` for the name of the shard, which is quoted; run by the shell.

    Raises:
        ConfigError: It does not say where the name of the shard goes.
    """

    is_remote = True
    is_forward = True

    def __init__(self, command: str) -> None:
        self.command = command.removeprefix(PIPE).strip()
        if SLOT not in self.command:
            raise ConfigError(
                f"'{command}': write {SLOT} where the name of the shard goes, as in 'pipe:cat shards/{{}}'"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardPipe, (self.command,)

    def where(self, shard: str) -> str:
        """The command for a shard."""
        return f'{PIPE}{self.command.replace(SLOT, shlex.quote(shard))}'

    def open(self, shard: str) -> BinaryIO:
        """As :meth:`ShardFiles.open`; an end before the command succeeds raises an OSError in reading."""
        command = self.command.replace(SLOT, shlex.quote(shard))
        process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        return io.BufferedReader(_Output(process, self.where(shard)), 1 << 20)


class _Output(io.RawIOBase):
    """What a command prints."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process, self._name = process, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        assert self._process.stdout is not None
        data = self._process.stdout.read(len(buffer))
        buffer[: len(data)] = data
        if not data and (status := self._process.wait()):
            raise OSError(None, f'{self._name} ended with status {status}')
        return len(data)

    def close(self) -> None:
        if not self.closed and self._process.stdout is not None:
            self._process.stdout.close()
            self._process.kill()
            self._process.wait()
        super().close()


Store = ShardFiles | ShardAddress | ShardPipe


def reason_of(error: Exception) -> str:
    """Why a shard cannot be read, in a line."""
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    return getattr(error, 'strerror', None) or one_line(error)


def is_address(place: str) -> bool:
    """Whether a place of shards is an address.

    >>> is_address('s3://bucket/shards'), is_address('data/shards'), is_address('pipe:cat {}')
    (True, False, False)
    """
    return '://' in place and not place.startswith(PIPE)


def open_store(place: str) -> Store:
    """Shards in a folder, at an address, or printed by a command.

    Raises:
        ConfigError: The address is of an unknown kind, or the command does not say where the shard's name goes.
    """
    if place.startswith(PIPE):
        return ShardPipe(place)
    return ShardAddress(place) if is_address(place) else ShardFiles(place)
