"""Two files read like one that holds both."""

from __future__ import annotations

import shutil

import av
import numpy as np
import pytest
from PIL import Image

from mmav.datasets.media import PairPath, PairReader, open_media, open_stream
from mmav.datasets.media.probe import probe
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.datasets.transforms import LoadClip
from mmav.errors import MediaError, MissingMediaError
from tests import clips


def load(path, seed=0, **options):
    span = {name: options.pop(name, None) for name in ('start', 'end')}
    clip = dict(path=path, **span, modalities=('video', 'audio'), rng=np.random.default_rng(seed), broken=None)
    return LoadClip(**{**dict(num_frames=4, short_side=24), **options}).transform(clip)


def assert_same(one, other):
    assert one['masks'] == other['masks'] and (one['start'], one['end']) == (other['start'], other['end'])
    for name in ('video', 'audio'):
        np.testing.assert_array_equal(one[name][0], other[name][0])


@pytest.fixture(scope='module')
def sound(make_clip):
    """3 s of audio, with a click at 0.5 s."""
    return make_clip('sound.wav', video=None, audio='pcm_s16le', seconds=3.0, events=(0.5,))


@pytest.fixture(scope='module')
def frames(tmp_path_factory, clip):
    """The frames of the clip, 2 s at 12 fps, as images."""
    folder = tmp_path_factory.mktemp('frames')
    with av.open(str(clip)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            Image.fromarray(frame.to_ndarray(format='rgb24')).save(folder / f'f_{k + 1}.png')
    return folder


@pytest.mark.parametrize('options', [{}, dict(window=0.7), dict(start=0.4, end=1.6), dict(mode='uniform', num_views=2)])
def test_the_tracks_of_one_file_apart_are_that_file(film, options):
    path = str(film('flac.mp4').path)  # AAC's noise depends on what was decoded before
    for seed in range(3):
        assert_same(load(PairPath(path, path), seed, **options), load(path, seed, **options))


def test_files_of_different_length_are_as_long_as_the_longer(silent, sound, flashes):
    pair = load(PairPath(str(silent), str(sound)), mode='uniform')
    assert (pair['start'], pair['end']) == (0.0, 3.0) and pair['audio'][0].shape == (48000,)
    # The last frame is held.
    np.testing.assert_array_equal(
        pair['video'][0][-1], load(str(silent), mode='uniform', num_frames=99)['video'][0][-1]
    )
    later = load(PairPath(str(silent), str(sound)), start=2.5)
    assert later['masks'] == dict(video=True, audio=True) and later['video'][0].shape[0] == 4
    # The other way round audio ends in silence, or is absent.
    short = PairPath(str(flashes), str(sound))
    assert clips.onset(load(short)['audio'][0], 16000) == pytest.approx(0.5, abs=0.01)
    assert not load(short)['audio'][0][49000:].any()
    assert load(short, start=3.2)['masks'] == dict(video=True, audio=False)


def test_an_empty_cell_is_an_absent_modality(clip, sound):
    alone = load(PairPath(str(clip), ''))
    assert alone['masks'] == dict(video=True, audio=False)  # though the file has a track
    np.testing.assert_array_equal(alone['video'][0], load(str(clip))['video'][0])
    assert load(PairPath('', str(sound)))['masks'] == dict(video=False, audio=True)


def test_frames_beside_sound(frames, sound, clip):
    pair = load(PairPath(str(frames), str(sound), fps=12.0), mode='uniform', num_frames=9)
    assert pair['end'] == 3.0 and pair['masks'] == dict(video=True, audio=True)
    whole = load(PairPath(str(clip), str(sound)), mode='uniform', num_frames=9)
    np.testing.assert_allclose(pair['frame_times'], whole['frame_times'], atol=1e-3)
    # PyAV scales from YUV, the folder from RGB.
    assert np.abs(pair['video'][0].astype(int) - whole['video'][0]).mean() < 2


def test_arrays_beside_files(tmp_path, clip):
    np.save(tmp_path / 'wave.npy', np.full(8000, 0.5, np.float32))
    pair = load(PairPath(str(clip), str(tmp_path / 'wave.npy'), sample_rate=8000.0))
    assert pair['masks'] == dict(video=True, audio=True) and pair['audio'][0][8000] == pytest.approx(0.5, abs=0.01)


def test_one_missing_or_wrong_file_breaks_the_clip(tmp_path, clip, silent, sound, broken):
    for pair, kind, message in (
        (PairPath(str(clip), 'none.wav'), MissingMediaError, 'none.wav: no such file'),
        (PairPath('none.mp4', str(sound)), MissingMediaError, 'none.mp4: no such file'),
        (PairPath(str(clip), str(broken['text'])), MediaError, 'text.mp4: cannot be opened as audio or video'),
        (PairPath(str(sound), str(sound)), MediaError, 'sound.wav: holds no video track'),
        (PairPath(str(clip), str(silent)), MediaError, 'silent.mp4: holds no audio track'),
        (PairPath(str(tmp_path), str(sound), fps=1.0), MediaError, 'the folder has no images'),
    ):
        with pytest.raises(kind, match=message):
            load(pair)


def test_damage_of_both_is_counted(tmp_path, flashes):
    data = flashes.read_bytes()
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :])
    found = [load(pair, num_frames=90)['damaged'] for pair in (PairPath(str(path), ''), PairPath('', str(path)))]
    both = PairPath(str(path), str(path))
    assert sum(found) > 0 and load(both, num_frames=90)['damaged'] == sum(found)
    assert probe(both).damaged == probe(str(path)).damaged > 0


