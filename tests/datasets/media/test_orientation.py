"""Pictures upright as ffmpeg shows them: turned and mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.pyav_reader import PyAVReader
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.visualization.annotated_video import write_annotated_video
from tests import clips

# What ffmpeg inserts for a matrix (a, b, c, d) (fftools/ffmpeg_filter.c), and the same in NumPy.
SHOWN = {
    'hflip': ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    'vflip': ((1, 0, 0, -1), lambda image: image[::-1]),
    'hflip,vflip': ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    'transpose=clock': ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    'transpose=cclock': ((0, -1, 1, 0), lambda image: np.rot90(image)),
    'transpose=cclock_flip': ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    'transpose=clock_flip': ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


@pytest.fixture(params=SHOWN)
def case(request, make_clip):
    """A clip with a matrix, the frames without it, and what is to be made of them."""
    matrix, shown = SHOWN[request.param]
    options = dict(numbered=True, seconds=1.0, events=(0.5,))
    with open_media(str(make_clip('as_stored.mp4', **options))) as reader:
        stored = reader.read_frames([0.0, 0.5])[0]
    # Not the same in any other orientation.
    assert len({shown(stored[1]).tobytes() for _, shown in SHOWN.values()}) == len(SHOWN)
    path = make_clip(f'matrix_{request.param}.mp4', **options)
    return clips.set_matrix(path, matrix), [shown(image) for image in stored]


def test_frames(case):
    path, expected = case
    with open_media(str(path)) as reader:
        np.testing.assert_array_equal(reader.read_frames([0.0, 0.5])[0], expected)


def test_files_written_anew(case, tmp_path):
    path, expected = case
    transcode(str(path), str(tmp_path / 'anew.mp4'), TranscodeOptions(short_side=48, crf=1))
    drawn = []
    write_annotated_video(path, tmp_path / 'copy.mp4', lambda image, _: drawn.append(image) or image, min_side=64)
    np.testing.assert_allclose(drawn[0].astype(int), expected[0], atol=6)
    for name in ('anew.mp4', 'copy.mp4'):
        with PyAVReader(str(tmp_path / name)) as reader:
            frames = reader.read_frames([0.0, 0.5])[0]
        assert np.abs(frames.astype(int) - expected).mean() < 6, name
