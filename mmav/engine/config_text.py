"""A config is formatted once, not anew for each log and checkpoint.

MMEngine writes the text of the config into the log, the work dir, the visualizer and every checkpoint, and has yapf
format it each time, which takes longer than the rest of a start. Importing this module makes it remember.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache

from mmengine.config import config as mmengine_config
from yapf.yapflib.yapf_api import FormatCode


@lru_cache(maxsize=8)
def _format(text: str, style: tuple[tuple[str, Hashable], ...]) -> tuple[str, bool]:
    return FormatCode(text, style_config=dict(style))


def format_code(text: str, *, style_config: Mapping[str, Hashable]) -> tuple[str, bool]:
    """Formats Python code as yapf's ``FormatCode`` does; the same text again costs nothing.

    Args:
        text: Python code.
        style_config: Names and values of yapf's style.

    Returns:
        The formatted code, and whether it differs.
    """
    return _format(text, tuple(sorted(style_config.items())))


# tests/engine/test_config_text.py guards that Config calls it
mmengine_config.FormatCode = format_code
