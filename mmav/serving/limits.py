"""Limits of the endpoint, and how a request is refused."""

from __future__ import annotations

from dataclasses import dataclass

from mmav.errors import ConfigError

# Code of an error -> status of its answer, and what it means.
ERRORS: dict[str, tuple[int, str]] = {
    'malformed_request': (400, 'The request is not valid HTTP, or its body not valid multipart/form-data'),
    'unauthorized': (401, 'There is no token, or a wrong one'),
    'not_found': (404, 'There is no such path'),
    'method_not_allowed': (405, 'The path has no such method'),
    'upload_too_slow': (408, 'The body did not arrive in time'),
    'upload_too_large': (413, 'The body is larger than the limit'),
    'unsupported_content_type': (415, 'The body is of a type that is not read'),
    'invalid_option': (422, 'An option has a wrong name or value, or does not go with the model'),
    'no_clip': (422, 'The body holds no clip, or parts that do not go together'),
    'unreadable_clip': (422, 'The clip is no audio or video, is broken, or has none of what the model needs'),
    'clip_too_long': (422, 'The clip is longer than the limit, or has too many windows'),
    'decoder_crashed': (422, 'The clip ended the process that read it'),
    'internal': (500, 'A failure of the server; its log says more'),
    'busy': (503, 'As many requests wait as may wait: try again after Retry-After seconds'),
    'stopping': (503, 'The server is about to stop: try again, it may be back'),
    'timeout': (504, 'The answer did not come in time; the work was dropped'),
}


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        code: A key of :data:`ERRORS`.
        message: A sentence for the client; it names no file or folder of this machine.
        retry_after: Seconds after which to try again.

    >>> Refusal('busy', 'Too many requests wait.', retry_after=2).status
    503
    """

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(code, message)
        self.code, self.message, self.retry_after = code, message, retry_after

    @property
    def status(self) -> int:
        """Of the answer."""
        return ERRORS[self.code][0]

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The one form that all errors have."""
        return dict(error=dict(code=self.code, message=self.message))

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        found = {} if self.retry_after is None else {'Retry-After': str(self.retry_after)}
        return found | ({'WWW-Authenticate': 'Bearer'} if self.status == 401 else {})


@dataclass(frozen=True)
class ServeLimits:
    """What a request, and all of them together, may cost.

    Attributes:
        megabytes: Of one request's body, of 2^20 bytes.
        seconds: Of a clip.
        windows: Of a clip.
        timeout: Seconds from the end of an upload to its answer.
        upload_seconds: For the whole body of a request.
        idle_seconds: Without a byte of a body; for the headers of a request; for the rest of a body that is refused.
        queue: Requests that wait for a reading process.
        connections: Requests that are open at the same time, uploads included.
        worker_megabytes: Memory that a clip may take in a reading process.

    Raises:
        ConfigError: A limit is not above 0.
    """

    megabytes: float = 100.0
    seconds: float = 60.0
    windows: int = 1000
    timeout: float = 30.0
    upload_seconds: float = 120.0
    idle_seconds: float = 10.0
    queue: int = 16
    connections: int = 64
    worker_megabytes: int = 2048

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float('inf'):
                raise ConfigError(f'{name.replace("_", "-")} {value:g} must be above 0 and finite')

    @property
    def most_bytes(self) -> int:
        """Bytes of one request's body."""
        return int(self.megabytes * 2**20)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all uploads that are kept at the same time: as many of the largest size as may wait."""
        return self.queue * self.most_bytes
