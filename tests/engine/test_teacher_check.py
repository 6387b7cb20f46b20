"""Teachers that were trained on something else than the model will be."""

import pytest
import torch

from mmav.config.reading import load_config
from mmav.engine.teacher_check import teacher_problems
from tests.toys import ROOT

BASE = ROOT / 'configs/mmt/mmt_tiny_folder.py'
PLACE = 'model.auxiliary.teachers.audio: '


@pytest.fixture
def cfg():
    return load_config(str(BASE))


def problems(cfg, folder, changes='', classes=None):
    """Of a config whose teacher of audio was trained with changes."""
    config, checkpoint = folder / 'teacher.py', folder / 'teacher.pth'
    config.write_text(f'_base_ = [{str(BASE)!r}]\n{changes}\n')
    if classes is not None:
        torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict={}), checkpoint)
    files = dict(config=str(config), checkpoint=str(checkpoint))
    cfg.model.auxiliary = dict(teachers=dict(type='UnimodalTeachers', audio=files))
    return list(teacher_problems(cfg))


def test_a_teacher_of_the_same_data_passes_and_one_that_is_gone_is_none_of_a_checks_business(cfg, tmp_path):
    cfg.train_dataloader.dataset.classes = ['a', 'b']
    assert problems(cfg, tmp_path, classes=['a', 'b']) == []
    cfg.model.auxiliary.teachers.audio = dict(config='gone.py', checkpoint='gone.pth')
    assert list(teacher_problems(cfg)) == []


def test_another_norm_and_front_end_are_told(cfg, tmp_path):
    norm = 'model = dict(data_preprocessor=dict(norm=dict(audio=dict(mean=-1.0, std=2.0))))'
    (line,) = problems(cfg, tmp_path, norm)
    assert line.startswith(f"{PLACE}the teacher of '{tmp_path / 'teacher.py'}' was trained with norm={{'mean': -1.0, ")
    assert line.endswith('give them the same')
    bins = 'steps = list(_base_.train_pipeline)\nfor step in steps:\n    if step["type"] == "LogMel":\n'
    bins += '        step["num_mel_bins"] = 64\ntrain_dataloader = dict(dataset=dict(pipeline=steps))'
    (line,) = problems(cfg, tmp_path, bins)
    assert 'was trained with LogMel with num_bins=64, this config has LogMel with num_bins=128: give them' in line


def test_other_classes_are_told(cfg, tmp_path):
    cfg.train_dataloader.dataset.classes = ['a', 'b']
    (line,) = problems(cfg, tmp_path, classes=['b', 'a'])
    other = "class 0 is 'b' in the teacher and 'a' in this config"
    assert line == f"{PLACE}'{tmp_path / 'teacher.pth'}' was trained with other classes: {other}"


def test_features_have_nothing_to_see(cfg, tmp_path):
    cfg.model.backbones.audio = dict(type='CachedBackbone', out_dims=8)
    (line,) = problems(cfg, tmp_path)
    assert line == (f'{PLACE}a teacher sees what encoders see, and this config reads features: leave {PLACE[:-2]} out')
