from __future__ import annotations

import os
import pickle

import pytest

from mmav.datasets.manifest import join_path
from mmav.datasets.media.pair_path import PairPath, files_of, stamps_of


def test_a_clip_within_a_folder():
    pair = PairPath('a/7.mp4', 'b/7.wav')
    there = join_path('/data', pair)
    assert (there.video, there.audio) == ('/data/a/7.mp4', '/data/b/7.wav')
    assert there == '/data/a/7.mp4 + b/7.wav' and there.removeprefix('/data/') == pair
    assert files_of(there) == ['/data/a/7.mp4', '/data/b/7.wav']
    assert join_path('/data', 'a.mp4') == '/data/a.mp4' and files_of('a.mp4') == ['a.mp4']
    only = join_path('/data', PairPath('', 'b/7.npy', sample_rate=16000.0))
    assert (only.video, only.audio, files_of(only)) == ('', '/data/b/7.npy', ['/data/b/7.npy'])
    assert only == '/data/no video + b/7.npy at 16000 Hz'


def test_it_goes_to_other_processes():
    pair = join_path('/data', PairPath('frames/7', 'b/7.npy', fps=12.5, sample_rate=8000.0))
    again = pickle.loads(pickle.dumps(pair))
    assert again == pair and isinstance(again, PairPath) and vars(again) == vars(pair)


def test_stamps_change_with_any_file(tmp_path):
    (tmp_path / 'frames').mkdir()
    for name in ('frames/1.jpg', 'frames/2.jpg', 'a.wav'):
        (tmp_path / name).write_bytes(b'1')
    pair = PairPath('frames', 'a.wav', fps=25.0).within(str(tmp_path))
    before = stamps_of(pair)
    assert len(before) == 4 and stamps_of(str(tmp_path / 'a.wav')) == before[-1:]
    for name in ('frames/2.jpg', 'a.wav'):
        os.utime(tmp_path / name, (1, 1))
        assert stamps_of(pair) != before
        before = stamps_of(pair)
    (tmp_path / 'a.wav').unlink()
    with pytest.raises(FileNotFoundError):
        stamps_of(pair)
