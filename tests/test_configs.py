"""Every config of the repository: it is checked, dumped and reloaded, and its model is built without memory."""

import ast

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.config.check import check_config
from mmav.config.edits import AUTO, resolve_num_classes, training_views
from mmav.config.reading import load_config
from mmav.models.init import reads_file
from mmav.models.weights.uses import weights_of_config
from mmav.registry import MODELS
from tests.configs.digests import CONFIGS, EXPERIMENTS, ROOT, config_of
from tests.engine.memory.test_plan import PLANNED


def by_name(paths):
    return pytest.mark.parametrize('path', paths, ids=lambda path: str(path.relative_to(ROOT)))


@by_name(CONFIGS)
def test_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@by_name(EXPERIMENTS)
def test_tells_command_hardware_and_result(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert 'tools/' in docstring and path.name in docstring
    assert any(source in docstring.lower() for source in ('measured here', 'paper', 'not yet run'))


@by_name(EXPERIMENTS)
def test_has_a_row_in_the_readme(path):
    readme = next(folder / 'README.md' for folder in path.parents if (folder / 'README.md').is_file())
    rows = [line for line in readme.read_text().splitlines() if line.startswith('|')]
    assert any(f'({path.relative_to(readme.parent)})' in row for row in rows), f'{readme} has no row of {path.name}'


@by_name(EXPERIMENTS)
def test_name_has_no_hyphen_and_few_bases(path):
    assert path.stem.isidentifier()
    assert len(Config._get_base_files(str(path))) <= 3


@by_name(EXPERIMENTS)
def test_check_passes(path):
    check_config(config_of(path))


_dumped = set()


@by_name(EXPERIMENTS)
def test_dump_and_reload_are_equal(path, tmp_path):
    """Of configs that have no entry of their own, one: what the others hold was dumped with them."""
    cfg = config_of(path)
    entries = {str(entry) for part in (cfg, cfg.model) for entry in part.items() if entry[0] != 'model'}
    if entries <= _dumped:
        return
    _dumped.update(entries)
    cfg.dump(tmp_path / 'dumped.py')
    again = load_config(str(tmp_path / 'dumped.py'))
    assert again.to_dict() == cfg.to_dict()  # so it passes the check, too


@pytest.mark.usefixtures('formatted_configs')
def test_a_formatted_dump_is_equal(tmp_path):
    """As users have it; the others are dumped as they are, since formatting takes longer than all else."""
    cfg = load_config(str(ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_avc_imc_epic_kitchens.py'))
    cfg.dump(tmp_path / 'dumped.py')
    assert '\nmodel = dict(\n' in (tmp_path / 'dumped.py').read_text()
    assert load_config(str(tmp_path / 'dumped.py')).to_dict() == cfg.to_dict()


FROM_SCRATCH = ('avdigits', 'balance', 'natural', 'small')
PAPER_SIZE = [path for path in EXPERIMENTS if 'tiny' not in path.stem and path.parent.name not in FROM_SCRATCH]
STARTS_FROM = dict(MAT='mvitv2_b_in1k', MViTv2='mvitv2_b_in1k', AST='deit_b_distilled_384_in1k', ViT='vit_b_in21k')
# folders whose encoders all start from one file
STARTS_TOGETHER = dict(mbt='vit_b_in21k', cav_mae='cav_mae_scale++')
# no public weights have the form of these: 24 blocks of width 384, three blocks of width 768
OWN_FORM = ('single_scale', 'no_mat')


@by_name([path for path in PAPER_SIZE if path.stem != 'mvitv2_recipe_kinetics_sounds'])
def test_starts_from_public_weights_unless_asked_not_to(path):
    cfg = config_of(path)
    given = {place.split('.')[2]: source.given for place, source in weights_of_config(cfg).items()}
    wanted = {
        name: STARTS_TOGETHER.get(path.parent.name) or STARTS_FROM[encoder.type]
        for name, encoder in cfg.model.backbones.items()
        if encoder is not None and not (name == 'audio' and any(form in path.stem for form in OWN_FORM))
    }
    assert given == wanted
    cfg.merge_from_dict({'model.pretrained': False})
    assert not weights_of_config(cfg)


@by_name([path for path in PAPER_SIZE if path.stem.endswith('kinetics_sounds')])
def test_kinetics_sounds_says_what_it_is_a_part_of(path):
    cfg = config_of(path)
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    assert [loader.dataset.part_of for loader in loaders] == ['Kinetics-400'] * 3


def test_from_scratch_means_no_part_of_the_model():
    init_default_scope('mmav')
    cfg = load_config(str(ROOT / 'configs' / 'mbt' / 'mbt_b_vggsound.py'), {'model.pretrained': False})
    check_config(cfg)
    model = cfg.model
    model.data_preprocessor = dict(type='AVDataPreprocessor')
    with torch.device('meta'):
        scratch = MODELS.build(model)
        default = MODELS.build({**model, 'pretrained': True})
    assert [name for name, part in default.backbones.items() if reads_file(part.init_cfg)] == ['video', 'audio']
    assert not any(reads_file(getattr(part, 'init_cfg', None)) for part in scratch.modules())


@by_name([path for path in EXPERIMENTS if path not in PAPER_SIZE])
def test_small_models_start_from_scratch(path):
    assert not weights_of_config(config_of(path))


def pair_of(path):
    """The encoders of a config, its neck and the clips of a step on a GPU, views counted."""
    cfg = config_of(path)
    encoders = {name: encoder for name, encoder in cfg.model.backbones.items() if encoder is not None}
    clips = cfg.train_dataloader.batch_size * max(training_views(cfg).values())
    return (str(encoders) if len(encoders) > 1 else None), str(cfg.model.get('neck')), clips


def test_memory_is_planned_for_every_pair_of_encoders():
    planned = [pair_of(ROOT / 'configs' / name) for name in PLANNED]
    missing = []
    for path in PAPER_SIZE:
        encoders, neck, clips = pair_of(path)
        alike = [most for pair, its_neck, most in planned if (pair, its_neck) == (encoders, neck)]
        if encoders and clips > max(alike, default=0):
            missing.append(path.stem)
    assert missing == []


PARAMETERS = {
    model['Name']: model['Metadata']['Parameters']
    for file in (ROOT / 'configs').glob('*/metafile.yml')
    for model in yaml.safe_load(file.read_text())['Models']
}


@by_name(EXPERIMENTS)
def test_model_builds(path, tmp_path):
    cfg = config_of(path)
    if cfg.get('num_classes') == AUTO:
        (tmp_path / 'classes.txt').write_text(''.join(f'class {i}\n' for i in range(100)))
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[loader].dataset.data_root = str(tmp_path)
        resolve_num_classes(cfg)
        assert cfg.num_classes == 100
    init_default_scope('mmav')
    MODELS.build(cfg.model.pop('data_preprocessor', dict(type='AVDataPreprocessor')))  # small, and checks its values
    size = size_of(cfg.model)
    assert size == PARAMETERS.get(path.stem, size) > 1000


_sizes = {}


def size_of(model):
    """Parameters of a model, each built once, without those of losses that training alone has."""
    key = str(model)
    if key not in _sizes:
        with torch.device('meta'):
            parameters = MODELS.build(model).named_parameters()
            _sizes[key] = sum(
                part.numel() for name, part in parameters if not name.startswith(('contrast.', 'auxiliary.'))
            )
    return _sizes[key]


# Rows of facebookresearch/SlowFast, configs/Kinetics/MVITv2_B_32x3.yaml, that an MMT of the paper takes over: names
# without weight decay, dropout, views. AST and MBT, which decays nothing, have recipes of their own, and the small
# models what their figures were measured with.
PUBLIC = dict(dropout=0.5, same_window=True, tokens=None)
OWN = dict(dropout=0.0, same_window=True, tokens=0.0)
SMALL = dict(dropout=0.0, same_window=False, tokens=0.0)
TOKENLESS = dict(SMALL, tokens=None)
# another system's recipe on one of our datasets: tests/test_recipes.py compares all of it with docs/recipes.md
RECIPES = [path for path in EXPERIMENTS if '_recipe_' in path.stem or path.parent.name == 'cav_mae']


@by_name([path for path in EXPERIMENTS if path not in RECIPES])
def test_follows_its_recipe(path):
    cfg = config_of(path)
    expected = PUBLIC
    if '_tiny_' in path.name or path.parent.name == 'natural':
        expected = SMALL
    elif path.parent.name in FROM_SCRATCH:
        expected = TOKENLESS
    elif path.parent.name in ('ast', 'mbt'):
        expected = OWN if path.parent.name == 'ast' else dict(OWN, tokens=None)
        assert cfg.optim_wrapper.optimizer.weight_decay == (0.05 if path.parent.name == 'ast' else 0.0)
    load = cfg.train_dataloader.dataset.pipeline[0]
    assert expected == dict(
        dropout=cfg.model.head.get('dropout', 0.0),
        same_window=load.get('same_window', False),
        tokens=cfg.optim_wrapper.paramwise_cfg.get('token_decay_mult'),
    )
    assert expected in (SMALL, TOKENLESS) or load.num_views == 2
