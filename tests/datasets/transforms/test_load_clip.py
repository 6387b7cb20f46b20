from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import ArrayReader
from mmav.datasets.transforms import LoadClip, LogMel
from mmav.datasets.transforms.load_clip import choose_window, sample_times
from mmav.errors import AbsentError, ConfigError, MediaError
from tests import clips
from tests.conftest import EVENTS


def results(path, **more):
    defaults = dict(start=None, end=None, modalities=('video', 'audio'), broken=None, rng=np.random.default_rng(0))
    return dict(path=str(path), **{**defaults, **more})


def test_frames_and_sound_of_the_whole_clip(clip):
    out = LoadClip(num_frames=4, mode='uniform', short_side=24)(results(clip))
    assert [view.shape for view in out['video']] == [(4, 24, 32, 3)]
    assert [wave.shape for wave in out['audio']] == [(32000,)]
    assert out['video'][0].dtype == np.uint8 and out['audio'][0].dtype == np.float32
    assert out['masks'] == dict(video=True, audio=True)
    assert (out['start'], out['end']) == (0.0, pytest.approx(2.0))
    np.testing.assert_allclose(out['frame_times'], [[0.25, 0.75, 1.25, 1.75]], atol=1e-6)


def test_flash_and_click_stay_together_in_every_window(flashes):
    load = LoadClip(num_frames=90, mode='random', window=1.5)
    for seed in range(8):
        out = load(results(flashes, rng=np.random.default_rng(seed), start=0.2, end=3.9))
        assert out['start'] >= 0.2 and out['end'] <= 3.9 + 1e-9
        assert out['end'] - out['start'] == pytest.approx(1.5)
        assert out['audio'][0].shape == (24000,)
        inside = [event - out['start'] for event in EVENTS if out['start'] + 0.1 < event < out['end'] - 0.2]
        if inside:
            wave = out['audio'][0][int(16000 * (inside[0] - 0.1)) :]
            click = clips.onset(wave, 16000) + int(16000 * (inside[0] - 0.1)) / 16000
            bright = out['video'][0].mean(axis=(1, 2, 3)) > 200
            flash = next(t for t, lit in zip(out['frame_times'][0] - out['start'], bright, strict=True) if lit)
            assert click == pytest.approx(inside[0], abs=0.001)
            assert abs(flash - click) < 1 / 30 or bright[0]


def test_views(clip):
    out = LoadClip(num_frames=3, num_views=5, mode='uniform', frame_interval=0.1)(results(clip))
    assert len(out['video']) == 5 and len(out['audio']) == 1
    starts = out['frame_times'][:, 0]
    assert (np.diff(starts) > 0.3).all()


def test_views_of_the_same_window_are_read_once(clip, monkeypatch):
    load = LoadClip(num_frames=3, num_views=2, mode='random', frame_interval=0.1, same_window=True)
    out, alone = load(results(clip)), LoadClip(num_frames=3, mode='random', frame_interval=0.1)(results(clip))
    assert out['frame_times'].shape == (2, 3)
    for view, times in zip(out['video'], out['frame_times'], strict=True):
        np.testing.assert_array_equal(view, alone['video'][0])
        np.testing.assert_array_equal(times, alone['frame_times'][0])
    np.testing.assert_array_equal(out['audio'][0], alone['audio'][0])
    starts = [load(results(clip, rng=np.random.default_rng(seed)))['frame_times'][0, 0] for seed in range(4)]
    assert len(set(starts)) == 4
    # without it each view has its own window
    own = LoadClip(num_frames=3, num_views=2, mode='random', frame_interval=0.1)(results(clip))
    assert abs(own['frame_times'][0, 0] - own['frame_times'][1, 0]) > 0.1


@pytest.fixture
def lossless(tmp_path):
    """AAC's decoder draws noise, other each time it reads a place."""
    return clips.make_clip(tmp_path / 'lossless.mkv', seconds=4.0, events=EVENTS, audio='flac')


def test_windows_are_what_is_read_of_each_alone(lossless):
    """Several windows of frames and sound: as of spans from the clip's start to its end, one after another."""
    settings = dict(num_frames=3, num_views=2, mode='uniform', short_side=16)
    out = LoadClip(**settings, num_windows=3, window=1.5)(results(lossless, start=0.25))
    end = out['end']
    begins = np.linspace(0.25, end - 1.5, 3)
    alone = [LoadClip(**settings)(results(lossless, start=begin, end=begin + 1.5)) for begin in begins]
    assert len(out['video']) == 6 and len(out['audio']) == 3 and out['start'] == 0.25
    for name in ('video', 'audio', 'frame_times'):
        for one, other in zip(out[name], [view for each in alone for view in each[name]], strict=True):
            np.testing.assert_array_equal(one, other)
    assert out['masks'] == dict(video=True, audio=True)


