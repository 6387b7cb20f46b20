"""Whether torchcodec can be tested here, and a stand-in for it where its logic is."""

from __future__ import annotations

import functools
import io
import json
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from mmav.datasets.media.torchcodec_library import load_torchcodec
from mmav.errors import ConfigError


@functools.cache
def missing_torchcodec() -> str:
    """Why torchcodec cannot be used here; empty if it can."""
    try:
        load_torchcodec()
    except ConfigError as error:
        return str(error)
    return ''


needs_torchcodec = pytest.mark.skipif(bool(missing_torchcodec()), reason=missing_torchcodec())


class Resize:
    """Asks for frames of a height and width."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size


class StandIn:
    """Decodes with PyAV what torchcodec is asked for; counts and keeps what it was asked.

    Attributes:
        asked: Arguments of each decoder that was made.
        batches: Places of the frames asked for in each call.
        metadata: What a decoder says that differs from the file.
        late: Seconds by which its times differ from the file's.
        fails: What it raises when frames are asked for.
    """

    def __init__(self) -> None:
        self.asked: list[SimpleNamespace] = []
        self.batches: list[list[int]] = []
        self.metadata: dict[str, Any] = {}
        self.late, self.fails, self.cpu_fallback = 0.0, None, False
        self.on_batch = lambda: None

    def library(self) -> SimpleNamespace:
        """What :func:`mmav.datasets.media.torchcodec_library.load_torchcodec` returns."""
        return SimpleNamespace(VideoDecoder=self.open, Resize=Resize)

    def open(self, source: str | bytes, **options: Any) -> Any:
        """A decoder."""
        self.asked.append(SimpleNamespace(source=source, **options))
        return _Decoder(self, source, options)


class _Decoder:
    def __init__(self, owner: StandIn, source: str | bytes, options: dict[str, Any]) -> None:
        self._owner, self._options = owner, options
        self.cpu_fallback = owner.cpu_fallback
        self._mapped = [frame['pts'] for frame in json.loads(options['custom_frame_mappings'])['frames']]
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source) as container:
            stream = container.streams[options['stream_index']]
            frames = list(container.decode(stream))
            turn = round(frames[0].rotation)
            self._base = float(stream.time_base)
            self._images = {f.pts: np.rot90(f.to_ndarray(format='rgb24', threads=1), turn // 90).copy() for f in frames}
            height, width = next(iter(self._images.values())).shape[:2]
            told = dict(height=height, width=width, rotation=turn)
            told['begin_stream_seconds_from_header'] = float((stream.start_time or 0) * stream.time_base)
        self.metadata = SimpleNamespace(**{**told, **owner.metadata})

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        self._owner.batches.append(indices)
        self._owner.on_batch()
        if self._owner.fails is not None:
            raise self._owner.fails
        stamps = [self._mapped[k] for k in indices]
        images = [self._images[stamp] for stamp in stamps]
        for resize in self._options['transforms'] or []:
            height, width = resize.size
            rgb = (av.VideoFrame.from_ndarray(image, format='rgb24') for image in images)
            images = [frame.to_ndarray(format='rgb24', height=height, width=width) for frame in rgb]
        seconds = torch.tensor(stamps, dtype=torch.float64) * self._base + self._owner.late
        return SimpleNamespace(data=torch.from_numpy(np.stack(images)), pts_seconds=seconds)
