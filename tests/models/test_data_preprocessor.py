import pytest
import torch

from mmav.errors import ConfigError
from mmav.models import AST, AVClassifier, AVDataPreprocessor
from mmav.models.backbones.base import Expected
from mmav.models.data_preprocessor import HandedOver
from mmav.structures import AVDataSample

NORM = dict(video=dict(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0)), audio=dict(mean=-4.0, std=9.0))


def make_batch(batch=5, views=2, absent=None):
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(256, (batch, views, 3, 4, 8, 10), generator=generator, dtype=torch.uint8)
    audio = torch.randn(batch, 1, 1, 16, 20, generator=generator)
    masks = dict(video=torch.ones(batch, dtype=torch.bool), audio=torch.ones(batch, dtype=torch.bool))
    if absent is not None:
        masks['audio'][absent] = False
    samples = [AVDataSample().set_gt_label(i % 3) for i in range(batch)]
    return dict(inputs=dict(video=video, audio=audio), masks=masks, data_samples=samples)


def test_normalises_per_channel():
    batch = make_batch()
    out = AVDataPreprocessor(NORM)(batch)
    video = batch['inputs']['video']
    for channel in range(3):
        mean, std = NORM['video']['mean'][channel], NORM['video']['std'][channel]
        torch.testing.assert_close(out['inputs']['video'][:, :, channel], (video[:, :, channel].float() - mean) / std)
    torch.testing.assert_close(out['inputs']['audio'], (batch['inputs']['audio'] + 4.0) / 9.0)
    assert batch['inputs']['video'].dtype == torch.uint8  # the argument is left alone


def test_modality_without_statistics_becomes_float():
    batch = make_batch()
    out = AVDataPreprocessor()(batch)
    assert torch.equal(out['inputs']['video'], batch['inputs']['video'].float())


def test_masks_vanish_where_nothing_is_absent():
    assert AVDataPreprocessor(NORM)(make_batch())['masks'] is None
    masks = AVDataPreprocessor(NORM)(make_batch(absent=2))['masks']
    assert masks['audio'].tolist() == [True, True, False, True, True]


def test_statistics_are_not_saved_and_checked():
    assert not AVDataPreprocessor(NORM).state_dict()
    with pytest.raises(ValueError, match=r'norm.audio.std=0 must be above 0'):
        AVDataPreprocessor(dict(audio=dict(mean=0, std=0)))


class Stating(torch.nn.Module):
    """A backbone that states a normalisation."""

    expected = Expected(norm=NORM['video'])


def test_the_backbones_norm_is_taken():
    batch = make_batch()
    processor = AVDataPreprocessor(dict(video='backbone', audio=NORM['audio'], smell='backbone'))
    with pytest.raises(ConfigError, match=r"^norm.video='backbone': no backbone has said what it expects"):
        processor(batch)
    processor.take_norms(dict(video=Stating(), audio=Stating()))
    torch.testing.assert_close(processor(batch)['inputs'], AVDataPreprocessor(NORM)(batch)['inputs'])
    assert sorted(processor.modalities) == ['audio', 'video']


def test_a_classifier_asks_its_backbones():
    parts = dict(neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=3))
    backbones = dict(audio=dict(type='AST', input_size=(32, 32), embed_dims=8, num_layers=1, num_heads=1))
    preprocessor = dict(type='AVDataPreprocessor', norm=dict(audio='backbone', video='backbone'))
    with pytest.raises(ConfigError, match=r"^data_preprocessor.norm.audio='backbone': AST states no normalisation of"):
        AVClassifier(backbones, data_preprocessor=preprocessor, **parts)
    expected, AST.expected = AST.expected, Expected(norm=dict(mean=2, std=4))
    try:
        model = AVClassifier(backbones, data_preprocessor=preprocessor, **parts)
    finally:
        AST.expected = expected
    assert model.data_preprocessor.normalise('audio', torch.full((1, 1, 1, 2, 2), 10.0)).unique().tolist() == [2.0]


@pytest.mark.parametrize('value', ['imagenet', dict(mean=1.0), 3.0])
def test_a_norm_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"^norm.video=.*: give dict\(mean=..., std=...\), or 'backbone' for its own"):
        AVDataPreprocessor(dict(video=value))