def test_windows_of_a_short_clip_are_all_the_same(lossless):
    out = LoadClip(num_frames=2, mode='uniform', num_windows=3, window=5.0)(results(lossless))
    for name in ('video', 'audio'):
        assert len(out[name]) == 3
        for view in out[name]:
            np.testing.assert_array_equal(view, out[name][0])


def test_sound_that_ends_early_is_that_of_the_nearest_window(tmp_path):
    path = clips.make_clip(tmp_path / 'early.mp4', seconds=4.0, audio_seconds=2.5)
    load = LoadClip(num_frames=2, mode='uniform', num_windows=3, window=1.0)
    out = load(results(path))
    assert out['masks'] == dict(video=True, audio=True) and len(out['video']) == 3
    assert not np.array_equal(out['audio'][0], out['audio'][1])
    np.testing.assert_array_equal(out['audio'][2], out['audio'][1])


def test_absent_and_broken_have_as_many_views_as_other_clips(silent, blind, clip):
    load = LoadClip(num_frames=2, num_views=2, mode='uniform', num_windows=3, window=0.5, short_side=16)
    for each in (results(silent), results(blind), results(clip, broken='torn')):
        out = load(each)
        assert len(out['video']) == 6 and len(out['audio']) == 3


def test_windows_need_a_length_and_are_for_testing():
    for settings, message in (
        (dict(mode='uniform'), 'num_windows=2 with no length: give window in seconds'),
        (dict(mode='random', window=1.0), "num_windows=2 with mode='random': they are for testing"),
    ):
        with pytest.raises(ConfigError, match=message):
            LoadClip(num_windows=2, **settings)


def test_only_the_modalities_asked_for(clip):
    out = LoadClip(num_frames=2)(results(clip, modalities=('audio',)))
    assert 'video' not in out and set(out['masks']) == {'audio'}


def test_absent_tracks_are_masked(silent, blind):
    load = LoadClip(num_frames=2, short_side=16)
    out = load(results(silent))
    assert out['masks'] == dict(video=True, audio=False)
    assert not out['audio'][0].any()
    out = load(results(blind))
    assert out['masks'] == dict(video=False, audio=True)
    assert out['video'][0].shape == (2, 16, 16, 3) and not out['video'][0].any()


def test_a_clip_with_nothing_of_what_is_asked_for(silent, blind):
    load = LoadClip(num_frames=2)
    with pytest.raises(AbsentError, match='has no audio, and nothing else is requested'):
        load(results(silent, modalities=('audio',)))
    with pytest.raises(AbsentError, match='has no video, and nothing else is requested'):
        load(results(blind, modalities=('video',)))
    with pytest.raises(AbsentError, match='has no video, and'):
        load(results(blind, dropped=('audio',)))


def test_what_is_withheld_is_not_decoded(clip, monkeypatch):
    monkeypatch.setattr('mmav.datasets.media.PyAVReader.read_audio', None)
    for withheld in (dict(dropped=('audio',)), dict(dropout=('audio',))):
        out = LoadClip(num_frames=2)(results(clip, **withheld))
        assert out['masks'] == dict(video=True, audio=False) and not out['audio'][0].any()


def test_sound_that_ended_before_the_clip_is_absent(make_clip):
    path = make_clip('short_sound.mp4', audio_seconds=1.0, events=(0.5,))
    assert not LoadClip(num_frames=2)(results(path, start=1.5))['masks']['audio']


def test_broken_clips(broken):
    load = LoadClip(num_frames=2, num_views=2, short_side=16)
    with pytest.raises(MediaError, match='no such file'):
        load(results(broken['missing']))
    out = load(results(broken['missing'], broken='no such file'))
    assert out['masks'] == dict(video=False, audio=False)
    assert [view.shape for view in out['video']] == [(2, 16, 16, 3)] * 2


@pytest.mark.parametrize('backend', ['pyav', 'decord'])
def test_limits(clip, backend):
    if backend == 'decord':
        pytest.importorskip('decord')
    with pytest.raises(
        MediaError, match='have 64 x 48 pixels, more than the 3,000 allowed; raise pixels of the limits'
    ):
        LoadClip(limits=dict(pixels=3000), backend=backend)(results(clip))
    with pytest.raises(MediaError, match='16 frames of 64 x 48 pixels are more than the 40,000 pixels allowed at once'):
        LoadClip(limits=dict(clip_pixels=40000), backend=backend)(results(clip))
    with pytest.raises(TypeError, match='minutes'):
        LoadClip(limits=dict(minutes=3))


