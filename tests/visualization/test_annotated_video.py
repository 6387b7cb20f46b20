"""Copies show what is drawn at the times of their source, beside its sound, and are there whole or not at all."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media, streaming
from mmav.errors import MediaError
from mmav.outputs import RECORD
from mmav.visualization.annotated_video import write_annotated_video
from tests import clips

# Name of the film and the sound's codec in an mp4 copy.
FILMS = {
    'h264.mp4': 'aac',
    'uneven.mkv': 'aac',
    'aac_22k.ts': 'aac',
    'mpeg4.avi': 'aac',
    'vorbis.mkv': 'aac',
    'mp3.ts': 'mp3',
    'opus.mp4': 'opus',
    'ac3.mp4': 'ac3',
    'late_sound.mkv': 'aac',
    'late_picture.mp4': 'aac',
    'cut_at_1.26_open_groups.mp4': 'aac',
    'sound_before_picture.mkv': 'aac',
}


def same(frame, seconds):
    return frame


def read(path):
    """Frames, their times, sound at 16 kHz and its codec; the last two are None where there is no sound."""
    frames, times = clips.displayed(path)
    with open_media(str(path)) as reader:
        end = reader.fetch(0, reader.info.duration)[1]
        wave = reader.read_audio(0, end, 16000) if reader.info.has_audio else None
    with av.open(str(path)) as container:
        codec = container.streams.audio[0].codec.canonical_name if container.streams.audio else None
    return frames, times, wave, codec


def check_clicks(wave, events):
    assert events
    for event in events:
        begin = max(0, round((event - 0.3) * 16000))
        click = clips.onset(wave[begin : begin + 9600], 16000) + begin / 16000
        assert click == pytest.approx(event, abs=0.018)


@pytest.mark.parametrize('name', FILMS)
def test_frames_and_sound_keep_their_times(film, tmp_path, name):
    truth = film(name)
    seen = []
    write_annotated_video(truth.path, tmp_path / 'out.mp4', lambda frame, t: seen.append(t) or frame, min_side=0)
    frames, times, wave, codec = read(tmp_path / 'out.mp4')
    # Where the sound begins first, the first picture stands until it is its time.
    stands = truth.times[0] > 0.5
    shown = np.concatenate([[0.0], truth.times]) if stands else truth.times
    numbers = np.concatenate([truth.numbers[:1], truth.numbers]) if stands else truth.numbers
    np.testing.assert_array_equal(clips.frame_numbers(frames), numbers)
    np.testing.assert_allclose(times, shown, atol=0.002)
    np.testing.assert_allclose(seen, shown, atol=0.002)
    check_clicks(wave, truth.clicks)
    assert codec == FILMS[name]


@pytest.mark.parametrize(('name', 'suffix'), [('h264.mp4', 'mkv'), ('vorbis.mkv', 'mkv'), ('mjpeg.mov', 'mov')])
def test_other_containers(film, tmp_path, name, suffix):
    truth, out = film(name), tmp_path / f'out.{suffix}'
    write_annotated_video(truth.path, out, same, min_side=0)
    frames, times, wave, codec = read(out)
    np.testing.assert_array_equal(clips.frame_numbers(frames), truth.numbers)
    np.testing.assert_allclose(times, truth.times, atol=0.002)
    check_clicks(wave, truth.clicks)
    assert codec == dict(h264='aac', vorbis='vorbis', mjpeg='pcm_s16le')[name.split('.')[0]]


# 1.0 s is the time of a frame, 1.68 s lies between two.
@pytest.mark.parametrize(('name', 'start'), [('h264.mp4', 1.68), ('second_sound.mkv', 1.0), ('mpeg4.avi', 1.68)])
def test_part(film, tmp_path, name, start):
    truth, end = film(name), 3.7
    seen = []
    out = tmp_path / 'out.mp4'
    write_annotated_video(truth.path, out, lambda frame, t: seen.append(t) or frame, start=start, end=end, min_side=0)
    frames, times, wave, _ = read(out)
    first, last = (np.searchsorted(truth.times, second + 1e-3) for second in (start, end))
    # the one that is shown at the start, and those that follow
    np.testing.assert_array_equal(clips.frame_numbers(frames), truth.numbers[first - 1 : last])
    np.testing.assert_allclose(seen, [start, *truth.times[first:last]], atol=0.002)
    np.testing.assert_allclose(times, np.array(seen) - start, atol=0.002)
    check_clicks(wave, [event - start for event in truth.clicks if event > start])
    with av.open(str(out)) as container:
        assert container.duration / av.time_base == pytest.approx(end - start, abs=0.03)


def test_sound_is_copied_byte_for_byte_over_pieces(flashes, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, 'PIECE', 0.7)
    write_annotated_video(flashes, tmp_path / 'out.mp4', same)
    packets = []
    for path in (flashes, tmp_path / 'out.mp4'):
        with av.open(str(path)) as container:
            packets.append([(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_duration_of_the_last_frame(make_clip, tmp_path):
    source = make_clip('slides.mp4', times=np.array([0.0, 0.1, 0.2, 1.0]), audio=None)
    write_annotated_video(source, tmp_path / 'out.mp4', same)
    with open_media(str(source)) as one, open_media(str(tmp_path / 'out.mp4')) as other:
        # the header does not count the last frame
        assert other.info.duration == pytest.approx(one.fetch(0, 2)[1], abs=0.002)


def test_what_is_drawn_is_seen_in_its_colours(clip, tmp_path):
    def draw(frame, seconds):
        frame[:, : frame.shape[1] // 2] = (200, 40, 40) if seconds < 1 else (40, 40, 200)
        return frame

    write_annotated_video(clip, tmp_path / 'out.mp4', draw)
    frames, times, _, _ = read(tmp_path / 'out.mp4')
    shown = frames[:, 40:-40, 20:-180].mean(axis=(1, 2))
    np.testing.assert_allclose(shown[times < 1], [(200, 40, 40)] * 12, atol=6)
    np.testing.assert_allclose(shown[times >= 1], [(40, 40, 200)] * 12, atol=6)


@pytest.mark.parametrize(('quarters', 'size'), [(1, (100, 64)), (2, (64, 100))])
def test_rotated_odd_clip_is_upright_and_even(make_clip, tmp_path, quarters, size):
    # bright on the right as stored
    source = make_clip(f'odd_turned_{quarters}.mp4', size=(63, 99), pixels='yuv444p')
    clips.rotate_by_metadata(source, quarters)
    seen = []
    write_annotated_video(source, tmp_path / 'out.mp4', lambda f, t: seen.append(f.copy()) or f, min_side=0)
    frames, _, _, _ = read(tmp_path / 'out.mp4')
    assert frames.shape[1:3] == seen[0].shape[:2] == size
    assert np.abs(frames[0].astype(int) - seen[0]).mean() < 3
    along = frames[0].mean(axis=(1, 2) if quarters == 1 else (0, 2))
    # clockwise: what was on the right is below; turned twice: on the left
    assert (along[-1] - along[0]) * (1 if quarters == 1 else -1) > 20
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize(
    ('options', 'size'), [(dict(), (240, 320)), (dict(min_side=0), (48, 64)), (dict(max_side=32), (24, 32))]
)
def test_sizes(clip, tmp_path, options, size):
    write_annotated_video(clip, tmp_path / 'new' / 'out.mp4', same, end=0.2, **options)
    assert read(tmp_path / 'new' / 'out.mp4')[0].shape[1:3] == size


def test_oblong_pixels_become_square(tmp_path):
    with av.open(str(tmp_path / 'pal.mkv'), 'w') as container:
        stream = container.add_stream('libx264', rate=10, width=180, height=144, pix_fmt='yuv420p')
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        frame = av.VideoFrame.from_ndarray(np.zeros((144, 180, 3), np.uint8), format='rgb24')
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_annotated_video(tmp_path / 'pal.mkv', tmp_path / 'out.mp4', same, min_side=0)
    assert read(tmp_path / 'out.mp4')[0].shape[1:3] == (144, 262)


def test_silent_clip_stays_silent(silent, tmp_path):
    write_annotated_video(silent, tmp_path / 'out.mp4', same, progress=True)
    frames, _, wave, _ = read(tmp_path / 'out.mp4')
    assert len(frames) == 24 and wave is None


def test_sound_gets_a_picture(blind, tmp_path):
    seen = []
    write_annotated_video(blind, tmp_path / 'out.mp4', lambda f, t: seen.append((t, f.copy())) or f, canvas_fps=10)
    frames, times, wave, codec = read(tmp_path / 'out.mp4')
    with open_media(str(blind)) as reader:
        length, click = reader.info.duration, clips.onset(reader.read_audio(0, 2, 16000), 16000)
    expected = np.arange(np.ceil(length * 10)) / 10
    np.testing.assert_allclose([t for t, _ in seen], expected)
    np.testing.assert_allclose(times, expected, atol=1e-3)
    assert np.abs(frames[5].astype(int) - seen[5][1]).mean() < 4
    assert (seen[5][1] != seen[6][1]).any()
    assert codec == 'aac' and clips.onset(wave, 16000) == pytest.approx(click, abs=0.002)


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize('error', [Stop, RuntimeError])
def test_whole_or_not_at_all(clip, tmp_path, error):
    out = tmp_path / 'out.mp4'
    write_annotated_video(clip, out, lambda frame, seconds: frame)
    before = out.read_bytes()

    def draw(frame, seconds):
        if seconds > 0.5:
            raise error
        return frame

    with pytest.raises(error):
        write_annotated_video(clip, out, draw)
    assert {path.name for path in tmp_path.iterdir()} == {'out.mp4', RECORD}
    assert out.read_bytes() == before


def test_wrong_frames_are_refused(clip, tmp_path):
    out = tmp_path / 'out.mp4'
    with pytest.raises(ValueError, match=r'must return a frame \(H, W, 3\) uint8, got NoneType'):
        write_annotated_video(clip, out, lambda frame, seconds: None)
    with pytest.raises(ValueError, match=r'uint8, got shape \(240, 320, 3\) of float64'):
        write_annotated_video(clip, out, lambda frame, seconds: frame / 255)
    with pytest.raises(ValueError, match=r'one size, got \(239, 320, 3\) after \(240, 320, 3\)'):
        write_annotated_video(clip, out, lambda frame, seconds: frame[int(seconds > 0.5) :])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(clip, broken, tmp_path):
    for name, source, out, message in (
        ('suffix', clip, tmp_path / 'out.gif', r"written as \.mp4, .*, not as '\.gif'"),
        ('folder', clip, tmp_path, 'not as|is a folder'),
        ('itself', clip, clip, 'is the source itself'),
        ('below a file', clip, clip / 'out.mp4', 'folder cannot be made'),
        ('long name', clip, tmp_path / f'{"a" * 300}.mp4', 'cannot be'),
        ('no source', broken['missing'], tmp_path / 'out.mp4', 'missing.mp4: no such file'),
        ('text', broken['text'], tmp_path / 'new' / 'out.mp4', 'cannot be opened'),
    ):
        with pytest.raises(MediaError, match=message):
            write_annotated_video(source, out, same)
        assert not list(tmp_path.iterdir()), name
    with pytest.raises(MediaError, match='starts at 7 s, but the file ends at 2 s'):
        write_annotated_video(clip, tmp_path / 'out.mp4', same, start=7)
    with pytest.raises(ValueError, match='start=1 and end=1 are no part'):
        write_annotated_video(clip, tmp_path / 'out.mp4', same, start=1, end=1)
    with pytest.raises(ValueError, match='max_side=1 must be'):
        write_annotated_video(clip, tmp_path / 'out.mp4', same, max_side=1)
    assert not list(tmp_path.iterdir())
