"""Each config is in the metafile of its folder, and what that says of it is so."""

import re
from collections import Counter

import pytest
import yaml
from mmengine.config import Config

from mmav.analysis.complexity import count_model
from tests.configs.digests import EXPERIMENTS, ROOT, config_of, name

# OpenMMLab's tools find the metafiles by this index
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
FILES = {file.split('/')[1]: yaml.safe_load((ROOT / file).read_text()) for file in INDEX}
MODELS = {model['Config']: model for content in FILES.values() for model in content['Models']}
METRICS = {'Top 1 Accuracy', 'Top 5 Accuracy', 'Top 1 Action', 'Top 1 Verb', 'Top 1 Noun', 'ARI', 'Homogeneity'}
METRICS |= {'mAP', 'AUC', 'Macro F1', 'Hit 1'}


def test_every_config_is_in_the_metafile_of_its_folder():
    listed = Counter(model['Config'] for content in FILES.values() for model in content['Models'])
    assert listed == Counter(name(path) for path in EXPERIMENTS if path.is_relative_to(ROOT / 'configs'))
    for folder, content in FILES.items():
        (collection,) = content['Collections']
        assert (ROOT / collection['README']).parent == ROOT / 'configs' / folder
        assert collection['Paper'].keys() == {'Title', 'URL'}
        for model in content['Models']:
            assert model['Config'] == f'configs/{folder}/{model["Name"]}.py'
            assert model['In Collection'] == collection['Name']


@pytest.mark.parametrize('config', MODELS)
def test_a_figure_has_its_source(config):
    model = MODELS[config]
    assert 'Weights' in model
    for result in model['Results']:
        assert result.keys() <= {'Task', 'Dataset', 'Variant', 'Drop', 'Metrics', 'Measured', 'Paper'}
        assert result['Task'] and result['Dataset']
        if result['Metrics']:
            assert result['Metrics'].keys() <= METRICS
            measured = result['Measured']
            assert measured['Command'] and measured['Machine'] and measured['Runs']
            for value in result['Metrics'].values():
                values = value if isinstance(value, list) else [value]
                assert len(values) == len(measured['Seeds']) and all(0 <= item <= 1 for item in values)
        if 'Paper' in result:
            assert result['Paper'].keys() - {'Source'} <= METRICS and result['Paper']['Source']


@pytest.mark.parametrize('config', MODELS)
def test_metadata_are_those_of_the_config(config):
    cfg, metadata = config_of(ROOT / config), MODELS[config]['Metadata']
    gpus = re.match(r'(\d+) GPUs', metadata['Training Resources'])
    assert metadata['Epochs'] == cfg.train_cfg.max_epochs
    assert metadata['Batch Size'] == cfg.train_dataloader.batch_size * (int(gpus[1]) if gpus else 1)
    folder = {'your own clips': 'my_clips', 'AVSynth, 16 pairs': 'avsynth', 'EPIC-Kitchens-100': 'epic_kitchens'}
    folder |= {'MUSIC-21': 'music21', 'MUSIC-21 with duets': 'music21_duet'}
    folder |= dict.fromkeys(('AudioSet-2M', 'AudioSet-20K'), 'audioset')
    data = metadata['Training Data']
    expected = folder.get(data, data.lower().replace(', ', '_').replace('-', '_'))
    assert cfg.train_dataloader.dataset.data_root == f'data/{expected}'


def test_multiply_accumulates_are_those_that_are_counted():
    config = 'configs/mmt/mmt_tiny_avsynth.py'
    total = count_model(config_of(ROOT / config).model)[-1]
    metadata = MODELS[config]['Metadata']
    assert (total.parameters, total.explicit) == (metadata['Parameters'], metadata['MACs'])


def test_a_papers_figures_stand_nowhere_else():
    figures = {
        str(value)
        for model in MODELS.values()
        for result in model['Results']
        for key, value in result.get('Paper', {}).items()
        if key != 'Source'
    }
    assert len(figures) > 60
    for folder in FILES:
        text = (ROOT / 'configs' / folder / 'README.md').read_text()
        by_hand = re.sub(r'<!-- (.*?): start.*?<!-- \1: end -->', '', text, flags=re.DOTALL)
        assert not figures & set(re.findall(r'\d+\.\d+', by_hand)), folder


def test_every_variant_is_taken_by_an_experiment():
    taken = {'': set(), '_tiny_': set(), '_nano_': set()}
    for path in EXPERIMENTS:
        names = re.findall(r"\bvariants(?:'\))?\.(\w+)", path.read_text().partition('_base_ =')[2])
        size = next(key for key in ('_tiny_', '_nano_', '') if key in path.name)
        taken[size].update(name for name in names if name != 'py')
    rows, tiny, nano = (
        Config.fromfile(ROOT / 'configs' / '_base_' / f'variants{size}.py').variants for size in ('', '_tiny', '_nano')
    )
    assert taken[''] == set(rows) == set(nano)
    assert taken['_tiny_'] | {'mbt_optimizer', 'token_drop'} == set(tiny)
    own = re.findall(r'^    (\w+)=', (ROOT / 'configs' / '_base_' / 'variants_nano.py').read_text(), flags=re.MULTILINE)
    assert own and set(own) <= taken['_nano_']
