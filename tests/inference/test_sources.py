import numpy as np
import pytest
import torch

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
