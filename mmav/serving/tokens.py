"""The token that clients of an endpoint send."""

from __future__ import annotations

import os
from pathlib import Path

from mmav.errors import ConfigError

TOKEN_VARIABLE = 'MMAV_SERVE_TOKEN'
SHORTEST = 16


def find_token(file: str | None) -> str | None:
    """The token that clients must send.

    Args:
        file: A file that holds it; None for the environment's ``MMAV_SERVE_TOKEN``.

    Returns:
        None if there is none.

    Raises:
        ConfigError: It cannot be read, or is no token.
    """
    where = TOKEN_VARIABLE if file is None else f"'{file}'"
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE)
        if text is None:
            return None
    else:
        try:
            text = Path(file).read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--token-file '{file}': {getattr(error, 'strerror', None) or 'is not text'}") from error
    token = text.strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or ' ' in token:
        raise ConfigError(
            f'{where} holds no token: give {SHORTEST} or more printable characters without spaces, such as those of '
            '`openssl rand -hex 32`'
        )
    return token
