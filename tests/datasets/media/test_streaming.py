"""All frames of a span, one after the other, as FFmpeg shows them."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import streaming
from mmav.datasets.media.streaming import StreamReader
from mmav.errors import MediaError
from tests import clips
from tests.datasets.media.test_reader import CONTAINERS


@pytest.mark.parametrize('name', [*CONTAINERS, 'cut'])
def test_all_frames_of_a_span(make_clip, flashes, clip_dir, name):
    if name == 'cut':
        path = clips.cut_without_encoding(flashes, clip_dir / 'cut_for_all_frames.mp4', 0.8)
    else:
        options = CONTAINERS[name]
        path = make_clip(f'containers_{name}' if '.' in name else f'containers.{name}', events=(0.5,), **options)
    shown, shown_times = clips.displayed(path)
    for start, end in ((0.0, 99.0), (0.0, 1.0), (0.7, 1.6)):
        with StreamReader(str(path)) as reader:
            end = min(end, reader.fetch(start, end)[1])
            found = [(time, frame.to_ndarray(format='rgb24')) for time, frame in reader.iter_frames(start, end)]
        inside = (shown_times >= start - 1e-4) & (shown_times < end - 1e-4)
        np.testing.assert_allclose([time for time, _ in found], shown_times[inside], atol=1e-4)
        np.testing.assert_array_equal([image for _, image in found], shown[inside])
    assert reader.info.damaged == 0


def test_pieces_follow_each_other_and_lose_nothing(flashes, monkeypatch):
    with StreamReader(str(flashes)) as reader:
        whole = [time for time, _ in reader.iter_frames(0.0, 4.0)]
    monkeypatch.setattr(streaming, 'PIECE', 0.7)
    with StreamReader(str(flashes)) as reader:
        spans = list(reader.pieces(0.5, 3.2))
        assert spans[0][0] == 0.5 and spans[-1][1] == 3.2
        assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
        times = [time for start, stop in reader.pieces() for time, _ in reader.iter_frames(start, stop)]
    assert times == pytest.approx(whole) and len(times) == 120


def test_only_keyframes_are_decoded_of_a_sampled_span(flashes):
    with StreamReader(str(flashes)) as reader:
        found = list(reader.iter_sampled(1.0, 3.0))
    times = sorted(time for time, _ in found)
    assert times == pytest.approx([k / 30 for k in range(30, 90)])
    # one each half second
    assert sorted(time for time, frame in found if frame is not None) == pytest.approx([1.0, 1.5, 2.0, 2.5])


def test_audio_frames_and_packets_of_a_span(flashes):
    with StreamReader(str(flashes)) as reader:
        frames = list(reader.iter_audio(1.0, 2.0))
        packets = [time for time, _ in reader.iter_audio_packets(1.0, 2.0)]
        early = [time for time, _ in reader.iter_audio_packets(1.0, 2.0, lead=0.1)]
    assert {(frame.sample_rate, frame.layout.name) for _, frame in frames} == {(44100, 'stereo')}
    assert frames[0][0] <= 1.0 < frames[1][0] and frames[-1][0] < 2.0 < frames[-1][0] + 1025 / 44100
    assert 1.0 <= packets[0] < packets[-1] < 2.0
    assert 0.9 <= early[0] < 0.93 and early[-len(packets) :] == packets


def test_absent_tracks(silent, blind):
    with StreamReader(str(blind)) as reader:
        for read in (reader.iter_frames, reader.iter_sampled):
            with pytest.raises(MediaError, match='has no video track'):
                next(read(0.0, 1.0))
        assert reader.pixel_ratio == 1.0
    with StreamReader(str(silent)) as reader:
        for read in (reader.iter_audio, reader.iter_audio_packets):
            with pytest.raises(MediaError, match='has no audio track'):
                next(read(0.0, 1.0))
