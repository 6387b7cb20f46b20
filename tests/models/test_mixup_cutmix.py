import pytest
import torch

from mmav.models import AVDataPreprocessor, MixupCutmix
from tests.models.test_data_preprocessor import NORM, make_batch


def augment(batch, **kwargs):
    processor = AVDataPreprocessor(NORM, dict(type='MixupCutmix', num_classes=3, **kwargs))
    plain = AVDataPreprocessor(NORM)(batch)
    return plain, processor(batch, training=True)


def test_mixup_blends_everything_by_the_same_share():
    torch.manual_seed(0)
    batch = make_batch()
    plain, mixed = augment(batch, cutmix_alpha=0)
    share = mixed['data_samples'][0].gt_score[0].item()  # clip 0 has label 0, its partner 4 label 1
    assert 0 < share < 1
    for name in ('video', 'audio'):
        expected = share * plain['inputs'][name] + (1 - share) * plain['inputs'][name].flip(0)
        torch.testing.assert_close(mixed['inputs'][name], expected, atol=1e-4, rtol=1e-4)
    assert all(s.gt_score.sum().item() == pytest.approx(1) for s in mixed['data_samples'])
    torch.testing.assert_close(mixed['inputs']['video'][2], plain['inputs']['video'][2])  # the middle meets itself


@pytest.mark.parametrize('off', ['mixup_alpha', 'cutmix_alpha'])
def test_verb_and_noun_are_mixed_by_the_share_of_the_picture(off):
    torch.manual_seed(2)
    batch = make_batch()
    for i, sample in enumerate(batch['data_samples']):
        sample.set_gt_label(i, 'verb').set_gt_label(6 - i, 'noun')
    mixed = AVDataPreprocessor(NORM, dict(type='MixupCutmix', num_classes=dict(verb=5, noun=7), **{off: 0}))(
        batch, True
    )
    share = mixed['data_samples'][0].gt_verb_score[0].item()
    assert 0 < share < 1
    for i, sample in enumerate(mixed['data_samples']):
        verb, noun = torch.zeros(5), torch.zeros(7)
        for index, weight in ((i, share), (4 - i, 1 - share)):
            verb[index] += weight
            noun[6 - index] += weight
        torch.testing.assert_close(sample.gt_verb_score, verb)
        torch.testing.assert_close(sample.gt_noun_score, noun)
        assert 'gt_score' not in sample


def several(batch, labels=((0, 2), (1,), (2,), (), (2, 1))):
    for sample, each in zip(batch['data_samples'], labels, strict=True):
        del sample.gt_label
        sample.set_gt_labels(each, 3)
    return batch, torch.stack([sample.target() for sample in batch['data_samples']])


@pytest.mark.parametrize('off', ['mixup_alpha', 'cutmix_alpha'])
@pytest.mark.parametrize('absent', [None, 0])
def test_any_number_of_labels_is_mixed_as_in_ast(off, absent):
    """YuanGongND/ast, src/dataloader.py: lam for each label of one clip, 1 - lam for each of the other, added."""
    torch.manual_seed(3)
    batch, target = several(make_batch(absent=absent))
    _, mixed = augment(batch, **{off: 0})
    share = mixed['data_samples'][0].gt_score[0].item()  # of clip 0 alone
    assert 0 < share < 1
    for i, sample in enumerate(mixed['data_samples']):
        torch.testing.assert_close(sample.gt_score, share * target[i] + (1 - share) * target[4 - i])
        assert sample.multi_label and 'gt_label' not in sample
    assert mixed['data_samples'][0].gt_score[2] == pytest.approx(1)  # both have it


def test_another_number_of_classes():
    batch, _ = several(make_batch())
    processor = AVDataPreprocessor(NORM, dict(type='MixupCutmix', num_classes=4))
    with pytest.raises(ValueError, match='batch_augment: num_classes=4, but clips have targets for 3 labels'):
        processor(batch, training=True)


def test_labels_that_are_not_there():
    processor = AVDataPreprocessor(NORM, dict(type='MixupCutmix', num_classes=dict(verb=5)))
    with pytest.raises(ValueError, match="the clip has no verb, only .*give the manifest a column 'verb'"):
        processor(make_batch(), training=True)


def test_cutmix_pastes_equal_shares_of_picture_and_sound():
    torch.manual_seed(1)
    batch = make_batch()
    for _ in range(20):
        plain, mixed = augment(make_batch(), mixup_alpha=0)
        share = mixed['data_samples'][0].gt_score[0].item()
        video, other = plain['inputs']['video'][0], plain['inputs']['video'].flip(0)[0]
        result = mixed['inputs']['video'][0]
        assert torch.logical_or(result == video, result == other).all()
        pasted = ((result == other) & (video != other)).any(0).any(0).any(0).float()  # (H, W)
        assert pasted.mean().item() == pytest.approx(1 - share, abs=1e-6)
        other = plain['inputs']['audio'].flip(0)[0, 0, 0]
        columns = (mixed['inputs']['audio'][0, 0, 0] == other).all(0).float()
        assert columns.mean().item() == pytest.approx(1 - share, abs=0.5 / 20 + 1e-6)
    assert 'gt_score' not in batch['data_samples'][0]


def test_no_mixing_outside_training_or_below_the_probability():
    batch = make_batch()
    processor = AVDataPreprocessor(NORM, dict(type='MixupCutmix', num_classes=3, prob=0.0))
    for training in (False, True):
        out = processor(batch, training=training)
        assert 'gt_score' not in out['data_samples'][0]
        assert torch.equal(out['inputs']['audio'], AVDataPreprocessor(NORM)(batch)['inputs']['audio'])


def test_mixed_clip_has_what_either_source_has():
    _, mixed = augment(make_batch(absent=0), cutmix_alpha=0)
    assert mixed['masks']['audio'].all()


@pytest.mark.parametrize('off', ['mixup_alpha', 'cutmix_alpha'])
def test_what_is_absent_is_not_mixed_in(off):
    torch.manual_seed(0)
    plain, mixed = augment(make_batch(absent=0), **{off: 0})
    audio = plain['inputs']['audio']
    # Clips 0 and 4 are mixed: both get the sound of clip 4 alone, and the picture of both.
    assert torch.equal(mixed['inputs']['audio'][0], audio[4]) and torch.equal(mixed['inputs']['audio'][4], audio[4])
    assert not torch.equal(mixed['inputs']['audio'][1], audio[1])
    assert not torch.equal(mixed['inputs']['video'][0], plain['inputs']['video'][0])


def test_cutmix_of_sound_alone():
    torch.manual_seed(0)
    batch = make_batch()
    del batch['inputs']['video'], batch['masks']['video']
    plain, mixed = augment(batch, mixup_alpha=0)
    share = mixed['data_samples'][0].gt_score[0].item()
    columns = (mixed['inputs']['audio'][0, 0, 0] == plain['inputs']['audio'].flip(0)[0, 0, 0]).all(0).float()
    assert columns.mean().item() == pytest.approx(1 - share, abs=0.5 / 20 + 1e-6)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match='mixup_alpha=0 and cutmix_alpha=0'):
        MixupCutmix(3, 0, 0)
