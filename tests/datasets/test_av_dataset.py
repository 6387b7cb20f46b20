from __future__ import annotations

import copy
import shutil

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmav.datasets import AVDataset, av_collate
from mmav.datasets.media.probe import probe
from mmav.engine import AVRunner
from mmav.errors import ConfigError, ManifestError, MmavError, TooManyBrokenClips
from mmav.registry import DATASETS

CLASSES = ['cat', 'dog']
PIPELINE = [
    dict(type='LoadClip', num_frames=2, short_side=16, mode='random'),
    dict(type='RandomResizedCrop', size=16),
    dict(type='RandomFlip'),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='SpecAugment', freq_mask=4, time_mask=10),
    dict(type='PackAVInputs'),
]
TEST_PIPELINE = [
    dict(type='LoadClip', num_frames=2, num_views=3, short_side=16, mode='uniform'),
    dict(type='CenterCrop', size=16),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='PackAVInputs'),
]


@pytest.fixture
def folder(tmp_path, clip, broken):
    """Eight rows, of which the third and sixth are broken, in a folder of one's own."""
    shutil.copy(clip, tmp_path / 'clip.mp4')
    shutil.copy(broken['text'], tmp_path / 'text.mp4')
    names = ['clip.mp4', 'clip.mp4', 'text.mp4', 'clip.mp4', 'clip.mp4', 'missing.mp4', 'clip.mp4', 'clip.mp4']
    rows = [f'{name},{i % 2}' for i, name in enumerate(names)]
    (tmp_path / 'train.csv').write_text('path,label\n' + '\n'.join(rows))
    (tmp_path / 'whole.csv').write_text('path,label\n' + '\n'.join(row for row in rows if row[0] == 'c'))
    (tmp_path / 'many.csv').write_text('path,label\n' + 'clip.mp4,0\n' * 200)
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    return tmp_path


