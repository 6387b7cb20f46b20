"""Spans of packets: edit lists, wrong headers, searching; dated as if read from the start, past damage."""

from __future__ import annotations

import math
from contextlib import closing

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.opening import Watch
from mmav.datasets.media.packets import DEMUX_ERRORS, Demuxer, TrackEnd
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


FILES = {
    'mp4': dict(),
    'mkv': dict(),
    'ts': dict(clock=1.4),
    'avi': dict(video='mpeg4', audio='pcm_s16le', b_frames=2),
    'mpg': dict(video='mpeg2video', audio='mp2', sample_rate=48000, fps=25, clock=1.0),
}


@pytest.fixture(params=FILES)
def path(make_clip, request):
    options = dict(seconds=4.0, keyframes=12, **FILES[request.param])
    return make_clip(f'to_demux.{request.param}', **options)


def dates(packets):
    return {(packet.pts, packet.size) for packet in packets}


def test_the_same_dates_after_a_search(path):
    watch = Watch(str(path))
    with av.open(str(path)) as container:
        main = container.streams.video[0]
        whole = list(Demuxer(container, [main], watch).read())
        with closing(Demuxer(container, [main], watch)) as demuxer:
            late = list(demuxer.read_after(whole[0].pts + round(2.5 / main.time_base)))
            again = list(demuxer.read_from_start())
            later = list(demuxer.read_after(whole[0].pts + round(2.5 / main.time_base)))
    assert dates(late) <= dates(whole) and len(late) < len(whole)
    # A search may lead to a later keyframe than the wanted one (PacketSpan sees to that); nothing is lost behind it.
    first = next(packet for packet in late if packet.is_keyframe)
    assert dates(packet for packet in whole if packet.pts >= first.pts) <= dates(late)
    assert dates(again) == dates(whole) and dates(later) == dates(late)


def test_a_hopeless_file_ends(make_clip, monkeypatch):
    class Hopeless:
        format = type('Format', (), dict(name='mp4', flags=0))
        tries = 0

        def demux(self, streams):
            self.tries += 1
            yield from ()
            raise av.InvalidDataError(1, 'torn')

    container = Hopeless()
    stream = type('Stream', (), dict(index=0))()
    assert list(Demuxer(container, [stream], Watch('hopeless.mp4')).read()) == []
    assert container.tries == DEMUX_ERRORS + 1


def test_damaged_sound_is_passed_over_and_damaged_pictures_are_not():
    def packet(kind, corrupt):
        codec = type('Codec', (), dict(name='aac'))
        stream = type('Stream', (), dict(type=kind, index=0, codec_context=codec))()
        return type('Packet', (), dict(size=9, is_corrupt=corrupt, stream=stream))()

    packets = [packet('audio', False), packet('audio', True), packet('video', True)]

    class Container:
        format = type('Format', (), dict(name='mp4', flags=0))

        def demux(self, streams):
            yield from packets

    stream = type('Stream', (), dict(index=0))()
    assert list(Demuxer(Container(), [stream], Watch('damaged.mp4')).read()) == [packets[0], packets[2]]


@pytest.mark.parametrize(
    ('times', 'expected'),
    [
        ([], -math.inf),
        ([0.0, 0.1, 0.2], 0.3),
        ([0.2, 0.0, 0.1], 0.3),  # reordered
        ([0.0, 0.1, 86400.0, 0.2], 0.3),  # one that is wrong
        ([86400.0, 0.0, 0.1], 0.2),  # the first one
        ([0.0, 0.1, 86400.0, 86400.1], 86400.2),  # confirmed by the next
        ([0.0, 0.1, 86400.0, 200.0, 0.2], 0.3),  # two that do not agree
    ],
)
def test_end_of_a_track(times, expected):
    end = TrackEnd()
    for time in times:
        end.add(time, 0.1)
    assert end.seconds(0.0) == pytest.approx(expected)


def test_a_packet_that_does_not_say_how_long_it_lasts():
    end = TrackEnd()
    end.add(1.0, 0.0)
    assert end.seconds(0.25) == 1.25
