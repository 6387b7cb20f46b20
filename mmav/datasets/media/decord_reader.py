"""Reads video with decord and audio with PyAV: decord's AudioReader leaks memory and loses damaged audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmav.datasets.media.opening import Limits, media_errors
from mmav.datasets.media.reader import PyAVReader
from mmav.datasets.media.stored_file import open_binary
from mmav.datasets.media.video import nearest, scaled_size
from mmav.errors import MediaError
from mmav.structures import MODALITIES


class DecordReader(PyAVReader):
    """Reads frames with decord.

    decord counts frames and ignores time stamps: for clips cut without re-encoding and for HEVC it returns other frames
    than those displayed at the given times, and it does not support AV1. :class:`PyAVReader` is exact for all of these.

    Args:
        path: The file.
        threads: Threads of the video decoder.
        limits: Limits on what reading the file may cost; None for the defaults.
        tracks: The modalities to read.

    Raises:
        MediaError: The file cannot be opened, has no length, or holds neither video nor audio.
        ImportError: decord is not installed.
    """

    def __init__(
        self,
        path: str,
        *,
        threads: int = 1,
        limits: Limits | None = None,
        tracks: Sequence[str] = MODALITIES,
    ) -> None:
        try:
            import decord
        except ImportError as error:
            raise ImportError(
                "backend='decord' needs the package decord, which has no wheel for every system; "
                "install it or use backend='pyav'"
            ) from error
        decord.logging.set_level(decord.logging.QUIET)
        self._decord = decord
        self._threads = threads
        super().__init__(path, threads=threads, limits=limits, tracks=tracks)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the frames that decord considers nearest to the times.

        Raises:
            MediaError: There is no video track, or decord cannot read it.
        """
        if not self.info.has_video:
            raise MediaError(self.info.path, 'has no video track')
        height, width = scaled_size(self.info.height, self.info.width, short_side)
        size = self.info.height, self.info.width
        self.limits.check_scaling(self.info.path, size, (height, width), len(times))
        # DECORDError is a RuntimeError with FFmpeg's whole stack in its text; its first line is the message.
        # Opened here, as decord, too, looks for protocols in names. What kind of file it is was seen by PyAVReader.
        with media_errors(self.info.path, 'decord cannot read its video track'), open_binary(self._watch.path) as file:
            reader = self._decord.VideoReader(
                file,
                ctx=self._decord.cpu(0),
                width=width,
                height=height,
                num_threads=self._threads,
            )
            stamps = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
            stamps = stamps - stamps.min()
            index = nearest(np.sort(stamps), np.asarray(times, dtype=np.float64))
            unique, place = np.unique(index, return_inverse=True)
            frames = reader.get_batch(unique.tolist()).asnumpy()
        return frames[place], np.sort(stamps)[index]
