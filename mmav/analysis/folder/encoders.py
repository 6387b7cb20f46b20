"""Encoders of others for a folder's model: given with --encoder, used frozen; and what is on disk already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmav.analysis.folder.choices import Choices, spectrogram_frames
from mmav.download import cache_folder
from mmav.errors import ConfigError, did_you_mean
from mmav.models.backbones import HFBackbone
from mmav.models.backbones.base import Expected
from mmav.models.weights.table import PUBLIC_WEIGHTS
from mmav.registry import TRANSFORMS
from mmav.structures import MODALITIES

# of an encoder that takes any
_FRAMES, _SIDE = 8, 224
_AXES = dict(video=(3,), audio=(1, 2))
_CROPS = ('RandomResizedCrop', 'CenterCrop')
_SHOWN = 3


@dataclass(frozen=True)
class Encoder:
    """An encoder of transformers.

    Attributes:
        modality: What it reads.
        where: Its folder, or its name on the hub.
        expected: What its weights expect.
    """

    modality: str
    where: str
    expected: Expected


def read_encoders(given: Sequence[str], modalities: Sequence[str]) -> dict[str, Encoder]:
    """Reads what ``--encoder MODALITY=WHERE`` says.

    Args:
        given: Such words.
        modalities: Those that the model may use.

    Returns:
        Modality -> encoder.

    Raises:
        ConfigError: Something is misspelt, given twice, has no effect, or is no such encoder.
    """
    found: dict[str, Encoder] = {}
    for words in given:
        name, equals, where = words.partition('=')
        if not equals or not where or name not in MODALITIES:
            hint = did_you_mean(name, MODALITIES) if equals else ''
            raise ConfigError(f'--encoder {words}: give MODALITY=WHERE, such as video=DIR or audio=DIR{hint}')
        if name in found:
            raise ConfigError(f'--encoder {words}: {name} has {found[name].where} already; give one')
        if os.path.isdir(os.path.expanduser(where)):
            where = str(Path(where).expanduser().resolve())
        found[name] = Encoder(name, where, _expected(words, name, where))
    check_used(found, modalities)
    return found


def check_used(encoders: Mapping[str, Encoder], modalities: Sequence[str]) -> None:
    """Refuses encoders of what the model does not use.

    Raises:
        ConfigError: There is one.
    """
    for name, each in encoders.items():
        if name not in modalities:
            raise ConfigError(
                f'--encoder {name}={each.where} has no effect: the model is of {" and ".join(modalities)} only'
            )


def _expected(words: str, modality: str, where: str) -> Expected:
    expected = HFBackbone.expected_of(dict(model=where))
    reads = next(name for name, axes in _AXES.items() if len(expected.size or ()) in axes)
    if reads != modality:
        raise ConfigError(f'--encoder {words}: it reads {reads}; give {reads}={where}')
    return expected


def fit_choices(chosen: Choices, encoders: Mapping[str, Encoder]) -> None:
    """Chooses what encoders prescribe: the number of frames, the length of a spectrogram.

    Args:
        chosen: Changed here.
        encoders: Modality -> encoder.
    """
    if 'video' in encoders and (frames := _size(encoders['video'])[0]) != chosen.num_frames:
        chosen.num_frames = frames
        chosen.explain('frames', frames, f'what the encoder takes, spread over the {chosen.window:g} s')
    if 'audio' in encoders:
        step = _front_end(encoders['audio'], chosen)
        kind = step['type']
        if 'target_frames' in step:
            whole, chosen.target_frames = spectrogram_frames(chosen.window), step['target_frames']
            heard = 'zeros at the end' if chosen.target_frames >= whole else 'so only the beginning is heard'
            chosen.explain('spectrogram', f'{chosen.target_frames} frames', f'what the encoder takes, {heard}')
        else:
            chosen.explain('spectrogram', kind, "the encoder's own front end")
    rest = [name for name in chosen.modalities if name not in encoders]
    said = [f'{name}: {Path(each.where).name}' for name, each in encoders.items()]
    own = f'; {rest[0]} from scratch' if rest else ''
    chosen.explain('encoders', ', '.join(said), f'as asked for with --encoder; frozen, the head learns{own}')


def use_encoders(cfg: dict[str, Any], chosen: Choices, encoders: Mapping[str, Encoder]) -> None:
    """Puts encoders into a config, with their normalisation, size of frames and front end.

    Args:
        cfg: Changed here.
        chosen: What to train with, see :func:`fit_choices`.
        encoders: Modality -> encoder.
    """
    model = cfg['model']
    preprocessor = model['data_preprocessor']
    for name, each in encoders.items():
        size = _size(each, chosen)
        model['backbones'][name] = dict(type='HFBackbone', model=each.where, input_size=size, freeze='all')
        preprocessor['norm'] = {**(preprocessor.get('norm') or {}), name: 'backbone'}
        # its input has one length
        trim = {other: columns for other, columns in (preprocessor.get('trim') or {}).items() if other != name}
        preprocessor['trim'] = trim or None
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            dataset = cfg[loader]['dataset']
            fit = _fit_frames if name == 'video' else _fit_audio
            dataset['pipeline'] = fit(dataset['pipeline'], each, chosen)


def _size(encoder: Encoder, chosen: Choices | None = None) -> tuple[int, ...]:
    if encoder.modality == 'video':
        frames, height, width = encoder.expected.size or (None,) * 3
        own = chosen.num_frames if chosen else _FRAMES
        return frames or own, height or _SIDE, width or _SIDE
    built = TRANSFORMS.build(dict(_front_end(encoder, chosen)))
    return tuple(built.shape)


def _front_end(encoder: Encoder, chosen: Choices | None) -> dict[str, Any]:
    """The step that computes its audio input."""
    step = dict(encoder.expected.front_end or {})
    if step['type'] == 'Waveform' and chosen is not None:
        step['target_samples'] = round(chosen.window * step['sample_rate'])
    return step


def _fit_frames(steps: Sequence[dict], encoder: Encoder, chosen: Choices) -> list[dict]:
    _, height, width = _size(encoder, chosen)
    before = next(step['size'] for step in steps if step['type'] in _CROPS)
    for step in steps:
        if step['type'] in _CROPS:
            step['size'] = height if height == width else (height, width)
        elif step['type'] == 'LoadClip':
            step['short_side'] = round(step['short_side'] * max(height, width) / before)
    return list(steps)


def _fit_audio(steps: Sequence[dict], encoder: Encoder, chosen: Choices) -> list[dict]:
    front_end = _front_end(encoder, chosen)
    rate = TRANSFORMS.build(dict(front_end)).sample_rate
    found = []
    for step in steps:
        if step['type'] == 'LoadClip':
            step['sample_rate'] = rate
        elif step['type'] == 'LogMel':
            step = dict(front_end)
        elif step['type'] == 'SpecAugment' and front_end['type'] == 'Waveform':
            continue
        found.append(step)
    return found


def explain_scratch(chosen: Choices) -> None:
    """Says that training starts from scratch, and which encoders are on disk or how to get one."""
    local = [f'{name} (--encoder {modality}={folder})' for name, modality, folder in on_disk()]
    files = [row.name for row in PUBLIC_WEIGHTS.values() if (cache_folder() / row.file).is_file()]
    told = []
    if local:
        told.append(f'on disk, and used where asked to: {_some(local)}')
    if files:
        told.append(f'on disk, for configs of your own (docs/weights.md): {_some(files)}')
    why = '; '.join(told) or (
        'no pretrained encoder is on disk; to use one, frozen: hf download MCG-NJU/videomae-base --local-dir DIR, and '
        '--encoder video=DIR (slower; see docs/encoders.md)'
    )
    chosen.explain('encoders', 'from scratch', why)


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def on_disk() -> Iterator[tuple[str, str, Path]]:
    """Encoders of transformers that its cache holds: name, modality, folder."""
    home = os.environ.get('HF_HOME') or os.path.expanduser('~/.cache/huggingface')
    hub = Path(os.environ.get('HF_HUB_CACHE') or os.path.join(home, 'hub'))
    for folder in sorted(hub.glob('models--*/snapshots/*')):
        if not any(folder.glob('*.safetensors')) and not any(folder.glob('pytorch_model*.bin')):
            continue
        with suppress(OSError, ValueError, AttributeError):
            extractor = json.loads((folder / 'preprocessor_config.json').read_text(encoding='utf-8'))
            (folder / 'config.json').read_text(encoding='utf-8')
            modality = 'video' if 'image_mean' in extractor else 'audio' if 'sampling_rate' in extractor else None
            if modality:
                yield folder.parts[-3].removeprefix('models--').replace('--', '/'), modality, folder
