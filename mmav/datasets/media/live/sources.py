"""What a live source may be, and what FFmpeg may open for it.

Files keep the rules of :mod:`mmav.datasets.media.opening`. An address is opened only because the user gave it as a
source; what its server sends, such as a playlist, may lead to other addresses but never to a file of this machine.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import av

from mmav.datasets.media.opening import FORMATS, Limits, media_errors, open_container
from mmav.errors import ConfigError, MediaError, MissingMediaError, did_you_mean
from mmav.structures import MODALITIES

_WEB = 'http,https,httpproxy,tcp,tls,crypto,hls,data'
_PACKETS = 'rtp,srtp,udp,tcp,tls,crypto'
# scheme -> protocols that FFmpeg may use for it; none of them reads files
PROTOCOLS = {
    **dict.fromkeys(('http', 'https'), _WEB),
    'rtsp': f'rtsp,http,{_PACKETS}',
    'rtsps': f'rtsp,rtsps,http,https,{_PACKETS}',
    **dict.fromkeys(('rtmp', 'rtmps'), f'rtmp,rtmps,rtmpt,rtmpts,http,https,{_PACKETS}'),
    'srt': 'srt,udp',
    'udp': 'udp',
    'rtp': _PACKETS,
    'tcp': 'tcp',
}
# formats that refer to other addresses, or to packets on other ports, and are the rule for streams
_STREAMED = 'hls,dash,rtsp,rtp,sdp'
DEVICES = {'camera': 'video', 'microphone': 'audio'}
TEST = 'test'
# with a clock of its own, for trying things out: a moving picture and a tone
_PATTERN = 'testsrc2=size=640x360:rate=30{length}[out0];sine=frequency=440:sample_rate=48000{length}[out1]'
STANDARD_INPUT = ('-', 'pipe:', 'pipe:0')
# Debian's and Red Hat's place of the settings without which ALSA knows no 'default'; PyAV's own copy has none
_ALSA_SETTINGS = '/usr/share/alsa'
_EXAMPLES = (
    "camera:0, microphone:default, rtsp://..., http://... (also .m3u8), '-' for standard input, a named pipe, or a file"
)


class LiveSource(NamedTuple):
    """One thing to open.

    Attributes:
        name: What messages call it; without the password of an address.
        kind: 'device', 'network', 'pipe', 'file' or 'test'.
        url: What is opened.
        format: FFmpeg's name of the format; empty to recognise it.
        modalities: What it may hold.
    """

    name: str
    kind: str
    url: str
    format: str = ''
    modalities: tuple[str, ...] = MODALITIES

    @property
    def waits(self) -> bool:
        """Whether reading may stop for a while without a loss: a device goes on."""
        return self.kind != 'device'


def list_live(source: Any) -> list[LiveSource]:
    """Lists what a user's live source consists of.

    Args:
        source: ``camera:0`` or ``camera:NAME``, ``microphone:default`` or ``microphone:NAME``; an address of
            ``http(s)``, ``rtsp(s)``, ``rtmp(s)``, ``srt``, ``udp``, ``rtp`` or ``tcp``; ``-`` for standard input; a
            named pipe, a device such as ``/dev/video0``, or a file; ``test:`` or ``test:SECONDS`` for a test pattern.
            A list of two, or two joined by `` + ``, for a camera and a microphone.

    Returns:
        One, or a source of video and a source of audio.

    Raises:
        ConfigError: It is none of these, or two do not go together.
        MissingMediaError: There is no such file.
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    texts = [part for each in given for part in _split(os.fspath(each))]
    if not texts:
        raise ConfigError(f'there is no live source: give one of {_EXAMPLES}')
    found = [_source(text) for text in texts]
    if len(found) == 1:
        return found
    if len(found) > 2:
        raise ConfigError(f'{len(found)} live sources: give one, or a camera and a microphone')
    for each in found:
        if each.kind in ('network', 'pipe'):
            raise ConfigError(f"'{each.name}' cannot be combined with another source: only devices and files can")
    if all(each.kind == 'device' for each in found):
        kinds = [each.modalities for each in found]
        if kinds[0] == kinds[1]:
            raise ConfigError(f'two sources of {kinds[0][0]}: give a camera and a microphone')
        found.sort(key=lambda each: MODALITIES.index(each.modalities[0]))
        return _one_device(*found) if sys.platform in ('darwin', 'win32') else found
    return [each._replace(modalities=(modality,)) for each, modality in zip(found, MODALITIES, strict=True)]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(' + ')] if re.match(r'(camera|microphone|test):', text) else [text]


