"""What is taken from the buffer, without any file: frames at 10 fps and audio in tenths of a second."""

import math
import threading
import time

import pytest

from mmav.datasets.media.live import buffer as live_buffer
from mmav.datasets.media.live.buffer import LiveBuffer
from mmav.errors import MediaError
from tests.datasets.media.live.test_window import heard, seen


def make(*, window=1.0, stride=0.5, skip=True, pixels=10**6, **options):
    return LiveBuffer('cam', window, stride, skip=skip, pixels=pixels, **dict(patience=1.0, timeout=0.2, **options))


def fill(buffer, segment, span, *, video=True, audio=True, now=0.0):
    for k in span:
        if video:
            segment.clock = (0.1, 0.0)
            buffer.add_frame(segment, seen(k)._replace(arrival=now + k / 10))
        if audio:
            buffer.add_audio(segment, heard(k)._replace(arrival=now + k / 10))


def both(buffer):
    segment = buffer.open(['video', 'audio'], 0.0, None)
    segment.arrived = dict.fromkeys(segment.arrived, 0.0)
    return segment


def spans(buffer):
    found = []
    while (taken := buffer.take()) is not None:
        found.append((taken.start, taken.end))
    return found


def test_windows_overlap_and_the_last_ends_with_the_stream():
    buffer = make(skip=False)
    fill(buffer, both(buffer), range(23))
    buffer.finish()
    assert spans(buffer) == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (pytest.approx(1.3), pytest.approx(2.3))]


def test_a_stream_shorter_than_a_window_is_one():
    buffer = make(skip=False)
    fill(buffer, both(buffer), range(4))
    buffer.finish()
    assert spans(buffer) == [(0.0, pytest.approx(0.4))]


def test_the_newest_window_wins_and_what_was_left_out_is_counted():
    buffer = make(stride=1.0)
    segment = both(buffer)
    fill(buffer, segment, range(12))
    assert (first := buffer.take()).skipped == 0 and (first.start, first.end) == (0.0, 1.0)
    fill(buffer, segment, range(12, 58))
    taken = buffer.take()
    assert (taken.start, taken.skipped) == (4.0, 3) and taken.dropped == 30  # the frames of 1 s to 4 s
    assert taken.arrival == pytest.approx(4.9)
    # no more is held than a window, what the model may be late, and what the other track is waited for
    assert len(segment.video) <= 10 * (1 + 1 + 1 + live_buffer.SPARE) + 2


def test_frames_that_overlapping_windows_share_are_not_dropped():
    buffer = make(window=2.0)
    segment = both(buffer)
    fill(buffer, segment, range(21))
    buffer.take()
    fill(buffer, segment, range(21, 36))
    taken = buffer.take()
    assert (taken.start, taken.skipped, taken.dropped) == (1.5, 2, 0)


def test_a_late_modality_is_waited_for_and_then_left_out():
    buffer = make()
    segment = both(buffer)
    fill(buffer, segment, range(11))
    assert buffer.take().late == ()
    fill(buffer, segment, range(11, 21), audio=False)  # the microphone is silent, for less than patience
    assert buffer._choose(segment) is None
    fill(buffer, segment, range(21, 32), audio=False)
    taken = buffer.take()
    assert taken.late == ('audio',) and taken.start == 2.0
    assert taken.reader.read_audio(taken.start, taken.end, 16000) is None
    fill(buffer, segment, range(32, 45), video=False)
    fill(buffer, segment, range(45, 60), video=False)
    frozen = buffer.take()
    assert frozen.late == ('video',) and not frozen.reader.info.has_video and frozen.reader.info.has_audio


def test_a_gap_lies_between_windows_and_never_in_one():
    buffer = make(skip=False)
    first = both(buffer)
    fill(buffer, first, range(15))
    buffer.close(first)
    second = buffer.open(['video', 'audio'], 9.0, dict(start=1.5, end=9.0, reason='broke'))
    fill(buffer, second, range(11))
    buffer.finish()
    found = [buffer.take() for _ in range(3)]
    assert [(each.offset + each.start, each.offset + each.end) for each in found] == [(0, 1), (0.5, 1.5), (9, 10)]
    assert [each.gap for each in found] == [None, None, dict(start=1.5, end=9.0, reason='broke')]
    assert buffer.newest == pytest.approx(10.1)


def test_a_source_that_comes_and_goes_does_not_fill_the_memory():
    buffer = make()
    for k in range(20):
        segment = buffer.open(['video'], 2.0 * k, None)
        fill(buffer, segment, range(20), audio=False)
        buffer.close(segment)
    assert len(buffer._segments) == 2 and buffer._held == sum(len(each.video) for each in buffer._segments) * 24
    assert buffer.take().skipped == 18 * 2 + 1


def test_the_reader_waits_where_nothing_may_be_skipped():
    buffer = make(skip=False)
    segment = both(buffer)
    fill(buffer, segment, range(40))
    stopped = threading.Event()
    thread = threading.Thread(target=buffer.wait_for_room, args=(segment, stopped.is_set))
    thread.start()
    for _ in range(5):
        assert thread.is_alive()
        buffer.take()
    thread.join(timeout=10)
    assert not thread.is_alive()
    buffer.wait_for_room(segment, lambda: True)


def test_frames_that_do_not_fit_are_refused():
    buffer = make(pixels=24 * 10)
    segment = both(buffer)
    with pytest.raises(
        MediaError, match='11 frames of 6 x 4 pixels are more than the 240 pixels held at once: give a sh'
    ):
        fill(buffer, segment, range(12))


def test_errors_come_after_the_windows_that_are_there():
    buffer = make(skip=False)
    fill(buffer, both(buffer), range(10))
    buffer.finish(MediaError('cam', 'unplugged'))
    assert buffer.take().end == pytest.approx(1.0)
    with pytest.raises(MediaError, match='cam: unplugged'):
        buffer.take()


def test_silence_is_noticed():
    buffer = make()
    buffer._touched = time.monotonic() - math.inf
    with pytest.raises(MediaError, match=r'cam: gave nothing for 0\.2 s'):
        buffer.take()