def test_a_span_behind_the_end_of_the_file(clip):
    with pytest.raises(MediaError, match='the clip starts at 7 s, but the file ends at 2 s'):
        LoadClip(num_frames=2)(results(clip, start=7.0, end=9.0))


def test_a_header_that_promises_more_than_there_is(make_clip, tmp_path):
    whole = make_clip('streamable.mkv', seconds=6.0, keyframes=12, events=(0.5,))
    path = tmp_path / 'cut_short.mkv'
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for seed in range(6):
        out = LoadClip(num_frames=4, window=1.0)(results(path, rng=np.random.default_rng(seed)))
        assert out['masks']['video']
        np.testing.assert_allclose(
            out['frame_times'], np.clip(out['frame_times'], out['start'] - 0.1, out['end'] + 0.1)
        )


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(mode='randm'), "mode 'randm' .* did you mean 'random'"),
        (dict(backend='decrod'), "did you mean 'decord'"),
        (dict(decode_device='cuda'), "decode_device='cuda' needs backend='torchcodec', not 'pyav'"),
        (dict(gpu_pixels=0), "gpu_pixels=0 has no effect without decode_device='cuda'"),
        (dict(num_frames=0), 'num_frames must be above 0, got 0'),
        (dict(window=-1.0), 'window must be above 0'),
        (dict(same_window=True, mode='uniform'), "same_window=True with mode='uniform' gives identical views"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        LoadClip(**wrong)


@pytest.mark.parametrize(('samples', 'present'), [(1, False), (10, False), (399, False), (400, True), (16000, True)])
def test_sound_is_present_from_one_frame_of_analysis_on(samples, present):
    frames = np.zeros((8, 12, 16, 3), np.uint8)
    # of silence, which is data
    wave = np.zeros(samples, np.float32)
    load, mel = LoadClip(num_frames=2, mode='uniform'), LogMel(target_frames=20)

    def read(**arrays):
        reader = ArrayReader(**arrays, audio=wave, sample_rate=16000, name='short')
        results = dict(path='short', start=None, end=None, modalities=('video', 'audio'), broken=None, rng=None)
        return mel.transform(load.transform(dict(results, reader=reader)))

    both = read(video=frames, fps=4)
    assert both['masks'] == dict(video=True, audio=present) and bool(np.any(both['audio'][0])) == present
    if present:
        assert read()['masks'] == dict(video=False, audio=True)
    else:
        with pytest.raises(AbsentError, match='short: has no video and no audio of 25 ms or more'):
            read()


def generator():
    return np.random.default_rng(0)


def test_window_in_the_middle_or_at_random():
    assert choose_window(2.0, 10.0, window=4.0) == (4.0, 8.0)
    assert choose_window(2.0, 10.0) == (2.0, 10.0)
    assert choose_window(2.0, 10.0, window=9.0, rng=generator()) == (2.0, 10.0)
    draw = generator()
    begins = [choose_window(2.0, 10.0, window=4.0, rng=draw)[0] for _ in range(200)]
    assert 2.0 <= min(begins) < 2.2 and 5.8 < max(begins) <= 6.0


def test_segments():
    np.testing.assert_allclose(sample_times(1.0, 5.0, 4), [[1.5, 2.5, 3.5, 4.5]])
    np.testing.assert_allclose(sample_times(0.0, 4.0, 2, num_views=2), [[0.5, 2.5], [1.5, 3.5]])
    random = sample_times(1.0, 5.0, 4, num_views=50, rng=generator())
    assert random.shape == (50, 4)
    assert (np.floor(random) == [1, 2, 3, 4]).all()
    assert random.std(axis=0).min() > 0.2


def test_fixed_interval():
    np.testing.assert_allclose(sample_times(0.0, 4.0, 4, frame_interval=0.5), [[1.0, 1.5, 2.0, 2.5]])
    starts = sample_times(0.0, 10.0, 4, num_views=5, frame_interval=0.5)[:, 0]
    np.testing.assert_allclose(starts, [0.0, 2.0, 4.0, 6.0, 8.0])
    random = sample_times(1.0, 5.0, 4, num_views=50, frame_interval=0.5, rng=generator())
    np.testing.assert_allclose(np.diff(random), 0.5)
    assert random.min() >= 1.0 and random.max() <= 5.0 and np.ptp(random[:, 0]) > 1.5


def test_a_window_shorter_than_the_view_repeats_its_end():
    np.testing.assert_allclose(sample_times(1.0, 2.0, 4, frame_interval=0.5), [[1.0, 1.5, 2.0, 2.0]])


@pytest.mark.parametrize('interval', [None, 0.1])
def test_the_same_draw_gives_the_same_times(interval):
    first, second = (sample_times(0, 9, 8, frame_interval=interval, rng=generator()) for _ in range(2))
    np.testing.assert_array_equal(first, second)
