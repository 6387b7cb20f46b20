"""Encoders of others are used as their processors say; what is no such encoder is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmav.analysis.folder import encoders as module
from mmav.analysis.folder.choices import CONFIG, choose
from mmav.analysis.folder.config import config_text, folder_config
from mmav.analysis.folder.encoders import explain_scratch, fit_choices, on_disk, read_encoders
from mmav.config.reading import load_checked_config, load_config
from mmav.datasets import av_collate
from mmav.errors import ConfigError
from mmav.registry import DATASETS, MODELS
from mmav.shipped import find_config
from tests import clips
from tests.models.hf_families import FAMILIES

NAMES = ('videomae', 'ast', 'wav2vec2', 'clip')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('encoders')
    for name in NAMES:
        FAMILIES[name].write(str(root / name))
    return {name: root / name for name in NAMES}


@pytest.fixture(scope='module')
def base():
    return load_config(str(find_config(CONFIG)))


@pytest.fixture
def written(base, folders, tmp_path):
    """The checked config of a folder with these encoders, and its choices."""
    for k in range(2):
        clips.make_clip(tmp_path / f'{k}.mp4', seconds=1.0, fps=8, size=(40, 48))
    (tmp_path / 'classes.txt').write_text('a\nb\nc\n')
    (tmp_path / 'all.csv').write_text('path,label\n0.mp4,a\n1.mp4,b\n')

    def write(**names):
        found = read_encoders([f'{name}={folders[folder]}' for name, folder in names.items()], ('video', 'audio'))
        chosen = choose([1.0], ('video', 'audio'), why_modalities='', clips=40, base=base, workers=0)
        fit_choices(chosen, found)
        lists = dict.fromkeys(('train', 'val', 'test'), tmp_path / 'all.csv')
        where = dict(data_root=tmp_path, lists=lists, classes=tmp_path / 'classes.txt')
        cfg = folder_config(base, chosen, **where, encoders=found)
        path = tmp_path / 'config.py'
        path.write_text(config_text(find_config(CONFIG).resolve(), base, cfg, chosen, opening='Clips.'))
        return load_checked_config(str(path)), chosen

    return write


@pytest.mark.parametrize(
    ('names', 'shapes'),
    [
        (dict(video='videomae', audio='ast'), dict(video=(4, 32, 32), audio=(32, 64))),
        (dict(video='clip', audio='wav2vec2'), dict(video=(8, 32, 32), audio=(16000,))),
        (dict(audio='ast'), dict(video=(8, 64, 64), audio=(32, 64))),
    ],
)
def test_a_step_of_training_leaves_encoders_as_they_are(written, names, shapes):
    cfg, chosen = written(**names)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = av_collate([dataset[0], dataset[1]])
    for name, shape in shapes.items():
        assert tuple(data['inputs'][name].shape[-len(shape) :]) == shape
    cfg.model.head.num_classes = 3
    model = MODELS.build(cfg.model)
    model.init_weights()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrapper = module_optim(model, cfg)
    model.train()
    assert torch.isfinite(model.train_step(data, wrapper)['loss'])
    changed = {name.split('.')[1] if name.startswith('backbones') else name.split('.')[0] for name, value in
               model.state_dict().items() if not torch.equal(value, before[name])}  # fmt: skip
    assert changed == {'head', *(name for name in ('video', 'audio') if name not in names)}
    # the weights are those of the folder
    for name, folder in names.items():
        own = MODELS.build(dict(type='HFBackbone', model=cfg.model.backbones[name].model, input_size=shapes[name]))
        own.init_weights()
        state = own.state_dict()
        assert state.keys() == {
            k.removeprefix(f'backbones.{name}.') for k in before if k.startswith(f'backbones.{name}.')
        }
        assert all(torch.equal(before[f'backbones.{name}.{key}'], value) for key, value in state.items()), folder
    assert 'frozen' in chosen.reasons['encoders'].why
    assert ('from scratch' in chosen.reasons['encoders'].why) == (len(names) == 1)


def module_optim(model, cfg):
    from mmengine.optim import build_optim_wrapper

    return build_optim_wrapper(model, cfg.optim_wrapper)


def test_what_is_no_encoder_is_refused(folders, tmp_path):
    def refused(*words, modalities=('video', 'audio')):
        with pytest.raises(ConfigError) as caught:
            read_encoders(words, modalities)
        return str(caught.value)

    ast, videomae = folders['ast'], folders['videomae']
    assert refused('videomae') == '--encoder videomae: give MODALITY=WHERE, such as video=DIR or audio=DIR'
    assert "did you mean 'video'?" in refused(f'vidoe={videomae}')
    assert refused(f'video={ast}').endswith(f'it reads audio; give audio={ast}')
    assert 'has no effect: the model is of video only' in refused(f'audio={ast}', modalities=('video',))
    assert 'already; give one' in refused(f'audio={ast}', f'audio={ast}')
    assert 'is no folder' in refused(f'video={tmp_path}/none')
    bare = tmp_path / 'bare'
    bare.mkdir()
    (bare / 'config.json').write_bytes((ast / 'config.json').read_bytes())
    assert 'cannot read its preprocessor_config.json' in refused(f'audio={bare}')


def test_what_is_on_disk_is_named(folders, tmp_path, monkeypatch, base):
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(module, 'cache_folder', lambda: tmp_path / 'torch')

    def why():
        chosen = choose([1.0], ('video',), why_modalities='', clips=40, base=base, workers=0)
        explain_scratch(chosen)
        return chosen.reasons['encoders'].why

    assert why().startswith('no pretrained encoder is on disk; to use one, frozen: hf download ')
    for name, public in (('videomae', 'models--a--video-mae'), ('ast', 'models--b--ast')):
        snapshots = tmp_path / 'hub' / public / 'snapshots'
        snapshots.mkdir(parents=True)
        (snapshots / '123').symlink_to(folders[name], target_is_directory=True)
    assert [(name, modality) for name, modality, _ in on_disk()] == [('a/video-mae', 'video'), ('b/ast', 'audio')]
    assert '--encoder video=' in why() and 'b/ast' in why()
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch' / Path('mae_hiera_base_16x224.pth')).write_bytes(b'')
    assert 'mae_hiera_base_k400' in why()


def test_a_spectrogram_that_is_too_short_is_told(folders, base):
    """The encoder takes 64 frames."""
    found = read_encoders([f'audio={folders["ast"]}'], ('video', 'audio'))

    def why(window):
        chosen = choose([window], ('video', 'audio'), why_modalities='', clips=40, base=base, workers=0)
        fit_choices(chosen, found)
        assert chosen.target_frames == 64
        return chosen.reasons['spectrogram'].why

    assert why(0.5).endswith('zeros at the end') and why(2.0).endswith('so only the beginning is heard')
