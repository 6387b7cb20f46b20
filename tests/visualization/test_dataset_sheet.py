import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from mmav.datasets.av_dataset import AVDataset
from mmav.errors import CheckpointError, ConfigError, MmavError
from mmav.outputs import RECORD
from mmav.visualization.dataset_sheet import (
    MASKED,
    Frames,
    Row,
    SheetClip,
    Sound,
    build_av_datasets,
    draw_dataset_sheet,
    read_clips,
)

LOAD = dict(type='LoadClip', num_frames=4, num_views=2)
LOG_MEL = dict(type='LogMel', num_mel_bins=16, target_frames=240)
STEPS = [
    dict(LOAD, mode='random'),
    dict(type='RandomResizedCrop', size=32),
    LOG_MEL,
    dict(type='AudioViews', num_views=2),
    dict(type='SpecAugment', freq_mask=8, time_mask=60),
    dict(type='PackAVInputs'),
]
TEST_STEPS = [dict(LOAD, mode='uniform'), dict(type='CenterCrop', size=32), LOG_MEL, dict(type='PackAVInputs')]


def dataset(folder, paths, pipeline=STEPS, **options):
    (folder / 'a.csv').write_text('path,label\n' + ''.join(f'{path},{k % 2}\n' for k, path in enumerate(paths)))
    return AVDataset('a.csv', pipeline, data_root=str(folder), classes=('cat', 'dog'), **options)


def test_what_is_drawn_is_what_the_model_gets(clip, tmp_path):
    data = dataset(tmp_path, [clip, clip], seed=3)
    data.set_epoch(2)
    (shown,) = read_clips([data], [1])
    fed = data[1]['inputs']
    assert shown.heading.startswith('1   dog   0.00 to 2.00 s   ') and shown.heading.endswith('plain.mp4')
    assert [row.name for row in shown.rows] == ['view 1', 'view 2']
    for view, row in enumerate(shown.rows):
        assert np.array_equal(row.cells['audio'].values, fed['audio'][view, 0].numpy())
        strip = np.concatenate([frame.permute(1, 2, 0).numpy() for frame in fed['video'][view].unbind(1)], axis=1)
        assert np.array_equal(row.cells['video'].strip, strip)
        assert len(row.cells['video'].times) == 4 and row.cells['video'].times[0].endswith(' s')
        assert row.cells['audio'].seconds == pytest.approx(2.4)
    assert not np.array_equal(shown.rows[0].cells['audio'].values, shown.rows[1].cells['audio'].values)


def test_with_a_cache_of_prepared_clips(clip, tmp_path):
    steps = [dict(LOAD, mode='uniform'), *STEPS[1:]]
    kept, plain = (dataset(tmp_path, [clip, clip], steps, cache=cache) for cache in (f'prepared:{tmp_path}/kept', None))
    cache = kept.prepared
    for stages in (False, True):
        (shown,), (expected,) = (read_clips([data], [1], stages=stages) for data in (kept, plain))
        assert [row.name for row in shown.rows] == [row.name for row in expected.rows]
        for row, other in zip(shown.rows, expected.rows, strict=True):
            assert np.array_equal(row.cells['video'].strip, other.cells['video'].strip)
    assert kept.prepared is cache is not None


def test_other_epochs_and_seeds_draw_otherwise(clip, tmp_path):
    data = dataset(tmp_path, [clip])
    strips = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        data.seed = seed
        data.set_epoch(epoch)
        strips.append(read_clips([data], [0])[0].rows[0].cells['video'].strip)
    assert np.array_equal(strips[0], strips[3])
    assert not np.array_equal(strips[0], strips[1]) and not np.array_equal(strips[0], strips[2])


