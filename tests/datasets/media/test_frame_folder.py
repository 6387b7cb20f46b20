from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmav.datasets.media import ArrayReader, Limits
from mmav.datasets.media.frame_folder import FrameFolderReader
from mmav.errors import MediaError

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 24, 32, 3), dtype=np.uint8)


def write(folder, names=None, frames=FRAMES):
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names or [f'frame_{k}.png' for k in range(1, 13)], frames):  # noqa: B905 - a part of them
        Image.fromarray(frame).save(folder / name)
    return str(folder)


def test_it_reads_like_an_array(tmp_path):
    """Frame 2 comes before frame 10, numbers start anywhere, other files are ignored."""
    path = write(tmp_path / 'a')
    (tmp_path / 'a' / 'notes.txt').write_text('')
    (tmp_path / 'a' / '._frame_1.png').write_bytes(b'')
    folder, array = FrameFolderReader(path, 4.0), ArrayReader(FRAMES, 4.0)
    info = folder.info
    assert (info.duration, info.height, info.width, info.fps) == (3.0, 24, 32, 4.0)
    assert info.has_video and not info.has_audio and folder.fetch(1.0, 9.0) == (1.0, 3.0)
    times = [2.9, 0.0, 0.13, 0.12, 1.0, 1.0, 7.0]
    for side in (None, 12):
        for one, other in zip(folder.read_frames(times, short_side=side), array.read_frames(times, short_side=side)):  # noqa: B905
            np.testing.assert_array_equal(one, other)


def test_all_frames_of_a_span(tmp_path):
    folder = FrameFolderReader(write(tmp_path / 'a'), 4.0)
    shown = dict(folder.all_frames(1.0, 1.6, short_side=None))
    assert {4, 5, 6} <= set(shown) <= set(range(2, 9))
    np.testing.assert_array_equal(shown[5], FRAMES[5])
    assert [time for time, _ in folder.iter_frames(1.0, 1.6)] == [1.0, 1.25, 1.5]
    assert len(list(folder.iter_sampled(0.0, 3.0))) == 12


def test_the_rate_may_be_in_a_file(tmp_path):
    path = write(tmp_path / 'a')
    with pytest.raises(MediaError, match=r'give it in a column fps of the manifest, or in a file fps.txt beside them'):
        FrameFolderReader(path)
    (tmp_path / 'a' / 'fps.txt').write_text('6\n')
    assert FrameFolderReader(path).info.duration == 2.0 and FrameFolderReader(path, 12.0).info.duration == 1.0
    (tmp_path / 'a' / 'fps.txt').write_text('fast')
    with pytest.raises(MediaError, match="fps.txt holds 'fast', which is no number of frames per second"):
        FrameFolderReader(path)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([], 'the folder has no images, such as frame_000001.jpg'),
        (['f_1.png', 'f_2.png', 'f_4.png'], 'frame 3 is missing: after f_2.png comes f_4.png'),
        (['f_08.png', 'f_12.png'], 'frames 9 to 11 are missing: after f_08.png comes f_12.png'),
        (['f_1.png', 'cover.png'], r'cover.png does not end in a number, as in frame_000001.jpg'),
        (['f_1.png', 'f_01.png'], 'f_01.png and f_1.png are the same frame; remove one'),
        (['a_1.png', 'b_2.png'], r'named in several ways, a_... and b_...; give each a folder'),
    ],
)
def test_folders_that_are_no_video(tmp_path, names, message):
    path = write(tmp_path / 'a', names or ['.hidden.png'])
    with pytest.raises(MediaError, match=message) as error:
        FrameFolderReader(path, 25.0)
    assert error.value.path == path


def test_frames_that_are_no_images(tmp_path):
    path = write(tmp_path / 'a')
    (tmp_path / 'a' / 'frame_3.png').write_text('text')
    (tmp_path / 'a' / 'frame_5.png').unlink()
    write(tmp_path / 'a', ['frame_5.png'], FRAMES[:1, :12])
    folder = FrameFolderReader(path, 1.0)
    with pytest.raises(MediaError, match=r'frame_3.png is missing, or not an image that can be decoded'):
        folder.read_frames([2.0])
    with pytest.raises(MediaError, match=r'frame_5.png has 32 x 12 pixels, the first frame 32 x 24'):
        folder.read_frames([4.0])
    (tmp_path / 'a' / 'frame_1.png').write_text('text')
    with pytest.raises(MediaError, match=r'frame_1.png is not an image'):
        FrameFolderReader(path, 1.0)
    with pytest.raises(MediaError, match='the folder cannot be read: No such file'):
        FrameFolderReader(str(tmp_path / 'b'), 1.0)
    with pytest.raises(MediaError, match='has no audio track'):
        folder.read_audio(0.0, 1.0, 16000)


def test_turned_photographs_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / 'a').mkdir()
    Image.fromarray(FRAMES[0]).save(tmp_path / 'a' / '1.png', exif=exif)
    folder = FrameFolderReader(str(tmp_path / 'a'), 1.0)
    frames, _ = folder.read_frames([0.0])
    np.testing.assert_array_equal(frames[0], cv2.rotate(FRAMES[0], cv2.ROTATE_90_CLOCKWISE))


def test_limits(tmp_path):
    path = write(tmp_path / 'a')
    with pytest.raises(MediaError, match='more than the 100 allowed; raise pixels of the limits'):
        FrameFolderReader(path, 1.0, limits=Limits(pixels=100)).read_frames([0.0])
    with pytest.raises(MediaError, match='raise clip_pixels of the limits'):
        FrameFolderReader(path, 1.0, limits=Limits(clip_pixels=1000)).read_frames([0.0, 1.0])
