"""The config of a folder's model as a file to read, to change and to train again."""

from __future__ import annotations

import copy
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmav.analysis.folder.choices import Choices
from mmav.analysis.folder.encoders import Encoder, use_encoders
from mmav.class_names import read_classes
from mmav.config.edits import DATALOADERS

_WIDTH = 110
# the numbers that stand at the top of the file
_NUMBERS = ('window', 'num_frames', 'target_frames', 'batch_size', 'max_epochs', 'num_workers')
_REASON_OF = dict(
    window='window',
    num_frames='frames',
    target_frames='spectrogram',
    batch_size='batch',
    max_epochs='epochs',
    num_workers='reading',
)
_FLIPS = ('RandomFlip',)


class _Whole(int):
    """A number that the file writes by its name."""

    name = ''


class _Real(float):
    name = ''


def _named(name: str, value: float) -> Any:
    number: Any = _Whole(value) if isinstance(value, int) else _Real(value)
    number.name = name
    return number


def folder_config(
    base: Config,
    chosen: Choices,
    *,
    data_root: Path,
    lists: Mapping[str, Path],
    classes: Path,
    seed: int = 0,
    flips: bool = False,
    encoders: Mapping[str, Encoder] | None = None,
) -> dict[str, Any]:
    """The config of a folder's model.

    Args:
        base: The config to start from.
        chosen: What to train with.
        data_root: Folder of the clips.
        lists: Part -> manifest.
        classes: Class list.
        seed: Of the training.
        flips: Whether training mirrors videos, which changes what some of them mean.
        encoders: Modality -> encoder of others, in place of the config's.

    Returns:
        The whole config, without ``base``.
    """
    cfg = copy.deepcopy(base.to_dict())
    numbers = {name: _named(name, getattr(chosen, name)) for name in _NUMBERS}
    for part, loader in zip(('train', 'val', 'test'), DATALOADERS, strict=True):
        cfg[loader] = copy.deepcopy(cfg[loader])  # val and test may be one object
        cfg[loader].update(num_workers=numbers['num_workers'], persistent_workers=chosen.num_workers > 0)
        for dataset in _dicts_with(cfg[loader], 'ann_file'):
            dataset.update(data_root=str(data_root), ann_file=str(lists[part]), classes=str(classes))
            if len(chosen.modalities) == 1:
                dataset['modalities'] = list(chosen.modalities)
            dataset['pipeline'] = _pipeline(dataset['pipeline'], chosen, numbers, flips=flips)
    cfg['train_dataloader']['batch_size'] = numbers['batch_size']
    # test lists are as the user means them: what cannot be read counts as wrong
    for dataset in _dicts_with(cfg['test_dataloader'], 'ann_file'):
        dataset['max_broken_share'] = 1.0
    _fit_model(cfg['model'], chosen, numbers)
    use_encoders(cfg, chosen, encoders or {})
    _fit_schedule(cfg, numbers['max_epochs'])
    # variables of the base, which nothing reads any more
    cfg.update({name: number for name, number in numbers.items() if name in cfg})
    cfg['default_hooks']['checkpoint'].update(save_best='top1', rule='greater', latest_of_equal=True, max_keep_ckpts=1)
    # Ctrl-C stops as a scheduler does: after the iteration, with all that is needed to go on
    cfg['default_hooks']['resume_point']['signals'] = ['SIGTERM', 'SIGUSR1', 'SIGINT']
    number = len(read_classes(str(classes)))
    for evaluator in ('val_evaluator', 'test_evaluator'):
        cfg[evaluator] = copy.deepcopy(cfg[evaluator])
        for metric in _dicts_with(cfg[evaluator], 'topk'):
            metric['topk'] = tuple(k for k in metric['topk'] if k < number)
    cfg['randomness'] = {**(cfg.get('randomness') or {}), 'seed': seed}
    return cfg


