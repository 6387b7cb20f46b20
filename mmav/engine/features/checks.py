"""What a config of features cannot have: settings that act before encoders, and encoders where features are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmav.config.check import checks
from mmav.config.edits import DATALOADERS, leaves_of
from mmav.engine.features.plan import preprocessor_of

CACHED, FEATURES = 'CachedBackbone', 'FeatureDataset'


@checks(None)
def feature_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per setting that cannot have its effect on features, and per encoder that is fed with them."""
    model = cfg.get('model')
    if not isinstance(model, Mapping) or not isinstance(model.get('backbones'), Mapping):
        return
    kinds = {name: part.get('type') for name, part in model['backbones'].items() if isinstance(part, Mapping)}
    cached = [name for name, kind in kinds.items() if kind == CACHED]
    preprocessor = preprocessor_of(cfg) or {}
    if cached and preprocessor.get('batch_augment'):
        yield (
            'model.data_preprocessor.batch_augment: mixes clips before encoders, which is not the same as mixing their '
            'features: leave it out'
        )
    for name in cached:
        if name in (preprocessor.get('norm') or {}):
            yield f'model.data_preprocessor.norm.{name}: features are not normalised again: leave it out'
    for loader in DATALOADERS:
        for dataset in leaves_of((cfg.get(loader) or {}).get('dataset')):
            reads = dataset.get('type') == FEATURES
            wrong = [name for name, kind in kinds.items() if (kind == CACHED) != reads]
            if wrong and (reads or cached):
                what = 'features' if reads else f'files with a {dataset.get("type")}'
                yield (
                    f'{loader} reads {what}, and model.backbones.{wrong[0]} is a {kinds[wrong[0]]}: `mmav train CONFIG '
                    '--features DIR` makes a config whose parts go together'
                )
