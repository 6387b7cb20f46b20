"""Pictures are compared with a plain decoding of all frames, in order, by FFmpeg (through ``container.decode``)."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import READERS, MediaReader, open_media
from mmav.errors import MediaError
from tests import clips
from tests.conftest import EVENTS
from tests.held import nothing_held
from tests.torchcodec_here import missing_torchcodec

CONTAINERS = {
    'mp4': dict(),
    'short_groups.mp4': dict(keyframes=6),
    'intra.mp4': dict(keyframes=1),
    'hevc.mkv': dict(video='libx265'),
    'vp9.webm': dict(video='libvpx-vp9', audio='libopus', sample_rate=48000),
    'vp8.webm': dict(video='libvpx', audio='libopus', sample_rate=48000),
    'mpeg4.avi': dict(video='mpeg4', audio='pcm_s16le', b_frames=2),
    'stream.ts': dict(keyframes=10),
    'surround.mp4': dict(sample_rate=48000, channels=6),
    'uneven.mp4': dict(times=np.cumsum(np.random.default_rng(3).uniform(0.02, 0.25, 20))),
}


@pytest.mark.parametrize('name', CONTAINERS)
def test_nearest_frames_by_time(make_clip, name):
    path = make_clip(f'containers_{name}' if '.' in name else f'containers.{name}', events=(0.5,), **CONTAINERS[name])
    shown, shown_times = clips.displayed(path)
    wanted = np.random.default_rng(0).uniform(0, 2, 12)
    with open_media(str(path)) as reader:
        frames, times = reader.read_frames(wanted)
    nearest = [int(np.argmin(np.abs(shown_times - time))) for time in wanted]
    np.testing.assert_allclose(times, shown_times[nearest], atol=1e-6)
    np.testing.assert_array_equal(frames, shown[nearest])


@pytest.mark.parametrize('name', [name for name in CONTAINERS if name != 'uneven.mp4'])
def test_click_sounds_with_the_flash(make_clip, name):
    path = make_clip(f'containers_{name}' if '.' in name else f'containers.{name}', events=(0.5,), **CONTAINERS[name])
    with open_media(str(path)) as reader:
        _, end = reader.fetch(0, reader.info.duration)
        flash = clips.flash_times(reader, end)
        click = clips.onset(reader.read_audio(0, end, 16000), 16000)
    assert len(flash) == 1
    assert click == pytest.approx(flash[0], abs=0.002)


def test_a_late_span_equals_the_same_part_of_the_whole(flashes):
    with open_media(str(flashes)) as reader:
        whole, _ = reader.read_frames(np.arange(2.0, 3.0, 0.1))
    with open_media(str(flashes)) as reader:
        assert reader.fetch(2.0, 3.0) == (2.0, 3.0)
        # The decoder starts at a keyframe shortly before the span, not at the start of the file.
        assert len(reader._packets.of(reader.video_stream)) < 60
        late, _ = reader.read_frames(np.arange(2.0, 3.0, 0.1))
        click = clips.onset(reader.read_audio(2.0, 3.0, 16000), 16000)
    np.testing.assert_array_equal(late, whole)
    assert click == pytest.approx(EVENTS[1] - 2.0, abs=0.001)


def test_sound_of_a_late_span_is_whole_from_its_first_sample(flashes):
    begin = EVENTS[1] + 0.005
    with open_media(str(flashes)) as reader:
        whole = reader.read_audio(0.0, 4.0, 16000)
    with open_media(str(flashes)) as reader:
        late = reader.read_audio(begin, begin + 0.1, 16000)
    expected = whole[round(begin * 16000) :][: len(late)]
    # Resampling starts at another phase: up to half a sample apart.
    assert np.corrcoef(late[:300], expected[:300])[0, 1] > 0.95


def test_times_may_repeat_come_in_any_order_and_lie_outside(clip):
    shown, shown_times = clips.displayed(clip)
    with open_media(str(clip)) as reader:
        frames, times = reader.read_frames([1.0, 0.0, 1.0, -3.0, 99.0])
    np.testing.assert_allclose(times, [1.0, 0.0, 1.0, 0.0, shown_times[-1]], atol=1e-6)
    np.testing.assert_array_equal(frames[[0, 2, 4]], shown[[12, 12, -1]])


def test_late_sound_is_padded_in_front(make_clip):
    path = make_clip('late_sound.mp4', seconds=3.0, events=(0.5, 2.0), audio_start=1.0)
    with open_media(str(path)) as reader:
        wave = reader.read_audio(0.0, 3.0, 16000)
    assert wave.shape == (48000,)
    assert not wave[:14900].any()
    assert clips.onset(wave, 16000) == pytest.approx(2.0, abs=0.001)


def test_sound_that_ends_early_is_padded_behind(make_clip):
    path = make_clip('short_sound.mp4', audio_seconds=1.0, events=(0.5,))
    with open_media(str(path)) as reader:
        wave = reader.read_audio(0.0, 2.0, 16000)
        assert reader.read_audio(1.5, 2.0, 16000) is None
    assert wave.shape == (32000,)
    assert wave[:16000].any() and not wave[17500:].any()


def test_absent_tracks(silent, blind):
    with open_media(str(silent)) as reader:
        assert (reader.info.has_video, reader.info.has_audio) == (True, False)
        with pytest.raises(MediaError, match='has no audio track'):
            reader.read_audio(0, 1, 16000)
    with open_media(str(blind)) as reader:
        assert (reader.info.has_video, reader.info.has_audio) == (False, True)
        assert reader.info.duration == pytest.approx(2.0, abs=0.07)
        assert clips.onset(reader.read_audio(0, 2, 16000), 16000) == pytest.approx(0.5, abs=0.001)
        with pytest.raises(MediaError, match='has no video track'):
            reader.read_frames([0.0])


def test_info(flashes):
    with open_media(str(flashes)) as reader:
        info = reader.info
    assert (info.height, info.width, info.sample_rate) == (48, 64, 44100)
    assert (info.duration, info.fps) == (pytest.approx(4.0, abs=1e-3), pytest.approx(30))


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('missing', 'no such file'),
        ('empty', r'is an empty file \(0 bytes\)'),
        ('text', 'cannot be opened as audio or video: Invalid data'),
        ('cut_off', 'cannot be opened as audio or video: Invalid data'),
        ('folder', 'is a folder, not a file'),
    ],
)
def test_broken_files(broken, kind, reason):
    with pytest.raises(MediaError, match=reason) as caught:
        open_media(str(broken[kind]))
    assert caught.value.path == str(broken[kind])


def test_a_file_without_a_single_frame(tmp_path):
    path = clips.make_clip(tmp_path / 'nothing.mp4', seconds=0.2, audio=None)
    data = path.read_bytes()
    # The header, then nothing of what it promises.
    path.write_bytes(data[: data.index(b'mdat') - 4] + data[data.index(b'moov') - 4 :])
    with open_media(str(path)) as reader:
        start, end = reader.fetch(0, reader.info.duration)
        with pytest.raises(MediaError, match='no frame'):
            reader.read_frames([0.0])
    assert end <= start + 0.2


def test_nothing_outlives_a_reading(clip):
    def read():
        with open_media(str(clip)) as reader:
            reader.read_frames([0.0, 1.0])
            reader.read_audio(0.0, 2.0, 16000)

    read()
    with nothing_held():
        read()


@pytest.mark.parametrize('backend', READERS)
def test_every_reader_has_the_interface(clip, backend):
    if backend == 'decord':
        pytest.importorskip('decord')
    if backend == 'torchcodec' and missing_torchcodec():
        pytest.skip(missing_torchcodec())
    with open_media(str(clip), backend=backend) as reader:
        assert isinstance(reader, MediaReader)
        assert (reader.info.has_video, reader.info.has_audio, reader.info.path) == (True, True, str(clip))