@pytest.fixture
def log(monkeypatch):
    """Lines that the dataset logs."""
    lines = []
    monkeypatch.setattr('mmav.datasets.av_dataset.print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


def dataset(folder, ann_file='train.csv', **options):
    pipeline = TEST_PIPELINE if options.get('test_mode') else PIPELINE
    return AVDataset(ann_file, pipeline, data_root=str(folder), **{'max_broken_share': 0.5, **options})


def read_all(data, **options):
    loader = DataLoader(data, batch_size=2, collate_fn=av_collate, **options)
    batches = list(loader)
    return {k: torch.cat([batch['inputs'][k] for batch in batches]) for k in ('video', 'audio')}


def assert_equal(one, other):
    for modality in one:
        torch.testing.assert_close(one[modality], other[modality], rtol=0, atol=0)


def test_classes_and_rows(folder):
    data = dataset(folder)
    assert len(data) == 8 and data.num_classes == 2 and data.metainfo == dict(classes=('cat', 'dog'))
    assert data.get_data_info(1) == dict(
        path=str(folder / 'clip.mp4'),
        label=dict(label=1),
        num_classes=dict(label=2),
        start=None,
        end=None,
        sample_idx=1,
        modalities=('video', 'audio'),
        dropped=(),
        dropout=(),
        broken=None,
    )
    assert dataset(folder, classes=['a', 'b', 'c']).num_classes == 3
    assert AVDataset(str(folder / 'train.csv'), [], classes=CLASSES).num_classes == 2


def test_several_labels_a_clip(folder):
    (folder / 'several.csv').write_text('path,label\nclip.mp4,dog|cat\nclip.mp4,\nclip.mp4,1\n')
    data = dataset(folder, 'several.csv', multi_label=True, test_mode=True)
    assert data.multi_label and data.metainfo == dict(classes=('cat', 'dog'), multi_label=True)
    assert not dataset(folder).multi_label
    assert [data.get_data_info(k)['label']['label'] for k in range(3)] == [(0, 1), (), (1,)]
    assert [data.get_cat_ids(k) for k in range(3)] == [[('label', 0), ('label', 1)], [], [('label', 1)]]
    samples = [data[k]['data_samples'] for k in range(3)]
    assert [sample.target().tolist() for sample in samples] == [[1, 1], [0, 0], [0, 1]]
    assert all(sample.multi_label and 'gt_label' not in sample for sample in samples)
    with pytest.raises(ManifestError, match="row 2: label 'dog|cat' .* give the dataset multi_label=True"):
        dataset(folder, 'several.csv')


@pytest.mark.parametrize('kind', ['RepeatDataset', 'ConcatDataset'])
def test_mmengines_wrappers_wrap_it(folder, kind):
    inner = dict(type='AVDataset', ann_file='whole.csv', data_root=str(folder), pipeline=PIPELINE)
    inside = dict(dataset=inner, times=2) if kind == 'RepeatDataset' else dict(datasets=[inner, inner])
    init_default_scope('mmav')
    twice = DATASETS.build(dict(type=kind, **inside))
    assert len(twice) == 12 and twice.metainfo == dict(classes=('cat', 'dog'))
    assert twice[7]['data_samples'].gt_label == 1


def test_verbs_and_nouns(folder):
    (folder / 'actions.csv').write_text('path,verb,noun\nclip.mp4,cut,onion\nclip.mp4,0,2\n')
    (folder / 'verbs.txt').write_text('wash\ncut\n')
    (folder / 'nouns.txt').write_text('onion\ncup\npan\n')
    data = dataset(folder, 'actions.csv', classes=dict(verb='verbs.txt', noun='nouns.txt'))
    assert data.num_classes == dict(verb=2, noun=3)
    assert data.metainfo == dict(classes=dict(verb=('wash', 'cut'), noun=('onion', 'cup', 'pan')))
    assert data.get_data_info(1)['label'] == dict(verb=0, noun=2)
    sample = data[0]['data_samples']
    assert (sample.gt_verb.item(), sample.gt_noun.item()) == (1, 0)
    named = dataset(folder, 'actions.csv', classes=dict(verb=['wash', 'cut'], noun='nouns.txt'))
    assert named.metainfo == data.metainfo


def test_items(folder):
    item = dataset(folder)[1]
    assert item['inputs']['video'].shape == (1, 3, 2, 16, 16)
    assert item['inputs']['audio'].shape == (1, 1, 16, 20)
    assert item['data_samples'].gt_label == 1
    assert set(dataset(folder, modalities=['audio'])[1]['inputs']) == {'audio'}
    with pytest.raises(IndexError):
        dataset(folder)[8]


def test_subset_keeps_the_rows_numbers(folder):
    assert [dataset(folder, indices=[4, 1])[i]['data_samples'].sample_idx for i in (0, 1)] == [4, 1]
    assert len(dataset(folder, indices=3)) == 3 and len(dataset(folder, indices=99)) == 8
    with pytest.raises(ValueError, match=r'indices \[8\] lie outside the 8 rows'):
        dataset(folder, indices=[1, 8])
    with pytest.raises(ValueError, match='leave none'):
        dataset(folder, indices=0)


def test_augmentation_depends_on_seed_epoch_and_index_alone(folder):
    reference = read_all(dataset(folder, 'whole.csv'))
    assert_equal(read_all(dataset(folder, 'whole.csv'), num_workers=2), reference)
    shifted = dataset(folder, 'whole.csv')
    torch.manual_seed(1)
    assert_equal({k: v[3] for k, v in reference.items()}, shifted[3]['inputs'])
    assert (shifted[3]['inputs']['audio'] != shifted[4]['inputs']['audio']).any()
    assert (dataset(folder, 'whole.csv', seed=1)[3]['inputs']['audio'] != shifted[3]['inputs']['audio']).any()
    shifted.set_epoch(1)
    assert (shifted[3]['inputs']['audio'] != reference['audio'][3]).any()


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_running_workers_see_the_epoch(folder, context):
    data = dataset(folder, 'whole.csv', indices=4)
    expected = []
    for epoch in range(2):
        data.set_epoch(epoch)
        expected.append(read_all(data))
    data.set_epoch(0)
    loader = DataLoader(
        data,
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=context,
        collate_fn=av_collate,
    )
    for epoch in range(2):
        data.set_epoch(epoch)
        (batch,) = loader
        assert_equal(batch['inputs'], expected[epoch])


def test_broken_clips_are_replaced_logged_once_and_counted(folder, log):
    data = dataset(folder)
    for _ in range(2):
        items = [data[i] for i in range(8)]
    assert all(item['masks']['video'] and item['data_samples'].broken is None for item in items)
    assert items[2]['data_samples'].sample_idx not in (2, 5)
    assert data.broken_count() == 2
    assert len(log) == 2
    assert log[0].startswith(f'broken clip, replaced by another: {folder}/text.mp4: cannot be opened')
    assert log[1].endswith(f'missing.mp4: no such file ({folder}/train.csv, row 7)')


def test_replacement_does_not_depend_on_workers(folder, log):
    reference = read_all(dataset(folder))
    assert_equal(read_all(dataset(folder), num_workers=2), reference)
    data = dataset(folder)
    for i in reversed(range(8)):
        assert_equal(data[i]['inputs'], {k: v[i] for k, v in reference.items()})


def test_workers_counts_add_up(folder):
    data = dataset(folder)
    read_all(data, num_workers=2)
    assert data.broken_count() == 2


def test_too_many_broken_clips_stop_training(folder, log):
    data = dataset(folder, max_broken_share=0.2)
    # Six of eight are seen in the first round when the second broken one is met.
    read_all(data)
    with pytest.raises(TooManyBrokenClips, match='2 of the 8 clips seen .* more than max_broken_share=0.2'):
        read_all(data)


def test_nothing_to_read_ends(folder, log):
    with pytest.raises(TooManyBrokenClips, match='none of the 2 clips'):
        dataset(folder, indices=[2, 5], max_broken_share=1.0)[0]


def test_broken_clips_stay_in_testing(folder, log):
    data = dataset(folder, test_mode=True, max_broken_share=0.0)
    items = [data[i] for i in range(8)]
    assert [item['data_samples'].sample_idx for item in items] == list(range(8))
    assert items[5]['data_samples'].broken == f'no such file ({folder}/train.csv, row 7)'
    assert items[5]['masks'] == dict(video=torch.tensor(False), audio=torch.tensor(False))
    assert av_collate(items)['inputs']['video'].shape == (8, 3, 3, 2, 16, 16)
    assert data.broken_count() == 2
    assert not log  # the metric names each once: tests/evaluation/test_accuracy.py
    data.set_epoch(3)
    assert_equal(data[0]['inputs'], items[0]['inputs'])


def test_a_clip_that_vanishes_between_epochs(folder, log):
    shutil.copy(folder / 'clip.mp4', folder / 'missing.mp4')
    data = dataset(folder)
    read_all(data)
    (folder / 'missing.mp4').unlink()
    read_all(data)
    assert data.broken_count() == 2


# torch finds four workers many on two cores
@pytest.mark.filterwarnings('ignore:This DataLoader will create 4 worker processes')
def test_four_workers_survive_all_kinds_of_broken_files(tmp_path, clip, broken):
    names = [f'{k}.mp4' for k in range(24)]
    bad = dict(zip(names[::6], ('cut_off', 'text', 'empty', 'vanishing'), strict=True))
    for name in names:
        shutil.copy(broken.get(bad.get(name), clip), tmp_path / name)
    (tmp_path / 'train.csv').write_text('path,label\n' + ''.join(f'{name},0\n' for name in names))
    vanishing = tmp_path / names[18]
    # It is whole when it is checked, and gone when it is trained on.
    assert probe(str(vanishing)).error is None
    vanishing.unlink()
    log_file = tmp_path / 'train.log'
    MMLogger.get_instance('four_workers', log_file=str(log_file))

    try:
        data = AVDataset('train.csv', PIPELINE, data_root=str(tmp_path), classes=CLASSES, max_broken_share=0.5)
        loader = DataLoader(
            data, batch_size=4, num_workers=4, persistent_workers=True, collate_fn=av_collate, timeout=60
        )
        for epoch in range(3):
            data.set_epoch(epoch)
            batches = list(loader)
            assert sum(len(batch['data_samples']) for batch in batches) == 24
            assert all(batch['masks']['video'].all() and batch['masks']['audio'].all() for batch in batches)
    finally:
        MMLogger._instance_dict.pop('four_workers')
    assert data.broken_count() == 4
    lines = [line for line in log_file.read_text().splitlines() if 'broken clip' in line]
    assert len(lines) == 4
    assert all(sum(f'{tmp_path}/{name}:' in line for line in lines) == 1 for name in bad)


def test_built_by_the_runner(folder):
    init_default_scope('mmav')
    loader = AVRunner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='av_collate'),
            dataset=dict(
                type='AVDataset', ann_file='whole.csv', data_root=str(folder), pipeline=copy.deepcopy(PIPELINE)
            ),
        ),
        seed=0,
    )
    batch = next(iter(loader))
    assert batch['inputs']['video'].shape == (4, 1, 3, 2, 16, 16)
    assert [sample.gt_label.item() < 2 for sample in batch['data_samples']] == [True] * 4
    assert loader.dataset.metainfo['classes'] == ('cat', 'dog')


