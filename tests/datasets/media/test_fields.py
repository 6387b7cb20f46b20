"""A camcorder's frames of two fields, begun within a group, nothing marked as a place to start."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media.streaming import StreamReader
from tests import clips, fields


@pytest.mark.parametrize(('skip', 'first'), [(0, 0), (4, 12), (20, 12)])
def test_frames_of_two_fields(tmp_path, skip, first):
    path = fields.write(tmp_path / 'camcorder.ts', groups=3, skip=skip)
    # Of the last group all but the two pictures that the next would bring; FFmpeg 8 leaves out two whole ones.
    count = 3 * len(fields.GROUP) - 2 - first
    with StreamReader(str(path)) as reader:
        reader.fetch(0.0, reader.info.duration)
        found = list(reader.iter_frames(0.0, reader.info.duration))
        frames, times = reader.read_frames(np.arange(count) / fields.FPS)
    numbers = clips.frame_numbers(np.stack([frame.to_ndarray(format='rgb24') for _, frame in found]))
    np.testing.assert_array_equal(numbers, np.arange(first, first + count))
    np.testing.assert_allclose([time for time, _ in found], np.arange(count) / fields.FPS, atol=1e-3)
    np.testing.assert_array_equal(clips.frame_numbers(frames), numbers)
    np.testing.assert_allclose(times, np.arange(count) / fields.FPS, atol=1e-3)
