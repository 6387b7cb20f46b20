"""How every command-line tool runs: on a user's mistake, a full disk or a dead worker it exits with one line."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mmav.engine.console import tolerant_console
from mmav.errors import ConfigError, FeatureError, MmavError, TrainingStopped, one_line
from mmav.outputs import program

# errors of the disk or of permissions, which a user can fix
_OF_THE_DISK = {
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'ENOTDIR', 'EISDIR', 'EEXIST')
    if hasattr(errno, name)
}
# the most clips that an error names
CLIPS_NAMED = 4


def run_tool(main: Callable[[], None]) -> None:
    """Runs a tool's main function.

    A user's mistake or a dead data loader worker ends it with one line on stderr and exit status 2. Training that was
    asked to stop and has saved its position exits with status 0.
    """
    tolerant_console()
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        # if this process itself crashes, for example while it reads a file without workers, print a traceback at least
        faulthandler.enable(sys.__stderr__)
    try:
        with program(Path(getattr(sys.modules['__main__'], '__file__', None) or sys.argv[0]).name):
            _watched(main)
    except TrainingStopped as stopped:
        if os.environ.get('RANK', '0') == '0':
            print(stopped, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # the reader of the output, such as head, has closed it; Python's flush at exit would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MmavError, RuntimeError, OSError, ValueError, ImportError) as error:
        text = _in_a_line(error)
        if text is None:
            raise
        rank = os.environ.get('RANK', '0')
        print(f'error{"" if rank == "0" else f" (process {rank})"}: {text}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _watched(main: Callable[[], None]) -> None:
    """Calls a tool's main function; turns a broken connection to a dead worker into an error that says so."""
    try:
        main()
    except BaseException as error:
        if multiprocessing.active_children():
            # torch's handler raises for every worker that exits, even while the first one is being reported
            with suppress(ValueError, AttributeError):
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if isinstance(error, (EOFError, OSError)):
            from mmav.datasets.reading import clips_of_lost_workers

            if clips := clips_of_lost_workers(error):
                text = f'the connection to it broke ({type(error).__name__})'
                raise MmavError(_workers_failed('a data worker died', clips, text)) from error
        raise


def _in_a_line(error: Exception) -> str | None:
    """The message for an error that a user can fix; None for others, which keep their traceback."""
    if isinstance(error, (ConfigError, FeatureError)):
        return str(error).replace('\n', '\n  ')  # there may be several problems, one line each
    if isinstance(error, MmavError):
        return one_line(error)
    if isinstance(error, (ValueError, ImportError)) and _is_refusal(error):
        return one_line(error)
    if isinstance(error, RuntimeError):
        return _of_workers(str(error))
    if isinstance(error, FileNotFoundError) and 'No usable temporary directory' in str(error):  # Python's tempfile
        return f'{one_line(error)}; set TMPDIR to a folder that can be written to'
    return one_line(error) if isinstance(error, OSError) and error.errno in _OF_THE_DISK else None


def _is_refusal(error: Exception) -> bool:
    """Whether one of our types refused a value that a config gives it."""
    modules = [frame.f_globals.get('__name__', '') for frame, _ in traceback.walk_tb(error.__traceback__)]
    return modules[-1].startswith('mmav.') and 'mmengine.registry.build_functions' in modules


def _of_workers(message: str) -> str | None:
    """The message for workers that died or hang; torch reports them only in the message of a RuntimeError."""
    from mmav.datasets.reading import TIMED_OUT, clips_of_workers

    clips = clips_of_workers(message)
    if clips is not None:
        what = 'no data worker answered in time' if TIMED_OUT.search(message) else 'a data worker died'
        return _workers_failed(what, clips, ' '.join(message.split()).rstrip('.'))
    # raised in a worker, when shared memory ran out
    if 'in DataLoader worker process' in message and 'shared memory' in message:
        text = one_line(RuntimeError(message))
        return f'a data worker died: {text}; a larger /dev/shm or fewer num_workers help'
    return None


def _workers_failed(what: str, clips: Sequence[str], text: str) -> str:
    more = f' and {len(clips) - CLIPS_NAMED} more' if len(clips) > CLIPS_NAMED else ''
    reading = f', while it read {" and ".join(clips[:CLIPS_NAMED])}{more}' if clips else ''
    remedy = 'take such a clip out of the manifest (`mmav check` finds those that cannot be decoded); '
    return (
        f'{what}{reading}: {text}; {remedy * bool(clips)}where memory ran out, fewer num_workers help, and where '
        'shared memory did, a larger /dev/shm'
    )
