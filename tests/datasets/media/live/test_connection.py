import os
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media import Limits
from mmav.datasets.media.live import connection
from mmav.errors import MediaError
from tests.datasets.media.live.test_reader import FILMS, read


def test_only_what_the_model_reads_is_decoded(make_clip):
    path = make_clip('live_pcm.mkv', **FILMS['pcm.mkv'])
    (first, *_) = read(path, modalities=('audio',))
    assert first.reader.info.has_audio and not first.reader.info.has_video
    with pytest.raises(MediaError, match='holds no audio'):
        read(make_clip('live_silent.mp4', **FILMS['silent.mp4']), modalities=('audio',))


def test_a_clock_that_jumps_begins_anew(tmp_path):
    path = tmp_path / 'jump.ts'
    parts = []
    for first in (0, 1000):
        part = tmp_path / f'{first}.ts'
        with av.open(str(part), 'w') as container:
            stream = container.add_stream('mpeg2video', rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            stream.codec_context.gop_size = 200  # its first frame is its only keyframe
            for k in range(50):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * k, np.uint8), format='rgb24')
                frame.pts, frame.time_base = k + 25 * first, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.open('wb').write(b''.join(parts)))
    thread.start()
    found = read(str(path))
    thread.join()
    jump = next(taken for taken in found if taken.gap)
    assert 'its clock went from' in jump.gap['reason'] and jump.offset >= 1.8 and jump.start == 0.0


def test_a_clock_is_set_without_a_modality_that_does_not_come(make_clip, monkeypatch):
    """Windows begin with the sound if the picture is later than it is waited for."""
    path = make_clip('live_late_picture.mkv', seconds=4.0, video_start=3.0, audio='pcm_s16le')
    monkeypatch.setattr(connection, 'HEAD', 0.3)
    (first, *_) = read(path, pace=True, number=1)
    assert (first.start, first.end) == (0.0, 1.0) and not first.reader.info.has_video


def test_frames_above_the_limits_are_refused(clip):
    with pytest.raises(MediaError, match='64 x 48 pixels, more than the 1,000 allowed'):
        read(clip, limits=Limits(pixels=1000))
    with pytest.raises(MediaError, match='pixels held at once'):
        read(clip, limits=Limits(clip_pixels=64 * 48 * 5))
