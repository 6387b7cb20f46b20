import io

import numpy as np
import pytest
import torch

from mmav.datasets.media import BytesFile
from mmav.errors import MediaError, MmavError
from mmav.inference.sources import Source, list_sources


def test_paths_lists_and_arrays(tmp_path):
    wave = np.zeros(1600, np.float32)
    for name in ('b.wav', 'a.mp4', 'x/c.WEBM', '.hidden.mp4', 'readme.md', 'd.mp4.part'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = list_sources([tmp_path, 'film.mkv', dict(audio=wave, sample_rate=16000)])
    assert [source.path for source in sources] == [
        str(tmp_path / 'a.mp4'), str(tmp_path / 'b.wav'), str(tmp_path / 'x/c.WEBM'), 'film.mkv', '<arrays 4>',
    ]  # fmt: skip
    with sources[-1].open() as reader:
        assert reader.info.duration == pytest.approx(0.1)
    assert list_sources(tmp_path / 'a.mp4') == [Source(str(tmp_path / 'a.mp4'))]


def test_tensors_are_taken_for_arrays():
    (source,) = list_sources(dict(video=torch.zeros(4, 8, 8, 3, dtype=torch.uint8), fps=2))
    with source.open() as reader:
        assert reader.info.duration == 2.0 and not reader.info.has_audio


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ([], 'the list of inputs is empty'),
        (3, 'cannot classify a int'),
        (np.zeros((4, 8, 8, 3)), 'cannot classify a ndarray: give a path'),
        (dict(vidoe=1), "no 'vidoe', only video, fps, audio, sample_rate, did you mean 'video'"),
    ],
)
def test_what_cannot_be_classified(inputs, message):
    with pytest.raises(MmavError, match=message):
        list_sources(inputs)


def test_empty_folder(tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(MmavError, match='no media files in'):
        list_sources(str(tmp_path))


def test_arrays_are_checked_when_they_are_opened():
    with pytest.raises(MediaError, match='needs fps'):
        list_sources(dict(video=np.zeros((4, 8, 8, 3), np.uint8)))[0].open()


def test_two_files(clip, silent, tmp_path):
    (source,) = list_sources(dict(video=silent, audio=str(clip)))
    assert source.path == f'{silent} + {clip}' and source.arrays is None
    with source.open() as reader:
        assert reader.info.has_video and reader.info.has_audio
    (alone,) = list_sources(dict(video=str(tmp_path), fps=25))
    assert alone.path == f'{tmp_path} at 25 fps + no audio'
    with pytest.raises(MmavError, match='video is a file and audio is an array: give two files or two arrays'):
        list_sources(dict(video='a.mp4', audio=np.zeros(100), sample_rate=16000))


class Trickle:
    """Bytes that cannot be sought, a few at a time."""

    def __init__(self, data, name=''):
        self.rest, self.name = data, name

    def read(self, size):
        piece, self.rest = self.rest[: min(size, 1000)], self.rest[min(size, 1000) :]
        return piece


def test_bytes_and_file_objects(clip):
    data = clip.read_bytes()
    with open(clip, 'rb') as opened, open(clip, 'rb') as moved:
        moved.read(10)
        given = [data, bytearray(data), io.BytesIO(data), Trickle(data), Trickle(data, 'call.mp4'), opened, moved]
        sources = list_sources(given)
        assert opened.tell() == 0  # it is opened by its name
    assert [str(source.path) for source in sources] == [
        *(f'<bytes {k}>' for k in range(4)), 'call.mp4', str(clip), str(clip)
    ]  # fmt: skip
    assert all(source.path.data == data for source in sources[:5])
    assert not isinstance(sources[5].path, BytesFile) and sources[6].path.data == data[10:]
    assert list_sources(memoryview(data))[0].path == '<bytes 0>'
    assert list_sources(sources[4].path)[0].path is sources[4].path and list_sources(sources[0]) == [sources[0]]


def test_file_objects_that_cannot_be_read(clip, monkeypatch):
    with open(clip, encoding='latin-1') as text, pytest.raises(MediaError, match='binary mode'):
        list_sources(text)
    with open(clip, 'rb') as closed:
        closed.read(1)
    with pytest.raises(MediaError, match='cannot be read: .*closed'):
        list_sources(closed)
    monkeypatch.setattr('mmav.inference.sources.MOST_BYTES', 5000)
    with pytest.raises(MediaError, match=r'call.mp4: holds more than the 5,000 bytes .* give a path'):
        list_sources(Trickle(clip.read_bytes(), 'call.mp4'))
