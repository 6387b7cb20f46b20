import av
import numpy as np
import pytest

from benchmarks.clips import KEYFRAME_INTERVAL, bare_decode, build_collate, build_dataset, write_sample_clip
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError


def loaded(path, seed=0, **options):
    given = dict(path=str(path), start=None, end=None, modalities=('video', 'audio'), broken=None)
    return LoadClip(**options)(dict(given, rng=np.random.default_rng(seed)))


@pytest.mark.parametrize('options', [dict(num_frames=5), dict(num_frames=3, num_views=2, short_side=24)])
@pytest.mark.parametrize('name', ['clip', 'flashes'])
def test_the_same_frames_and_samples_as_load_clip(name, options, request):
    path = request.getfixturevalue(name)
    for seed in range(3):
        ours = loaded(path, seed, **options)
        frames, wave = bare_decode(
            str(path), ours['frame_times'], (ours['start'], ours['end']), short_side=options.get('short_side')
        )
        np.testing.assert_array_equal(frames, np.concatenate(ours['video']))
        (expected,) = ours['audio']
        assert len(wave) == len(expected)
        if name == 'clip':
            # The noise that AAC decoders make up depends on the packet at which they start.
            np.testing.assert_allclose(wave[1100:-1100], expected[1100:-1100], atol=5e-3)
            assert np.median(np.abs(wave - expected)) < 1e-6
        else:
            # Of two channels FFmpeg adds the powers, LoadClip takes the mean; and the first sample that the decoder
            # gives lies between two of 16 kHz.
            assert np.corrcoef(wave, expected)[0, 1] > 0.99
            assert wave.std() == pytest.approx(np.sqrt(2) * expected.std(), rel=0.02)


def test_a_part_of_the_sound(clip):
    _, whole = bare_decode(str(clip), None, (0.0, 2.0))
    frames, part = bare_decode(str(clip), None, (0.5, 1.25))
    assert frames == [] and len(part) == 12000
    np.testing.assert_allclose(part[2000:], whole[10000:20000], atol=1e-2)


def test_what_is_not_there(clip, silent, broken):
    assert bare_decode(str(silent), np.array([0.0]), None)[1] is None
    with pytest.raises(IndexError):
        bare_decode(str(silent), None, (0.0, 1.0))
    with pytest.raises(MediaError):
        bare_decode(str(broken['text']), None, (0.0, 1.0))
    with pytest.raises(ValueError, match='no sound was decoded'):
        bare_decode(str(clip), None, (-2.0, -1.0))


def test_is_what_the_description_says(tmp_path):
    path = write_sample_clip(tmp_path / 'a.mp4', seconds=0.5)
    with av.open(str(path)) as clip:
        video, audio = clip.streams.video[0], clip.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == ('h264', 340, 256, 30)
        assert (audio.codec_context.name, audio.sample_rate, audio.layout.name) == ('aac', 44100, 'stereo')
        assert abs(video.duration * video.time_base - 0.5) < 0.01 and abs(audio.duration * audio.time_base - 0.5) < 0.1
        keyframes = [packet.is_keyframe for packet in clip.demux(video) if packet.size]
    assert len(keyframes) == 15 < KEYFRAME_INTERVAL and sum(keyframes) == 1
    # Texture and noise, not a flat picture: at 30 fps hundreds of kilobits a second.
    assert path.stat().st_size > 20_000


def test_several_labels_a_clip(clip, tmp_path):
    classes = dict(verb='verbs.txt', noun='nouns.txt')
    dataset = dict(
        type='AVDataset', ann_file='train.csv', data_root='nowhere', pipeline=[dict(type='LoadClip', num_frames=2)]
    )
    loader = dict(dataset=dict(dataset, classes=classes))
    assert build_dataset(loader, clip=clip, folder=tmp_path).get_data_info(0)['label'] == dict(verb=0, noun=0)
    assert loader['dataset']['classes'] is classes


def test_datasets_and_collate_functions_of_other_kinds():
    with pytest.raises(ConfigError, match="dataset of type 'ToyDataset': one with ann_file and pipeline"):
        build_dataset(dict(dataset=dict(type='ToyDataset')))
    assert build_collate({}).__name__ == 'pseudo_collate'
