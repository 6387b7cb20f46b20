"""Names of clips, whose video and audio may be in files of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmav.datasets.media.stored_file import stamp_of


class PairPath(str):
    """Name of a clip whose video and audio are in files of their own; as a string, what messages call it.

    Args:
        video: A media file, a folder of numbered frames, or a file of arrays; empty for none.
        audio: A media file, or a file of arrays; empty for none.
        fps: Frames per second of a folder or of arrays; None if they say so themselves.
        sample_rate: Samples per second of arrays; None if they say so themselves.

    >>> PairPath('a/7.mp4', 'b/7.wav'), PairPath('frames/7', '', fps=25.0)
    ('a/7.mp4 + b/7.wav', 'frames/7 at 25 fps + no audio')
    """

    video: str
    audio: str
    fps: float | None
    sample_rate: float | None

    def __new__(
        cls, video: str, audio: str, *, fps: float | None = None, sample_rate: float | None = None, text: str = ''
    ) -> PairPath:
        rates = [f' at {rate:g} {unit}' if rate else '' for rate, unit in ((fps, 'fps'), (sample_rate, 'Hz'))]
        name = f'{video}{rates[0]}' if video else 'no video'
        path = super().__new__(cls, text or f'{name} + {f"{audio}{rates[1]}" if audio else "no audio"}')
        path.video, path.audio, path.fps, path.sample_rate = video, audio, fps, sample_rate
        return path

    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, object]]:
        return (self.video, self.audio), dict(fps=self.fps, sample_rate=self.sample_rate, text=str(self))

    def within(self, folder: str) -> PairPath:
        """The same clip, with files relative to a folder."""
        video, audio = (os.path.join(folder, file) if file else '' for file in (self.video, self.audio))
        text = os.path.join(folder, str(self))
        return PairPath(video, audio, fps=self.fps, sample_rate=self.sample_rate, text=text)


def files_of(path: str) -> Sequence[str]:
    """The files, or folders of frames, of a clip."""
    return [file for file in (path.video, path.audio) if file] if isinstance(path, PairPath) else [path]


def stamps_of(path: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change, or version, of every file of a clip, each frame of a folder included.

    Raises:
        OSError: One cannot be reached.
    """
    stamps = []
    for file in files_of(path):
        files = [file]
        if isinstance(path, PairPath) and os.path.isdir(file):
            files += sorted(entry.path for entry in os.scandir(file))
        for each in files:
            stamps.append(stamp_of(each))
    return stamps
