"""Files, pipes, servers and FFmpeg's own sources, read as live."""

import logging
import os
import threading
import time

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.live import LiveReader, LiveSource, connection, list_live
from mmav.datasets.media.live import reader as live_reader
from mmav.errors import MediaError

RATE = 16000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Opens what broke again at once, and plays files faster than they are."""
    monkeypatch.setattr(live_reader, 'FIRST_WAIT', 0.01)


def read(source, *, number=None, **options):
    """The windows of a source, and its reader, which has ended."""
    settings = dict(window=1.0, stride=0.5, skip=False, **{'timeout': 5.0, **options})
    reader = LiveReader(list_live(source) if not isinstance(source, list) else source, **settings)
    reader.start()
    try:
        found = []
        while (number is None or len(found) < number) and (taken := reader.take()) is not None:
            found.append(taken)
        return found
    finally:
        reader.close()
        assert not any(thread.is_alive() for thread in reader._threads)


FILMS = {
    'pcm.mkv': dict(seconds=3.0, fps=30, events=(0.5, 1.7), audio='pcm_s16le', keyframes=15),
    'wide.mkv': dict(seconds=3.0, fps=25, events=(0.5,), audio='flac', sample_rate=44100, channels=2, video_start=0.6),
    'late.ts': dict(seconds=3.0, fps=30, events=(0.5, 1.7), clock=60.0, keyframes=15),
    'voice.wav': dict(seconds=3.0, events=(0.5, 1.7), video=None, audio='pcm_s16le'),
    'silent.mp4': dict(seconds=3.0, fps=30, audio=None, numbered=True),
}


@pytest.mark.parametrize('name', FILMS)
def test_windows_are_those_of_the_file(make_clip, name):
    path = make_clip(f'live_{name}', **FILMS[name])
    windows = read(path, short_side=24)
    assert len(windows) >= 5
    with open_media(str(path)) as reader:
        for taken in windows:
            start, end = taken.start, min(taken.end, reader.info.duration)
            reader.fetch(start, end)
            if reader.info.has_video:
                times = start + (np.arange(7) + 0.5) * (end - start) / 7
                for one, other in zip(
                    taken.reader.read_frames(times), reader.read_frames(times, short_side=24), strict=True
                ):
                    assert np.array_equal(one, other)
            if reader.info.has_audio:
                one, other = (each.read_audio(start, end, RATE) for each in (taken.reader, reader))
                # a decoder that begins anew draws other noise
                assert np.abs(one - other).max() <= (5e-3 if name.endswith('.ts') else 0)


def test_paced_and_as_fast_as_possible_give_the_same(make_clip):
    path = make_clip('live_pcm.mkv', **FILMS['pcm.mkv'])
    begun = time.monotonic()
    paced = read(path, pace=True, number=3)
    assert time.monotonic() - begun > 1.5  # not before its frames are due
    for one, other in zip(paced, read(path, number=3), strict=True):
        assert (one.start, one.end, one.late, one.dropped) == (other.start, other.end, (), 0)
        assert np.array_equal(
            one.reader.read_audio(one.start, one.end, RATE), other.reader.read_audio(one.start, one.end, RATE)
        )
        times = np.linspace(one.start, one.end, 5)
        assert np.array_equal(one.reader.read_frames(times)[0], other.reader.read_frames(times)[0])
        assert time.monotonic() - one.arrival < 60


def test_a_pipe(make_clip, tmp_path):
    path = make_clip('live_late.ts', **FILMS['late.ts'])
    os.mkfifo(tmp_path / 'pipe')
    data = path.read_bytes()

    def write():
        with open(tmp_path / 'pipe', 'wb') as pipe:
            for k in range(0, len(data), 5000):
                pipe.write(data[k : k + 5000])

    thread = threading.Thread(target=write)
    thread.start()
    found = read(str(tmp_path / 'pipe'))
    thread.join()
    for one, other in zip(found, read(path), strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        times = np.linspace(one.start, one.end, 5)
        assert np.array_equal(one.reader.read_frames(times)[0], other.reader.read_frames(times)[0])


def test_a_server(server, make_clip):
    for name in ('live_late.ts', 'live_pcm.mkv'):
        path = make_clip(name, **FILMS[name.removeprefix('live_')])
        server.files[name] = path.read_bytes()
        expected = [(taken.start, taken.end) for taken in read(path)]
        for manner in ('well', 'slowly'):
            found = read(server.address(manner, name), pace=False)
            assert [(taken.start, taken.end) for taken in found] == [
                (pytest.approx(start), pytest.approx(end)) for start, end in expected
            ]
            assert all(taken.gap is None for taken in found)


def test_a_server_that_tells_no_end(server, make_clip):
    """Without a length an end cannot be told from a break."""
    server.files['endless.ts'] = make_clip('live_late.ts', **FILMS['late.ts']).read_bytes()
    assert len(read(server.address('unmeasured', 'endless.ts'), number=8, pace=False)) == 8
    with pytest.raises(MediaError, match='endless.ts: the stream broke'):
        read(server.address('unmeasured', 'endless.ts'), retries=0, pace=False)


def test_a_stream_that_breaks_is_opened_again_and_the_gap_is_told(server, make_clip, caplog):
    path = make_clip('live_late.ts', **FILMS['late.ts'])
    server.files['breaks.ts'] = path.read_bytes()
    logging.getLogger('mmengine').propagate = True
    address = server.address('cut', 'breaks.ts')
    found = read(address, number=4, pace=False)
    gaps = [taken.gap for taken in found]
    assert gaps[0] is None and (gap := next(filter(None, gaps)))['end'] >= gap['start'] > 0.5
    second = next(taken for taken in found if taken.gap)
    assert second.start == 0.0 and second.offset == pytest.approx(gap['end'], abs=1e-3)
    assert server.asked['breaks.ts'] >= 2


def test_a_stream_that_does_not_come_back(server, make_clip, monkeypatch):
    server.files['leaves.ts'] = make_clip('live_late.ts', **FILMS['late.ts']).read_bytes()
    open_live, calls = connection.open_live, []

    def refuse(source, **settings):
        calls.append(source)
        if len(calls) > 1:
            raise MediaError(source.name, 'cannot be opened: Connection refused')
        return open_live(source, **settings)

    monkeypatch.setattr(connection, 'open_live', refuse)
    with pytest.raises(MediaError, match='did not come back in 2 tries: cannot be opened: Connection refused'):
        read(server.address('cut', 'leaves.ts'), retries=2, pace=False)
    assert len(calls) == 3
    with pytest.raises(MediaError, match='cannot be opened: Connection refused'):  # never there: at once
        read(server.address('well', 'leaves.ts'), retries=50)


def test_a_server_that_falls_silent(server, make_clip):
    server.files['quiet.ts'] = make_clip('live_late.ts', **FILMS['late.ts']).read_bytes()
    with pytest.raises(MediaError, match=r'quiet\.ts: gave nothing for 0\.4 s'):
        read(server.address('silent', 'quiet.ts'), timeout=0.4, retries=0, pace=False)


def test_sources_with_a_clock_of_their_own():
    """As cameras are opened: by FFmpeg's devices, here the one that draws."""
    found = read('test:2')
    assert [(taken.start, taken.end) for taken in found[:3]] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert found[0].reader.info.has_video and found[0].reader.info.has_audio
    assert np.abs(found[1].reader.read_audio(0.5, 1.5, RATE)).max() > 0.05