def test_trimming_follows_the_longest_clip_of_the_batch():
    audio = torch.zeros(2, 1, 1, 4, 30)
    audio[0, ..., :7] = 1
    audio[1, ..., 2, 12] = -1  # a single value keeps its column
    batch = dict(inputs=dict(audio=audio, video=torch.zeros(2, 1, 3, 2, 8, 8)), masks=None, data_samples=[])
    norm = dict(audio=dict(mean=2.0, std=1.0))
    inputs = AVDataPreprocessor(norm, trim=dict(audio=5))(batch)['inputs']
    # padding is told before it is normalised
    assert torch.equal(inputs['audio'], audio[..., :15] - 2) and inputs['video'].shape[-1] == 8
    shapes = {
        trim: AVDataPreprocessor(trim=dict(audio=trim))(batch)['inputs']['audio'].shape[-1] for trim in (1, 20, 31)
    }
    assert shapes == {1: 13, 20: 20, 31: 30}


def test_a_batch_without_sound_keeps_a_stretch():
    batch = dict(inputs=dict(audio=torch.zeros(2, 1, 1, 4, 30)), masks=None, data_samples=[])
    assert AVDataPreprocessor(trim=dict(audio=8))(batch)['inputs']['audio'].shape[-1] == 8


def test_a_trim_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r'trim.audio=0 must be a whole number of columns above 0'):
        AVDataPreprocessor(trim=dict(audio=0))


def test_a_batch_can_be_handed_over_first():
    """As one step ahead: what the CPU decides is decided there, and masks are not looked at again."""
    for batch, trim in ((make_batch(), None), (make_batch(absent=2), None), (make_batch(), dict(audio=5))):
        if trim:
            batch['inputs']['audio'][..., 6:] = 0
        preprocessor = AVDataPreprocessor(NORM, trim=trim)
        given = preprocessor.hand_over(batch)
        found, expected = preprocessor(given), preprocessor(batch)
        assert isinstance(given, HandedOver) and (given['masks'] is None) == (expected['masks'] is None)
        torch.testing.assert_close(found['inputs'], expected['inputs'], rtol=0, atol=0)
        assert found['inputs']['audio'].shape[-1] == (10 if trim else 20)


def with_waveforms(lengths=((1700,), (0,), (900,))):
    waves = torch.zeros(3, 1, 1, 400 + 19 * 160)
    for wave, (length,) in zip(waves, lengths, strict=True):
        wave[..., :length] = torch.randn(length, generator=torch.Generator().manual_seed(length))
    masks = dict(audio=torch.tensor([True, False, True]))
    samples = [AVDataSample().set_gt_label(k) for k in range(3)]
    return dict(inputs=dict(audio=waves), masks=masks, data_samples=samples, lengths=dict(audio=torch.tensor(lengths)))


def test_spectrograms_are_trimmed_before_they_are_computed():
    mel = dict(num_mel_bins=16, target_frames=20)
    for columns, left in ((4, 12), (5, 10), (50, 20)):  # the longest has 9 frames
        found = AVDataPreprocessor(log_mel=mel, trim=dict(audio=columns))(with_waveforms())['inputs']['audio']
        whole = AVDataPreprocessor(log_mel=mel)(with_waveforms())['inputs']['audio']
        assert found.shape[-1] == left and torch.equal(found, whole[..., :left])
        assert not whole[..., 9:].any() and whole[0, ..., 8].any()
    silent = with_waveforms(((0,), (0,), (0,)))
    assert AVDataPreprocessor(log_mel=mel, trim=dict(audio=5))(silent)['inputs']['audio'].shape[-1] == 5


def test_waveforms_and_spectrograms_are_not_mistaken_for_each_other():
    with pytest.raises(ConfigError, match='^the pipeline gives the waveforms of a DeviceLogMel, but data_preprocessor'):
        AVDataPreprocessor()(with_waveforms())
    with pytest.raises(
        ConfigError, match='^data_preprocessor.log_mel needs waveforms, but the pipeline gives something'
    ):
        AVDataPreprocessor(log_mel={})(make_batch())


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        (dict(spec_augment={}), 'data_preprocessor.spec_augment masks what data_preprocessor.log_mel computes'),
        (dict(random_erasing=dict(pp=1)), 'data_preprocessor.random_erasing: .*unexpected keyword argument'),
        (dict(log_mel=True), 'data_preprocessor.log_mel=True: give a dict of its arguments'),
    ],
)
def test_steps_that_cannot_be(steps, message):
    with pytest.raises(ConfigError, match=message):
        AVDataPreprocessor(**steps)
