"""Where decord and PyAV agree: H.264 in mp4, as encoded. (Not: clips cut without encoding, HEVC, AV1, AVI.)"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.errors import MediaError


def test_agrees_with_pyav_on_plain_h264(flashes):
    pytest.importorskip('decord')
    wanted = np.linspace(0.1, 3.9, 9)
    for short_side in (None, 24):
        with open_media(str(flashes)) as pyav, open_media(str(flashes), backend='decord') as decord:
            ours, our_times = pyav.read_frames(wanted, short_side=short_side)
            theirs, their_times = decord.read_frames(wanted, short_side=short_side)
            np.testing.assert_array_equal(pyav.read_audio(1.0, 2.0, 16000), decord.read_audio(1.0, 2.0, 16000))
        np.testing.assert_allclose(their_times, our_times, atol=1e-4)
        # decord's FFmpeg is years older; its scaler rounds otherwise.
        assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < (0.1 if short_side is None else 2)


def test_broken_and_blind_files(broken, blind):
    pytest.importorskip('decord')
    with pytest.raises(MediaError, match='cannot be opened'):
        open_media(str(broken['text']), backend='decord')
    with open_media(str(blind), backend='decord') as reader, pytest.raises(MediaError, match='no video'):
        reader.read_frames([0.0])


def test_says_what_to_do_without_decord(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, 'decord', None)
    with pytest.raises(ImportError, match="install it or use backend='pyav'"):
        open_media(str(clip), backend='decord')


def test_unknown_backend(clip):
    with pytest.raises(ValueError, match="no media reader 'pyva'.*did you mean 'pyav'"):
        open_media(str(clip), backend='pyva')
