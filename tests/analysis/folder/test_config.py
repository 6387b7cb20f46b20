"""The config that is written says what was chosen, reads like one by hand, and is the same as the one in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmav.analysis.folder.choices import CONFIG, choose, limit_epochs
from mmav.analysis.folder.config import config_text, folder_config
from mmav.analysis.folder.timing import EpochTime
from mmav.config.reading import load_checked_config, load_config
from mmav.shipped import find_config


@pytest.fixture(scope='module')
def base():
    return load_config(str(find_config(CONFIG)))


@pytest.fixture
def written(base, tmp_path):
    """Writes the config of some choices; gives the text, and what reading it gives."""
    classes = tmp_path / 'classes.txt'
    classes.write_text('a\nb\nc\n')

    def write(modalities=('video', 'audio'), clips=40, epochs=7, root='/clips', **options):
        chosen = choose([2.0], modalities, why_modalities='', clips=clips, base=base, workers=0)
        limit_epochs(chosen, EpochTime(1.0, 1.0), 1.0, asked=epochs)
        lists = {part: Path(f'/lists/{part}.csv') for part in ('train', 'val', 'test')}
        cfg = folder_config(base, chosen, data_root=Path(root), lists=lists, classes=classes, **options)
        path = tmp_path / 'config.py'
        path.write_text(config_text(find_config(CONFIG).resolve(), base, cfg, chosen, opening=f'Clips of {root}.'))
        return path.read_text(), load_checked_config(str(path)), cfg

    return write


def loose(value):
    """Lists and tuples alike, numbers as numbers."""
    if isinstance(value, dict):
        return {key: loose(item) for key, item in value.items()}
    return [loose(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize('modalities', [('video', 'audio'), ('video',), ('audio',)])
def test_reading_it_gives_what_was_meant(written, modalities):
    _, read, cfg = written(modalities)
    meant = {key: value for key, value in cfg.items() if key not in ('train_pipeline', 'test_pipeline')}
    assert loose({key: read.to_dict()[key] for key in meant}) == loose(meant)
    assert [name for name, part in read.model.backbones.items() if part] == [*modalities]


def test_it_says_what_was_chosen(written):
    text, read, _ = written()
    for line in ('window = 2.0', 'num_frames = 8', 'target_frames = 200', 'batch_size = 8', 'max_epochs = 7'):
        assert f'\n{line}\n' in text
    assert 'window=window' in text and 'RandomFlip' not in text
    load = read.test_dataloader.dataset.pipeline[0]
    assert (load.window, load.num_frames) == (2.0, 8) and read.model.backbones.audio.input_size[1] == 200
    assert read.default_hooks.checkpoint.save_best == 'top1' and read.val_evaluator.topk == (1,)
    roots = {read[f'{part}_dataloader'].dataset.data_root for part in ('train', 'val', 'test')}
    assert roots == {'/clips'} and read.val_dataloader.dataset.ann_file == '/lists/val.csv'


def test_it_can_be_changed_by_hand(written, tmp_path):
    text, _, _ = written()
    changed = tmp_path / 'changed.py'
    changed.write_text(text.replace('window = 2.0', 'window = 1.5').replace('max_epochs = 7', 'max_epochs = 9'))
    read = load_checked_config(str(changed))
    assert read.train_dataloader.dataset.pipeline[0].window == read.test_dataloader.dataset.pipeline[0].window == 1.5
    assert read.train_cfg.max_epochs == read.param_scheduler[-1].end == 9


@pytest.mark.parametrize(('epochs', 'ends'), [(1, [1]), (2, [1, 2]), (20, [1, 20]), (100, [5, 100])])
def test_the_schedule_keeps_its_shape(written, epochs, ends):
    _, read, _ = written(epochs=epochs)
    assert [each.end for each in read.param_scheduler] == ends
    assert [each.begin for each in read.param_scheduler] == [0, *ends[:-1]]


def test_flips_are_asked_for(written):
    assert 'RandomFlip' in written(flips=True)[0]


def test_odd_paths_do_no_harm(written):
    _, read, _ = written(root='/a "b"\\n""" {c}')
    assert read.train_dataloader.dataset.data_root == '/a "b"\\n""" {c}'