def test_a_row_after_each_step(clip, tmp_path):
    (shown,) = read_clips([dataset(tmp_path, [clip])], [0], stages=True)
    assert [row.name for row in shown.rows[:6]] == [f'{step["type"]}\nview 1' for step in STEPS]
    first, second = shown.rows[:6], shown.rows[6:]
    assert first[0].cells['audio'].values.shape == (32000,) and first[0].cells['audio'].seconds == 2
    assert first[1].cells['audio'] == 'unchanged' and first[1].cells['video'].strip.shape == (32, 128, 3)
    assert first[2].cells['video'] == 'unchanged' and first[2].cells['audio'].values.shape == (16, 240)
    assert [row.cells['audio'] for row in second[:3]] == ['as view 1'] * 3
    assert isinstance(second[3].cells['audio'], Sound)
    masked = [(row.cells['audio'].values == 0).all(axis=1).sum() for row in (first[4], second[4])]
    assert masked[0] + masked[1] > 0 == (first[2].cells['audio'].values == 0).all(axis=1).sum()
    assert first[5].cells == second[5].cells == dict(video='unchanged', audio='unchanged')


def test_a_step_that_works_in_place_changes_its_own_row_only(clip, tmp_path):
    def blacken(results):
        for view in results['video']:
            view[:] = 0
        return results

    data = dataset(tmp_path, [clip], [dict(LOAD), blacken, *STEPS[2:]], modalities=('video',))
    (shown,) = read_clips([data], [0], stages=True)
    assert shown.rows[0].cells['video'].strip.any() and not shown.rows[1].cells['video'].strip.any()
    assert data.pipeline.transforms[1] is blacken


def test_absent_and_withheld(clip, silent, blind, tmp_path):
    files = [silent, blind]
    shown = read_clips([dataset(tmp_path, files)], [0, 1])
    assert [item.rows[0].cells['audio'] for item in shown[:1]] == ['no audio'] and shown[0].note == ''
    assert shown[1].rows[1].cells['video'] == 'no video' and isinstance(shown[1].rows[1].cells['audio'], Sound)
    (shown,) = read_clips([dataset(tmp_path, [clip], modality_dropout=dict(audio=1.0))], [0])
    assert shown.rows[0].cells['audio'] == 'no audio (withheld)' and isinstance(shown.rows[0].cells['video'], Frames)
    (shown,) = read_clips([dataset(tmp_path, [clip], TEST_STEPS, modalities=('audio',), test_mode=True)], [0])
    assert [list(row.cells) for row in shown.rows] == [['audio']]


def test_broken_clips_say_why(clip, broken, tmp_path):
    files = [clip, broken['empty'], clip]
    wanted, other = read_clips([dataset(tmp_path, files, max_broken_share=1.0)], [1])
    assert 'is an empty file' in wanted.note and 'takes the next' in wanted.note and not wanted.rows
    assert other.heading.startswith('for 1   cat') and len(other.rows) == 2
    # met again, as it is known to be broken
    data = dataset(tmp_path, files, max_broken_share=1.0)
    assert [bool(item.note) for item in read_clips([data], [1, 0, 1])] == [True, False, False, True, False]
    (tested,) = read_clips([dataset(tmp_path, files, TEST_STEPS, test_mode=True)], [1])
    assert 'is an empty file' in tested.note and not tested.rows
    # where too many are broken for training, what can be read is drawn all the same
    shown = read_clips([dataset(tmp_path, [broken['text'], broken['empty']])], [0, 1])
    assert all('broken: ' in item.note for item in shown)


def test_clips_of_several_datasets_are_counted_on(clip, silent, tmp_path):
    parts = [dataset(tmp_path, [clip]), dataset(tmp_path, [clip, silent])]
    assert [item.heading.split()[:2] for item in read_clips(parts, [0, 2])] == [['0', 'cat'], ['2', 'dog']]
    for wrong in (3, -1):
        with pytest.raises(ConfigError, match=f'there is no clip {wrong}: the set has 3'):
            read_clips(parts, [wrong])


def test_verb_and_noun(clip, tmp_path):
    (tmp_path / 'a.csv').write_text(f'path,verb,noun\n{clip},1,0\n')
    classes = dict(verb=('cut', 'wash'), noun=('pan',))
    (shown,) = read_clips([AVDataset('a.csv', STEPS, data_root=str(tmp_path), classes=classes)], [0])
    assert shown.heading.startswith('0   verb: wash  noun: pan   ')


