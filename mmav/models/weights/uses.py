"""Public weights in a config: finds them, checks them before anything is built, fetches them, or leaves them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.config.check import checks
from mmav.errors import CheckpointError, ConfigError, did_you_mean
from mmav.models.init import reads_file, without_files
from mmav.models.lora import is_lora
from mmav.models.weights.choices import OPTIONS, check_options
from mmav.models.weights.source import Source, locate
from mmav.models.weights.table import DATA_SETS, find_row, seen_by_name

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# tables that loading interpolates to another size
_POSITIONS = re.compile(r'(^|\.)(pos_embed|rel_pos\.tables\.\d+)$')


def dicts_with(key: str, value: Any, place: str) -> Iterator[tuple[str, dict]]:
    """The dicts inside a part of a config that have a key, and where they are."""
    if isinstance(value, dict):
        if key in value:
            yield place, value
        items: Any = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    for name, item in items:
        yield from dicts_with(key, item, f'{place}.{name}')


def _inits_in(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the parts of a config's model are initialised by, and where that is."""
    for place, part in dicts_with('init_cfg', cfg.get('model'), 'model'):
        given = part['init_cfg']
        several = isinstance(given, (list, tuple))
        for number, init in enumerate(given if several else [] if given is None else [given]):
            yield f'{place}.init_cfg{f".{number}" if several else ""}', init


def _kind(init: dict) -> Any:
    kind = init.get('type')
    return kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', kind)  # mmav.PublicWeights


def places_of_files(cfg: Mapping[str, Any]) -> list[str]:
    """Where a config's model reads files of any kind, such as ``model.backbones.video.init_cfg``."""
    return [place for place, init in _inits_in(cfg) if isinstance(init, dict) and reads_file(init)]


def weights_in(cfg: Mapping[str, Any]) -> Iterator[tuple[str, dict]]:
    """The ``PublicWeights`` of a config's model, and where they are, such as ``model.backbones.video.init_cfg``."""
    for place, init in _inits_in(cfg):
        if isinstance(init, dict) and _kind(init) == 'PublicWeights':
            yield place, init


@checks(None)
def weight_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per problem: an unknown name, or weights trained on a dataset that contains the config's data.

    A dataset sets ``part_of='Kinetics-400'``, as Kinetics-Sounds does: weights trained on Kinetics-400 have seen its
    clips, most of them with their labels, so their results are not comparable. ``allow_overlap`` of ``PublicWeights``
    allows them anyway. Files are recognised by their name or URL, including other models whose names say Kinetics-400,
    -600 or -700, or which are known to have seen it; all others pass.
    """
    whole: dict[str, str] = {}
    for loader in _LOADERS:
        for place, part in dicts_with('part_of', cfg.get(loader), loader):
            if part['part_of'] not in (*DATA_SETS, '', None):
                hint = did_you_mean(str(part['part_of']), DATA_SETS) or f'; they are {", ".join(DATA_SETS)}'
                yield f'{place}.part_of: no public weights were trained on {part["part_of"]!r}{hint}'
            elif part['part_of']:
                whole.setdefault(part['part_of'], place)
    used = _starts_from_weights(cfg)
    if not isinstance(used, bool):
        yield f'model.pretrained: give True or False, got {used!r}'
    for place, init in _inits_in(cfg):
        if not isinstance(init, dict) or (init and 'type' not in init):
            yield f"{place}: give a dict such as dict(type='PublicWeights', checkpoint=...), got {init!r}"
        elif _kind(init) == 'PublicWeights':
            yield from _problems_of(init, place, whole, used=bool(used))
        elif isinstance(init.get('checkpoint'), str) and used:
            for data, where in _overlap(init['checkpoint'], whole):
                yield f'{place}.checkpoint: {_has_seen(init["checkpoint"], data, where)}; take other weights'
    for place, checkpoint in _networks_of_others(cfg) if used else ():
        for data, where in _overlap(checkpoint, whole):
            yield f'{place}: {_has_seen(checkpoint, data, where)}; take other weights'


def _networks_of_others(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The weights that backbones of other libraries name in arguments of their own, and where they are."""
    model = cfg.get('model')
    backbones = model.get('backbones') if isinstance(model, dict) else None
    for key in ('checkpoint', 'model', 'model_name'):
        for place, part in dicts_with(key, backbones, 'model.backbones'):
            if isinstance(part[key], str) and 'init_cfg' not in place and part.get('pretrained', True):
                yield f'{place}.{key}', part[key]