def _source(text: str) -> LiveSource:
    head, colon, rest = text.partition(':')
    if text in STANDARD_INPUT:
        return LiveSource('standard input', 'pipe', '')
    if colon and rest.startswith('//'):
        if head.lower() not in PROTOCOLS:
            hint = did_you_mean(head.lower(), PROTOCOLS)
            raise ConfigError(f"no live source '{text}': an address begins with {', '.join(PROTOCOLS)}{hint}")
        return LiveSource(without_password(text), 'network', text)
    if colon and head in DEVICES:
        return _device(head, rest)
    if colon and head == TEST:
        if rest and not re.fullmatch(r'\d+(\.\d+)?', rest):
            raise ConfigError(f"'{text}': give the seconds of the test pattern, as in test:10")
        return LiveSource(text, 'test', _PATTERN.format(length=f':duration={rest}' if rest else ''), 'lavfi')
    path = os.path.expanduser(text)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if colon and re.fullmatch('[a-z]{3,}', head):
            hint = did_you_mean(head, [*DEVICES, TEST])
            raise ConfigError(f"no live source '{text}': give {_EXAMPLES}{hint}") from error
        raise MissingMediaError(path, f'no such file, and no live source of this name: give {_EXAMPLES}') from error
    if stat.S_ISDIR(mode):
        raise ConfigError(f"'{path}' is a folder: a live source is {_EXAMPLES}")
    if stat.S_ISCHR(mode):
        return LiveSource(path, 'device', path, _format_of('camera'), ('video',))
    return LiveSource(path, 'pipe' if stat.S_ISFIFO(mode) else 'file', path)


def _device(kind: str, name: str) -> LiveSource:
    if not name:
        raise ConfigError(f"'{kind}:' names no {kind}: give {kind}:{'0' if kind == 'camera' else 'default'}")
    form, url = _format_of(kind), name
    if form == 'v4l2' and name.isdigit():
        url = f'/dev/video{name}'
    elif form == 'avfoundation':
        url = f'{name}:none' if kind == 'camera' else f'none:{name}'
    elif form == 'dshow':
        url = f'{DEVICES[kind]}={name}'
    return LiveSource(f'{kind}:{name}', 'device', url, form, (DEVICES[kind],))


def _format_of(kind: str) -> str:
    """FFmpeg's way to a camera or a microphone of this system."""
    if sys.platform in ('darwin', 'win32'):
        return 'avfoundation' if sys.platform == 'darwin' else 'dshow'
    if kind == 'camera':
        return 'v4l2'
    return 'pulse' if 'pulse' in av.formats_available else 'alsa'


def _one_device(camera: LiveSource, microphone: LiveSource) -> list[LiveSource]:
    """Both opened together, on one clock, where the system can."""
    if camera.format == 'avfoundation':
        url = f'{camera.url.rpartition(":")[0]}:{microphone.url.partition(":")[2]}'
    else:
        url = f'{camera.url}:{microphone.url}'
    return [LiveSource(f'{camera.name} + {microphone.name}', 'device', url, camera.format)]


def without_password(address: str) -> str:
    """An address as messages show it.

    >>> without_password('rtsp://me:secret@camera.local/1')
    'rtsp://me:***@camera.local/1'
    """
    return re.sub(r'(//[^/@:]*):[^/@]*@', r'\1:***@', address)