def masks_of(data):
    return [tuple(bool(data[i]['masks'][m]) for m in ('video', 'audio')) for i in range(len(data))]


def test_modality_dropout_withholds_the_shares_asked_for(folder):
    data = dataset(folder, 'many.csv', modality_dropout=dict(video=0.2, audio=0.5))
    seen = masks_of(data)
    counts = {kind: seen.count(kind) for kind in set(seen)}
    # binomial, n = 200: 4 standard deviations
    assert counts[False, True] == pytest.approx(40, abs=23)
    assert counts[True, False] == pytest.approx(100, abs=28)
    assert sum(counts.values()) == 200 and (False, False) not in counts
    assert masks_of(data) == seen
    data.set_epoch(1)
    assert masks_of(data) != seen


def test_what_is_left_is_the_same_as_without_modality_dropout(folder):
    plain, dropping = dataset(folder, 'whole.csv'), dataset(folder, 'whole.csv', modality_dropout=dict(audio=1.0))
    for i in range(len(plain)):
        one, other = plain[i], dropping[i]
        assert_equal({'video': one['inputs']['video']}, {'video': other['inputs']['video']})
        assert other['masks'] == dict(video=torch.tensor(True), audio=torch.tensor(False))
        assert not other['inputs']['audio'].any() and one['inputs']['audio'].any()


