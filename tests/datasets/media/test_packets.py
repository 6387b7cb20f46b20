"""Spans of packets: edit lists, wrong headers, searching."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import open_media
from tests import clips
from tests.conftest import EVENTS


@pytest.mark.parametrize('start', [0.75, 0.8, 1.26])
def test_cut_without_encoding(flashes, clip_dir, start):
    path = clips.cut_without_encoding(flashes, clip_dir / f'cut_{start}.mp4', start)
    with open_media(str(path)) as reader:
        _, end = reader.fetch(0, reader.info.duration)
        flash = clips.flash_times(reader, end)
        click = clips.onset(reader.read_audio(0, end, 16000), 16000)
    # The picture starts with the first frame behind the cut.
    assert flash[0] == pytest.approx(EVENTS[1] - np.ceil(start * 30) / 30, abs=1e-3)
    assert click == pytest.approx(flash[0], abs=0.002)


def test_a_header_that_promises_more_than_there_is(make_clip, clip_dir, tmp_path):
    whole = make_clip('streamable.mkv', seconds=6.0, keyframes=12, events=(0.5,))
    path = tmp_path / 'cut_short.mkv'
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_media(str(path)) as reader:
        assert reader.info.promised > 5.5
        assert 1.0 < reader.info.duration < 4.5
        start, end = reader.fetch(5.0, 6.0)
        assert end <= start
        assert reader.fetch(0.0, 6.0) == (0.0, reader.info.duration)


def test_spans_of_one_reader_in_any_order(flashes):
    with open_media(str(flashes)) as reader:
        for start in (3.0, 0.0, 1.5):
            reader.fetch(start, start + 0.5)
            _, times = reader.read_frames([start + 0.25])
            assert times[0] == pytest.approx(start + 0.25, abs=1 / 60)