def open_live(
    source: LiveSource, *, limits: Limits, timeout: float, stopped: Callable[[], bool] = lambda: False
) -> av.container.InputContainer:
    """Opens a source.

    Args:
        source: The source.
        limits: Limits on the size of frames.
        timeout: Seconds without an answer after which opening and each reading are given up.
        stopped: Whether to give up; only pipes ask.

    Raises:
        MediaError: It cannot be opened.
    """
    if source.kind == 'file':
        return open_container(source.url, limits=limits)
    options = dict(max_pixels=str(limits.pixels))
    file: Any = source.url
    if source.kind == 'network':
        scheme = source.url.partition(':')[0].lower()
        options.update(protocol_whitelist=PROTOCOLS[scheme], format_whitelist=f'{FORMATS},{_STREAMED}')
        if scheme in ('rtsp', 'rtsps'):
            # packets over UDP get lost, and routers keep them out
            options.update(rtsp_transport='tcp')
    elif source.kind == 'pipe':
        file = PipeFile(source.url, timeout=timeout, stopped=stopped)
        options.update(protocol_whitelist='none', format_whitelist=FORMATS)
    elif source.format == 'v4l2':
        options.update(timestamps='abs')  # the clock of sound cards
    elif source.format == 'alsa' and os.path.isdir(_ALSA_SETTINGS):
        os.environ.setdefault('ALSA_CONFIG_DIR', _ALSA_SETTINGS)
    settings: Any = dict(options=options, metadata_errors='replace', timeout=timeout)
    if source.format:
        if not any(source.format in names.split(',') for names in av.formats_available):
            raise MediaError(source.name, f'PyAV was built without {source.format}, which reads such devices')
        settings['format'] = source.format
    with media_errors(source.name, 'cannot be opened'):
        try:
            return av.open(file, **settings)
        except av.error.ExitError:
            raise MediaError(source.name, f'gave nothing to open within {timeout:g} s') from None
        except av.error.ProtocolNotFoundError:
            raise MediaError(source.name, 'PyAV was built without this protocol') from None
        except av.error.ArgumentError as error:
            raise MediaError(source.name, 'is of no known format of audio or video') from error


class PipeFile:
    """A pipe that PyAV reads through Python, so that waiting for its other end can be given up.

    Args:
        path: The named pipe; empty for standard input.
        timeout: Seconds without data after which a reading fails.
        stopped: Whether to give up.

    Raises:
        TimeoutError: From ``read``: there was nothing.
    """

    name = ''  # a suffix would imply a format

    def __init__(self, path: str, *, timeout: float, stopped: Callable[[], bool] = lambda: False) -> None:
        self._timeout, self._stopped = timeout, stopped
        self._own = bool(path)
        # without waiting for a writer
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if path else sys.stdin.fileno()
        self._begun = not path
        self._lock = threading.Lock()

    def read(self, size: int) -> bytes:
        """Reads what there is, at most so many bytes; none at the end."""
        until = time.monotonic() + self._timeout
        while not self._stopped():
            if time.monotonic() > until:
                raise TimeoutError(f'nothing came for {self._timeout:g} s')
            ready, _, _ = select.select([self._file], [], [], 0.1)
            if not ready:
                continue
            try:
                data = os.read(self._file, size)
            except BlockingIOError:
                continue
            if data or self._begun:
                self._begun = True
                return data
            time.sleep(0.02)  # nobody has opened the other end yet
        return b''

    def close(self) -> None:
        """Closes the pipe."""
        with self._lock:
            if self._own and self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __del__(self) -> None:
        # PyAV drops a file without closing it
        self.close()


def modalities_of(sources: Sequence[LiveSource]) -> tuple[str, ...]:
    """What the sources may hold together."""
    return tuple(name for name in MODALITIES if any(name in source.modalities for source in sources))