def _problems_of(init: dict, place: str, whole: Mapping[str, str], *, used: bool) -> Iterator[str]:
    """The problems of one ``PublicWeights``."""
    checkpoint = init.get('checkpoint')
    if not isinstance(checkpoint, str) or not checkpoint:
        yield f'{place}.checkpoint: give a name, an address or a path, got {checkpoint!r}'
        return
    try:
        check_options({name: init.get(name) for name in OPTIONS}, init.get('grid'))
    except ConfigError as error:
        yield f'{place}: {error}'
    for name in ('strict', 'allow_overlap'):
        if not isinstance(init.get(name, False), bool):
            yield f'{place}.{name}: give True or False, got {init[name]!r}'
    try:
        locate(checkpoint)
    except CheckpointError as error:
        yield f'{place}.checkpoint: {error}'
        return
    overlap = list(_overlap(checkpoint, whole))
    if overlap and used and not init.get('allow_overlap'):
        yield (
            f'{place}.checkpoint: {_has_seen(checkpoint, *overlap[0])}; take other weights, or say so with '
            f'{place}.allow_overlap=True'
        )
    if init.get('allow_overlap') and not overlap:
        yield f'{place}.allow_overlap: has no effect, as no dataset here is known to be a part of what it has seen'


def _overlap(checkpoint: str, whole: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The datasets in the training data of weights that contain a dataset of the config, and where the latter is."""
    try:
        row = find_row(checkpoint)
        seen = row.trained_on if row else seen_by_name(checkpoint)
    except CheckpointError:  # no address
        return
    yield from ((data, whole[data]) for data in seen if data in whole)


def _has_seen(checkpoint: str, data: str, part: str) -> str:
    by_name = '' if find_row(checkpoint) else ', by its name,'
    return f'{checkpoint!r}{by_name} was trained on {data}, which {part} is a part of: it has seen these clips'


def weights_of_config(cfg: Mapping[str, Any]) -> dict[str, Source]:
    """What a config's model starts from: where it is in the config -> the weights; empty with ``pretrained=False``."""
    if not _starts_from_weights(cfg):
        return {}
    return {place: locate(init['checkpoint']) for place, init in weights_in(cfg)}


def _starts_from_weights(cfg: Mapping[str, Any]) -> Any:
    """``pretrained`` of a config's model."""
    model = cfg.get('model')
    return not isinstance(model, dict) or model.get('pretrained', True)


def leave_out_weights(model: nn.Module, source: str, load: Callable[[], Mapping[str, Tensor]] | None = None) -> None:
    """Removes files from a model's initialisation that a checkpoint replaces, and logs it; changes ``model``.

    Args:
        model: Not yet initialised.
        source: The checkpoint, for the message.
        load: Returns its weights, of which what fits will be loaded; None where all of them have to fit.
    """
    reading = {name: part for name, part in model.named_modules() if reads_file(getattr(part, 'init_cfg', None))}
    weights = load() if load is not None and reading else None
    for name, part in reading.items():
        if weights is None or _has_all(weights, name, part):
            part.init_cfg = without_files(part.init_cfg)
            print_log(f"Public weights of {name or 'the model'} are not read: '{source}' replaces them", 'current')


def _has_all(weights: Mapping[str, Tensor], name: str, part: nn.Module) -> bool:
    for key, own in part.state_dict(prefix=f'{name}.' if name else '').items():
        value = weights.get(key)
        if value is None and is_lora(key):  # starts anew
            continue
        if value is None or (value.shape != own.shape and not _POSITIONS.search(key)):
            return False
    return True
