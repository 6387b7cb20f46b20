"""What the paper reports of its rows: read from the metafiles of the configs, where each figure stands once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mmav.analysis.complexity import PAPER
from mmav.errors import ConfigError, did_you_mean
from mmav.shipped import shipped_root

# what a metafile calls a figure -> what a test calls it
METRICS = {
    'Top 1 Accuracy': 'top1',
    'Top 5 Accuracy': 'top5',
    'Top 1 Action': 'action_top1',
    'Top 1 Verb': 'verb_top1',
    'Top 1 Noun': 'noun_top1',
    'ARI': 'ari',
    'Homogeneity': 'homogeneity',
}
_NOT_PERCENT = ('ARI', 'Homogeneity')
_FOLDERS = ('ast', 'mat', 'mbt', 'mmt', 'mvitv2')
_FUSION_OF_PARTS = 'mmt/mmt_avg'


class PaperDataset(NamedTuple):
    """A dataset of the paper.

    Attributes:
        name: As metafiles call it.
        key: As names of configs and folders call it.
        train: Clips that the paper trains on; None where it gives the number of both lists together.
        test: Clips that it tests on; None where it does not say.
        classes: File of the class list -> number of classes.
        about: What the paper says of its lists.
        prepare: The command that prepares the dataset.
    """

    name: str
    key: str
    train: int | None
    test: int | None
    classes: Mapping[str, int]
    about: str
    prepare: str

    @property
    def rows_file(self) -> Path:
        """The ablation file of its rows."""
        return shipped_root() / 'configs' / 'mmt' / f'paper_{self.key}.yml'

    @property
    def lists(self) -> dict[str, int | None]:
        """Name of a manifest -> clips of the paper's list."""
        return {'train.csv': self.train, 'test.csv': self.test}


DATASETS = {
    dataset.key: dataset
    for dataset in (
        PaperDataset(
            'VGGSound',
            'vggsound',
            159_223,
            12_790,
            {'classes.txt': 309},
            'The paper has what was left of the official lists when it collected the clips (4.1).',
            'mmav prepare-vggsound vggsound.csv --clips DIR',
        ),
        PaperDataset(
            'Kinetics-Sounds',
            'kinetics_sounds',
            22_914,
            1_585,
            {'classes.txt': 32},
            "The paper has what was left of Kinetics-400's lists when it collected the clips (4.1).",
            'mmav prepare-kinetics-sounds --train CSV --test CSV --clips DIR',
        ),
        PaperDataset(
            'EPIC-Kitchens-100',
            'epic_kitchens',
            None,
            None,
            {'verbs.txt': 97, 'nouns.txt': 300},
            'The paper speaks of 90,000 segments in all (4.1), and tests on the official validation list.',
            'mmav prepare-epic-kitchens epic-kitchens-100-annotations --clips DIR',
        ),
    )
}


def find_dataset(key: str) -> PaperDataset:
    """The dataset of a name.

    Raises:
        ConfigError: There is none.

    >>> find_dataset('vggsound').test
    12790
    """
    if key not in DATASETS:
        raise ConfigError(f'no dataset {key!r}{did_you_mean(key, DATASETS)}: choose {", ".join(DATASETS)} or all')
    return DATASETS[key]


@dataclass(frozen=True)
class Reported:
    """What the paper reports of one row, and what a model of it costs.

    Attributes:
        figures: Metric as a test calls it -> share in [0, 1], or index.
        sources: Metric -> where it stands.
        parameters: Of the model here.
        macs: Multiply-accumulates of the model here for one clip of one view.
        paper_cost: Parameters and multiply-accumulates that the paper reports, in words.
        epochs: Of the recipe.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    parameters: int = 0
    macs: int = 0
    paper_cost: str = ''
    epochs: int = 0


@cache
def _models() -> dict[str, dict[str, Any]]:
    """Config, such as ``mmt/mmt_k4_l4_vggsound`` -> its entry in the metafile."""
    found = {}
    for folder in _FOLDERS:
        text = (shipped_root() / 'configs' / folder / 'metafile.yml').read_text(encoding='utf-8')
        for model in yaml.safe_load(text)['Models']:
            found[f'{folder}/{model["Name"]}'] = model
    return found


def reported(config: str, dataset: PaperDataset) -> Reported:
    """What is known of a config; nothing of one that is not mmav's.

    Args:
        config: Path whose last two parts are those of one of mmav's configs; ``''`` is the row that averages the
            predictions of two models, whose figures stand with the config that trains both together.
        dataset: The dataset.

    >>> reported('configs/mat/mat_base_vggsound.py', DATASETS['vggsound']).figures['top1']
    0.57
    """
    path = Path(config) if config else Path(f'{_FUSION_OF_PARTS}_{dataset.key}.py')
    model = _models().get(f'{path.parent.name}/{path.stem}')
    if model is None:
        return Reported()
    figures, sources = {}, {}
    for result in model['Results']:
        paper = dict(result.get('Paper') or {}) if result['Dataset'] == dataset.name else {}
        source = paper.pop('Source', '')
        for name, value in paper.items():
            figures[METRICS[name]] = value if name in _NOT_PERCENT else round(value / 100, 5)
            sources[METRICS[name]] = source
    metadata = model['Metadata']
    # losses of training do not change what classifying a clip takes
    stem = path.stem.replace(dataset.key, 'vggsound').replace('_avc_imc', '')
    cost = PAPER.get(stem, {})
    return Reported(
        figures,
        sources,
        metadata['Parameters'],
        metadata['MACs'],
        cost.get('total') or cost.get('audio', ''),
        metadata['Epochs'],
    )
