from __future__ import annotations

import pytest
from mmengine.config import Config

from mmav.config.reading import load_config
from mmav.errors import ConfigError
from tests import toys

TINY = toys.ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'


@pytest.fixture
def write(tmp_path):
    def write_config(text, name='child.py', base=TINY):
        path = tmp_path / name
        path.write_text(f'_base_ = [{str(base)!r}]\n{text}\n' if base else text)
        return path

    return write_config


@pytest.mark.parametrize(
    ('option', 'places'),
    [
        ('max_epochs', 'param_scheduler.1.end and train_cfg.max_epochs'),
        ('num_classes', 'model.head.num_classes'),
        ('norm.audio.mean', 'model.data_preprocessor.norm.audio.mean'),
        (
            'load.num_frames',
            'train_dataloader.dataset.pipeline.0.num_frames, val_dataloader.dataset.pipeline.0.num_fra',
        ),
        (
            'log_mel.target_frames',
            'train_dataloader.dataset.pipeline.3.target_frames, val_dataloader.dataset.pipeline.2',
        ),
        ('train_pipeline.0.num_frames', 'train_dataloader.dataset.pipeline.0.num_frames'),
        ('test_pipeline', 'val_dataloader.dataset.pipeline and test_dataloader.dataset.pipeline'),
        ('loader.num_workers', 'train_dataloader.num_workers, val_dataloader.num_workers and test_dataloader.num_work'),
        ('arch.num_layers', 'model.backbones.video.arch.num_layers and model.backbones.audio.arch.num_layers'),
        ('data_root', '--data-root DIR, or set train_dataloader.dataset.data_root'),
    ],
)
def test_an_option_that_nothing_reads_is_refused_with_what_to_set(option, places):
    message = (
        f'^--cfg-options {option}: nothing reads this variable any more, as its value was already copied; .*{places}'
    )
    with pytest.raises(ConfigError, match=message):
        load_config(str(TINY), {option: 1})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('max_epochs = 3', 'line 2: max_epochs: nothing .*set param_scheduler.1.end and train_cfg.max_epochs'),
        ('num_classes = 5', 'num_classes: nothing .*set model.head.num_classes'),
        ('load = dict(num_frames=4)', 'load: nothing .*set train_dataloader.dataset.pipeline.0, val_dataloader'),
        ('train_pipeline = [dict(type="PackAVInputs")]', 'train_pipeline: nothing .*set train_dataloader.dataset.pipe'),
        ('if True:\n    max_epochs = 3', 'line 3: max_epochs: nothing reads'),
        ('epochs = 3\nmax_epochs = epochs', 'max_epochs: nothing reads'),
        ('learning_rate = 1', 'line 2: learning_rate: nothing reads this name; remove it, or rename it'),
        ('test_dataloadr = dict()', "nothing reads this name, did you mean 'test_dataloader'"),
        # the base's value is read, not this one
        ('load = dict(num_frames=4)\ntest_cfg = dict(x=_base_.load)', 'load: nothing reads'),
    ],
)
def test_a_child_that_changes_what_was_copied_is_refused(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(str(write(text)))


@pytest.mark.parametrize(
    'text',
    [
        'train_cfg = dict(max_epochs=3)',
        'max_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)',
        'epochs = 3\nlonger = epochs + 1\ntrain_cfg = dict(max_epochs=longer)',
        'steps = [3]\nfor step in steps:\n    train_cfg = dict(max_epochs=step)',
        'load = dict(num_frames=4)\ntrain_dataloader = dict(dataset=dict(pipeline=[load, *_base_.train_pipeline[1:]]))',
        'model = dict(head=dict(num_classes={{_base_.num_classes}}))',
        'num_classes = None',  # says that it is not in use
        '_note = "mine"',
        'import math\ndef half(x):\n    return x / 2\ntrain_cfg = dict(max_epochs=int(half(4)))',
        "custom_imports = dict(imports=['math'])\nmine = 3",  # code of one's own may read it
    ],
)
def test_what_is_read_stays(write, text):
    load_config(str(write(text)))


def test_files_in_between_are_judged_with_those_below(write):
    middle = write('max_epochs = 3', 'middle.py')
    with pytest.raises(ConfigError, match=r'middle.py: line 2: max_epochs: nothing reads'):
        load_config(str(write('train_cfg = dict(val_interval=2)', base=middle)))
    # a variable that the base offers and does not use itself, and one that a child uses
    middle = write('max_epochs = 3\nnum_classes = 4', 'middle.py')
    text = 'train_cfg = dict(max_epochs=_base_.max_epochs)\nmodel = dict(head=dict(num_classes=_base_.num_classes))'
    assert load_config(str(write(text, base=middle))).train_cfg.max_epochs == 3


def test_one_value_for_several_names(write):
    """``train_dataloader = val_dataloader = dict(...)``: a variable in it goes to all of them."""
    config = toys.ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_kinetics_sounds.py'
    places = ', '.join(f'{name}_dataloader.dataset.data_root' for name in ('train', 'val'))
    message = f'data_root: nothing reads .*or set {places} and test_dataloader.dataset.data_root'
    with pytest.raises(ConfigError, match=message):
        load_config(str(config), {'data_root': 'x'})
    with pytest.raises(ConfigError, match=f'line 2: {message}'):
        load_config(str(write("data_root = 'x'", base=config)))
    with pytest.raises(ConfigError, match='line 2: val_dataloadr: nothing reads this name, did you mean'):
        load_config(str(write('train_dataloader = val_dataloadr = dict(batch_size=2)')))


def test_a_config_that_was_written_out_whole(tmp_path):
    path = tmp_path / 'dumped.py'
    Config.fromfile(str(TINY)).dump(str(path))
    assert load_config(str(path), {'train_cfg.max_epochs': 2}).train_cfg.max_epochs == 2
    for option, place in (
        ('max_epochs', 'train_cfg.max_epochs'),
        ('log_mel.target_frames', 'train_dataloader.dataset.pipeline.3.target_frames'),
        ('train_pipeline', 'train_dataloader.dataset.pipeline'),
    ):
        with pytest.raises(ConfigError, match=rf'--cfg-options {option}: nothing reads .*; set .*{place}'):
            load_config(str(path), {option: 1})


def test_forms_whose_text_tells_nothing(tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('model:\n  type: X\nwidth: 3\ntrain_cfg:\n  width: 3\n')
    assert load_config(str(path), {'model.type': 'Y'}).model.type == 'Y'
    with pytest.raises(ConfigError, match='--cfg-options width: nothing reads .* set train_cfg.width'):
        load_config(str(path), {'width': 1})