def test_modality_dropout_leaves_a_clip_the_only_one_it_has(folder, silent):
    shutil.copy(silent, folder / 'clip.mp4')
    for dropout in (dict(video=1.0), dict(audio=1.0)):
        assert set(masks_of(dataset(folder, 'whole.csv', modality_dropout=dropout))) == {(True, False)}


def test_dropped_modality(folder, silent):
    for options in (dict(), dict(test_mode=True)):
        assert set(masks_of(dataset(folder, 'whole.csv', drop=['video'], **options))) == {(False, True)}
    assert set(masks_of(dataset(folder, 'whole.csv', test_mode=True, modality_dropout=dict(video=1)))) == {(True, True)}
    shutil.copy(silent, folder / 'clip.mp4')
    sample = dataset(folder, 'whole.csv', drop=['video'], test_mode=True)[0]['data_samples']
    assert sample.broken.startswith('has no audio, and nothing else is requested')


def test_damaged_clips_are_used_logged_once_and_counted(folder, log, make_clip):
    path = make_clip('for_damage.mp4', seconds=4.0, keyframes=12)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    (folder / 'clip.mp4').write_bytes(data)
    (folder / 'one.csv').write_text('path,label\nclip.mp4,1\n')
    for options in (dict(), dict(test_mode=True)):
        data = dataset(folder, 'one.csv', **options)
        data.pipeline.transforms[0].num_frames = 48  # meet all of it
        items = [data[0] for _ in range(3)]
        assert all(item['masks']['video'] and item['data_samples'].broken is None for item in items)
        assert (data.damaged_count(), data.broken_count()) == (1, 0)
        (line,) = log
        assert line.startswith(f'damaged clip, the readable part is used: {folder}/clip.mp4: ')
        assert line.endswith(f'packets cannot be decoded ({folder}/one.csv, row 2)')
        log.clear()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(modalities=['vidoe']), "did you mean 'video'"),
        (dict(modalities=[]), 'modalities is empty'),
        (dict(max_broken_share=2), 'max_broken_share must lie'),
        (dict(modality_dropout=dict(sound=0.1)), "modality 'sound' is unknown: choose from video, audio"),
        (dict(modality_dropout=dict(video=0.6, audio=0.5)), 'add up to at most 1'),
        (dict(modality_dropout=dict(video=-0.1)), 'shares must not be negative'),
        (dict(modalities=['video'], drop=['audio']), "modality 'audio' is unknown: choose from video"),
        (dict(drop=['video', 'audio']), 'leaves none of'),
    ],
)
def test_wrong_arguments(folder, options, message):
    with pytest.raises(ValueError, match=message):
        dataset(folder, **options)


def test_missing_manifest(tmp_path):
    with pytest.raises(ManifestError, match='no class list at'):
        AVDataset('train.csv', [], data_root=str(tmp_path))
    with pytest.raises(ManifestError, match=r'no manifest at .*train.csv; give the folder'):
        AVDataset('train.csv', [], data_root=str(tmp_path), classes=CLASSES)


def test_without_shared_memory(folder, monkeypatch):
    """As in a container without /dev/shm: one process needs none, and workers say what they miss."""

    def fail(self):
        raise RuntimeError('unable to open shared memory object </torch_1> in read-write mode: No such file (2)')

    monkeypatch.setattr(torch.Tensor, 'share_memory_', fail)
    data = dataset(folder)
    monkeypatch.undo()
    data.set_epoch(3)
    assert len(read_all(data)['video']) == len(data) and data.broken_count() == 2
    with pytest.raises(MmavError, match=r'num_workers above 0 needs shared memory.*--shm-size'):
        read_all(data, num_workers=1)


def test_clips_without_labels(folder):
    (folder / 'list.csv').write_text('path,narration_id\nclip.mp4,P01_1\nclip.mp4,P01_2\n')
    data = dataset(folder, 'list.csv', test_mode=True, labelled=False)
    assert data.get_data_info(1)['label'] == {} and not data.labelled
    sample = data[0]['data_samples']
    assert [key for key in sample.keys() if key.startswith('gt')] == []  # noqa: SIM118
    labelled = dataset(folder, 'whole.csv', test_mode=True)[0]
    for modality, value in data[0]['inputs'].items():
        assert torch.equal(value, labelled['inputs'][modality])
    with pytest.raises(ConfigError, match='labelled=False is for testing only'):
        dataset(folder, 'list.csv', labelled=False)