def test_camera_and_microphone_are_two_sources():
    camera = LiveSource('camera:0', 'test', 'testsrc=size=64x48:rate=10:duration=2', 'lavfi', ('video',))
    microphone = LiveSource('microphone:a', 'test', 'sine=sample_rate=16000:duration=2', 'lavfi', ('audio',))
    found = read([camera, microphone], pace=True)
    assert [taken.start for taken in found[:2]] == [0.0, 0.5]
    for taken in found[:2]:
        assert taken.reader.read_frames([taken.start + 0.5])[1] == pytest.approx(taken.start + 0.5, abs=0.15)
        assert taken.reader.read_audio(taken.start, taken.end, RATE) is not None and taken.late == ()


def test_two_sources_by_the_clock_of_the_system():
    reader = LiveReader(list_live('test:') * 2, window=1.0, stride=1.0)
    now = time.time()
    zero = reader.shift(now, 100.0)
    assert reader.shift(now + 0.5, 107.0) == zero == pytest.approx(now, abs=5)
    assert reader.shift(3.0, 102.5) == pytest.approx(0.5)  # a clock that begins with the device: by arrival


def test_an_error_in_the_thread_is_told(clip, monkeypatch):
    monkeypatch.setattr(connection, 'upright', lambda *args: 1 / 0)
    with pytest.raises(MediaError, match='cannot be read: ZeroDivisionError'):
        read(clip)


def test_closing_it_early_ends_the_thread(clip):
    assert len(read('test:', number=2)) == 2