def test_any_number_of_labels(clip, tmp_path):
    (tmp_path / 'a.csv').write_text(f'path,label\n{clip},dog|cat\n{clip},\n')
    several = AVDataset('a.csv', STEPS, data_root=str(tmp_path), classes=('cat', 'dog'), multi_label=True)
    shown = read_clips([several], [0, 1])
    assert [each.heading.split('   ')[1] for each in shown] == ['cat | dog', '(no label)']


def test_wrapped_datasets_are_found(clip, tmp_path):
    dataset(tmp_path, [clip])
    inner = dict(type='AVDataset', ann_file='a.csv', pipeline=STEPS, data_root=str(tmp_path), classes=('cat', 'dog'))
    twice = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner), inner])
    assert [type(part) for part in build_av_datasets(twice)] == [AVDataset] * 2
    assert len(build_av_datasets(dict(inner, type=AVDataset))) == 1
    for other in (dict(type='ToyDataset'), dict(type='RepeatDataset', times=2, dataset=dict(type='ToyDataset'))):
        with pytest.raises(ConfigError, match=f'type {other["type"]!r}: only an AVDataset'):
            build_av_datasets(other)


def share_of(path, colour):
    picture = cv2.imread(str(path))[60:].astype(int)  # below the title and the hint
    return (np.abs(picture - np.array(to_rgb(colour))[::-1] * 255).max(axis=-1) < 6).mean()


def test_masks_are_seen(tmp_path):
    values = torch.randn(16, 50).numpy()
    shares = []
    for width in (0, 8):
        values[:width] = 0
        draw_dataset_sheet(
            [SheetClip(r'costs $\nothing$', 0.0, '', (Row('view 1', dict(audio=Sound(values, 0.5))),))],
            tmp_path / 'a.png',
        )
        shares.append(share_of(tmp_path / 'a.png', MASKED))
    assert shares[0] < 0.001 and shares[1] > 0.15


def test_size_follows_what_is_shown(tmp_path):
    sound, strip = Sound(np.zeros((4, 9), np.float32), None), Frames(np.zeros((8, 32, 3), np.uint8), [''] * 4)
    sizes = {}
    for name, cells in dict(
        both=dict(video=strip, audio=sound), video=dict(video=strip), said=dict(audio='no')
    ).items():
        clip = SheetClip('a', 0.0, 'damaged', (Row('view 1', cells),))
        for count in (1, 3):
            draw_dataset_sheet([clip] * count, tmp_path / 'new' / 'a.png')
            sizes[name, count] = cv2.imread(str(tmp_path / 'new' / 'a.png')).shape[:2]
    assert sizes['both', 1][1] > sizes['video', 1][1] > sizes['said', 1][1]
    assert sizes['both', 3][0] > sizes['video', 3][0] > 2 * sizes['video', 1][0] > 2 * sizes['said', 1][0]


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(MmavError, match='no clips'):
        draw_dataset_sheet([], tmp_path / 'a.png')
    many = [SheetClip('a', 0.0, '', (Row('view 1', dict(audio='no audio')),) * 100)] * 100
    with pytest.raises(MmavError, match='100 clips in 10000 rows are too many'):
        draw_dataset_sheet(many, tmp_path / 'a.png')
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(CheckpointError, match='cannot write'):
        draw_dataset_sheet([SheetClip('a', 0.0, 'torn', ())], tmp_path / 'a.png')
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, 'a.png']


def test_two_files_have_one_heading(silent, clip, tmp_path):
    for name, source in (('a.mp4', silent), ('a.m4a', clip)):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / 'a.csv').write_text('video,audio,label\na.mp4,a.m4a,0\n')
    data = AVDataset('a.csv', TEST_STEPS, data_root=str(tmp_path), classes=('cat', 'dog'), test_mode=True)
    (shown,) = read_clips([data], [0])
    assert shown.heading.endswith('0.00 to 2.00 s   a.mp4 + a.m4a') and len(shown.rows[0].cells) == 2