def test_what_a_pair_holds_is_measured(frames, sound, silent, clip):
    result = probe(PairPath(str(silent), str(sound)))
    alone, heard = probe(str(silent)), probe(str(sound))
    assert result.error is None and (result.frames, result.fps) == (alone.frames, alone.fps)
    assert (result.duration, result.sound_end, result.peak_db) == (3.0, heard.sound_end, heard.peak_db)
    assert result.picture_end == pytest.approx(2.0, abs=0.1)
    images = probe(PairPath(str(frames), '', fps=12.0))
    assert (images.frames, images.has_audio, images.video_codec) == (24, False, 'images')
    assert images.fps == pytest.approx(12) and images.motion == pytest.approx(probe(str(clip)).motion, abs=3)
    assert probe(PairPath(str(frames), 'none.wav', fps=12.0)).failure == 'missing'


def test_a_pair_becomes_one_file(tmp_path, frames, sound):
    for k, pair in enumerate((PairPath(str(frames), str(sound), fps=12.0), PairPath('', str(sound)))):
        target = tmp_path / f'{k}.mp4'
        transcode(pair, str(target), TranscodeOptions(short_side=32))
        result = load(str(target), mode='uniform', num_frames=9, short_side=None)
        assert result['masks'] == dict(video=bool(pair.video), audio=True) and result['end'] == pytest.approx(
            3.0, abs=0.1
        )
        assert clips.onset(result['audio'][0], 16000) == pytest.approx(0.5, abs=0.02)


def test_backends_and_streams(clip, sound, tmp_path):
    shutil.copy(clip, tmp_path / 'a.mp4')
    pair = PairPath(str(tmp_path / 'a.mp4'), str(sound))
    for opened in (open_media(pair, backend='decord'), open_stream(pair)):
        with opened as reader:
            assert isinstance(reader, PairReader) and reader.info.path == pair
            assert reader.read_frames([0.5], short_side=16)[0].shape == (1, 16, 21, 3)
            with pytest.raises(MediaError, match='has no audio track'):
                PairReader(PairPath(pair.video, ''), lambda *file: open_media(file[0])).read_audio(0, 1, 16000)
