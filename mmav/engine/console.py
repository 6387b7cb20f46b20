"""What the console shows: escapes for characters that its encoding lacks, and part of MMEngine's log."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# How MMEngine's messages begin that only repeat the config.
_NOISE = (
    'paramwise_options',  # one line a parameter
    'Distributed training is not used',
    'Exp name',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Enabling the "activation_checkpointing"',
)
# How MMEngine's warnings about frozen parameters end, one a parameter: a line a backbone says it.
_FROZEN = 'is skipped since its requires_grad=False'
# the least level that the console shows
_least = logging.NOTSET


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keeps all but warnings of MMEngine's log off the console in the body; the log file keeps it all."""
    from mmengine.logging import MMLogger  # every tool imports this module

    global _least
    before, _least = _least, logging.WARNING
    try:
        if not MMLogger.check_instance_created('mmengine'):
            # what is logged before a run has begun goes to this one
            shorten_console(MMLogger.get_instance('mmengine', log_level='INFO'))
        yield
    finally:
        _least = before


def tolerant_console() -> None:
    """Makes the console escape characters that its encoding lacks, such as a class name in another script."""
    for stream in (sys.stdout, sys.stderr):
        # the second comes with a C locale, which has only ASCII, too
        if getattr(stream, 'errors', None) in ('strict', 'surrogateescape') and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def console_has(text: str) -> bool:
    """Whether the console's encoding has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, 'encoding', None) or 'utf-8')
    except UnicodeEncodeError:
        return False
    return True


def shorten_console(logger: logging.Logger) -> None:
    """Keeps MMEngine's listings (environment, config, hooks) and notes off the console; the log file keeps them."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            # MMEngine uses the system's encoding, which may lack characters of a file name
            handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
        if type(handler) is logging.StreamHandler:
            handler.addFilter(_is_short)


def _is_short(record: logging.LogRecord) -> bool:
    if record.levelno < _least:
        return False
    message = record.getMessage()
    if message.endswith(_FROZEN):
        return False
    listing = record.levelno < logging.WARNING and '\n' in message.strip()
    return not listing and not message.startswith(_NOISE)