def _dicts_with(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if key in value:
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts_with(item, key)


def _pipeline(steps: Sequence[dict], chosen: Choices, numbers: Mapping[str, Any], *, flips: bool) -> list[dict]:
    found = []
    for step in copy.deepcopy(list(steps)):
        if step['type'] in _FLIPS and not flips:
            continue
        if step['type'] == 'LoadClip':
            step.update(num_frames=numbers['num_frames'], window=numbers['window'])
        if 'target_frames' in step:
            step['target_frames'] = numbers['target_frames']
        if step['type'] == 'SpecAugment':
            # at most a fifth of a short spectrogram
            step['time_mask'] = min(step.get('time_mask', 48), max(1, chosen.target_frames // 5))
        found.append(step)
    crops = [place for place, step in enumerate(found) if step['type'] == 'RandomResizedCrop']
    if flips and crops and not any(step['type'] in _FLIPS for step in found):
        found.insert(crops[0] + 1, dict(type=_FLIPS[0]))
    return found


def _fit_model(model: dict[str, Any], chosen: Choices, numbers: Mapping[str, Any]) -> None:
    backbones = model['backbones']
    for name in list(backbones):
        if name not in chosen.modalities:
            backbones[name] = None
        elif name == 'video':
            backbones[name]['input_size'] = (numbers['num_frames'], *backbones[name]['input_size'][1:])
        else:
            backbones[name]['input_size'] = (backbones[name]['input_size'][0], numbers['target_frames'])
    if len(chosen.modalities) == 1:
        model['neck'] = dict(type='Avg')


def _fit_schedule(cfg: dict[str, Any], epochs: int) -> None:
    """Stretches a schedule by epochs to another length; its warm-up keeps its share, and at least an epoch."""
    before = cfg['train_cfg']['max_epochs']
    stretched = []
    for each in cfg['param_scheduler']:
        for name in ('begin', 'end', 'T_max'):
            value = each.get(name)
            if each.get('by_epoch', True) and isinstance(value, int):
                each[name] = epochs if value == before else max(1, round(value * epochs / before)) if value else 0
        if each.get('begin', 0) < each.get('end', epochs):
            stretched.append(each)
    cfg['param_scheduler'] = stretched
    cfg['train_cfg']['max_epochs'] = epochs


def config_text(base_file: Path, base: Config, cfg: Mapping[str, Any], chosen: Choices, *, opening: str) -> str:
    """The config as a Python file that says only what differs from its base.

    Args:
        base_file: File of the base.
        base: The config in it.
        cfg: See :func:`folder_config`.
        chosen: What to train with; its reasons become comments.
        opening: Its docstring.
    """
    train, test = (cfg[f'{part}_dataloader']['dataset']['pipeline'] for part in ('train', 'test'))
    names = [('train_pipeline', train), ('test_pipeline', test)]
    body = [f'{name} = {_render(steps, [], 0)}' for name, steps in names]
    plain = base.to_dict()
    for key, value in cfg.items():
        if key in (*_NUMBERS, 'train_pipeline', 'test_pipeline'):
            continue
        changed = _difference(plain.get(key), value)
        if changed is not _SAME:
            body.append(f'{key} = {_render(changed, names, 0)}')
    text = '\n'.join(body)
    # a path may hold what ends a docstring
    words = opening.replace('\\', '\\\\').replace('"', '\\"')
    head = [f'"""{words}"""', '', f'_base_ = [{str(base_file)!r}]', '']
    for name in _NUMBERS:
        if re.search(rf'\b{name}\b(?!=)', text):
            reason = chosen.reasons.get(_REASON_OF[name])
            head += [*([f'# {reason.why}'] if reason else []), f'{name} = {getattr(chosen, name)!r}']
    return '\n'.join([*head, '', text, ''])


_SAME = object()


def _difference(before: Any, after: Any) -> Any:
    """What a config has to say so that its base's value becomes another."""
    if isinstance(after, (_Whole, _Real)):
        return after
    if isinstance(before, dict) and isinstance(after, dict):
        if {*before} - {*after}:
            return dict(_delete_=True, **after)
        changes = {key: _difference(before.get(key, _SAME), value) for key, value in after.items()}
        changes = {key: value for key, value in changes.items() if value is not _SAME}
        return changes or _SAME
    return _SAME if before is not _SAME and _plain(before) == _plain(after) else after


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _render(value: Any, names: Sequence[tuple[str, Any]], depth: int) -> str:
    """A value as Python text, on one line if it fits."""
    for name, known in names:
        if value == known:
            return name
    if isinstance(value, (_Whole, _Real)):
        return value.name
    if isinstance(value, dict) and all(_is_name(key) for key in value):
        items = [f'{key}={_render(item, names, depth + 1)}' for key, item in value.items()]
        before, after = 'dict(', ')'
    elif isinstance(value, dict):
        items = [f'{key!r}: {_render(item, names, depth + 1)}' for key, item in value.items()]
        before, after = '{', '}'
    elif isinstance(value, (list, tuple)):
        items = [_render(item, names, depth + 1) for item in value]
        before, after = ('[', ']') if isinstance(value, list) else ('(', ',)' if len(value) == 1 else ')')
    else:
        return repr(value)
    line = f'{before}{", ".join(items)}{after}'
    if len(line) + 4 * depth <= _WIDTH and '\n' not in line:
        return line
    inner, outer = '    ' * (depth + 1), '    ' * depth
    return f'{before}\n' + ''.join(f'{inner}{item},\n' for item in items) + f'{outer}{after.lstrip(",")}'


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)
