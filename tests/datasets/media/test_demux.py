"""Packets read after a search carry the same dates as those of a reading from the start; damage ends nothing."""

from __future__ import annotations

import av
import pytest

from mmav.datasets.media.demux import DEMUX_ERRORS, Demuxer

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
    with av.open(str(path)) as container:
        main = container.streams.video[0]
        whole = list(Demuxer(container, [main]).read())
        begin = whole[0].pts
        target = begin + round(2.5 / main.time_base)
        demuxer = Demuxer(container, [main])
        late = list(demuxer.read_after(target))
        again = list(demuxer.read_from_start(begin))
    assert dates(late) <= dates(whole) and len(late) < len(whole)
    # A search may lead to a later keyframe than the wanted one (PacketSpan sees to that); nothing is lost behind it.
    first = next(packet for packet in late if packet.is_keyframe)
    assert dates(packet for packet in whole if packet.pts >= first.pts) <= dates(late)
    assert dates(again) == dates(whole)


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
    assert list(Demuxer(container, [stream]).read()) == []
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
    assert list(Demuxer(Container(), [stream]).read()) == [packets[0], packets[2]]
