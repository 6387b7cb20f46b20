"""Weights of timm, adapted by timm itself and reported as all others are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.checkpoints import load_checkpoint_file
from mmav.errors import CheckpointError, ConfigError, one_line
from mmav.models.backbones.timm_backbone import create, published_of
from mmav.models.init import LOADED, note_file, note_origin
from mmav.models.weights.layouts import state_of
from mmav.models.weights.public_weights import LoadReport
from mmav.models.weights.source import locate
from mmav.registry import WEIGHT_INITIALIZERS

# in a folder or a repository of the hub
_FILES = ('model.safetensors', 'pytorch_model.bin')
_SHOWN = 5


@WEIGHT_INITIALIZERS.register_module()
class TimmWeights:
    """``init_cfg`` that :class:`~mmav.models.backbones.TimmBackbone` gives itself, see :func:`load_timm_weights`.

    Args:
        checkpoint: A file or folder; None for the weights that timm publishes under the name of the network.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Fills a TimmBackbone."""
        report = load_timm_weights(module, self.checkpoint)
        note_file(module, report.source, report.loaded)
        note_origin(module, [*report.loaded, *report.adapted], f"{LOADED}'{report.source}' ({report.layout})")
        for line in str(report).splitlines():  # the console shows no listings
            print_log(line, 'current')


def load_timm_weights(module: Any, checkpoint: str | None = None) -> LoadReport:
    """Loads weights into a TimmBackbone.

    timm adapts them as for its own models: another number of channels, positions of another grid, names of older files
    and of other projects.

    Args:
        module: The backbone.
        checkpoint: A file, a folder with one, or an address; None for what timm publishes under the name.

    Raises:
        CheckpointError: They cannot be had, or are of another network.
    """
    path = _published_file(module.model_name) if checkpoint is None else _file_of(checkpoint)
    state = state_of(load_checkpoint_file(path))
    report = LoadReport(str(path), f'timm {module.model_name}')
    values = {name: value for name, value in state.items() if value.is_floating_point()}
    # what is not a number after loading a file without numbers has been loaded
    blank = {name: torch.full_like(value, math.nan) for name, value in values.items()}
    own = _taken(module, {**state, **blank}, path)
    found = {name for name, value in own.items() if _is_blank(value)}
    missing = [name for name, value in own.items() if value.is_floating_point() and name not in found]
    if missing:
        more = f' and {len(missing) - _SHOWN} more' if len(missing) > _SHOWN else ''
        raise CheckpointError(
            f"'{path}' is of another network than {module.model_name}: it lacks {', '.join(missing[:_SHOWN])}{more}"
        )
    loaded = _taken(module, state, path)
    for name in found:
        same = name in state and state[name].shape == own[name].shape and torch.equal(state[name], loaded[name])
        if same:
            report.loaded.append(f'model.{name}')
        else:
            report.adapted[f'model.{name}'] = 'by timm'
    if found <= state.keys():  # otherwise timm has renamed them
        report.unused = [name for name in state if name not in own]
    module.model.load_state_dict(loaded, strict=False)  # it may have LoRA's weights beside them
    return report


def _is_blank(value: Tensor) -> bool:
    return value.is_floating_point() and bool(value.isnan().any())


def _taken(module: Any, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """What timm makes of weights for a network of the module's kind."""
    overlay = dict(state_dict=dict(state), file=None, url='', hf_hub_id=None, source='', custom_load=False)
    try:
        with torch.random.fork_rng(devices=()):
            network = create(module.model_name, module.model_args, pretrained=True, pretrained_cfg_overlay=overlay)
    except ConfigError as error:
        raise CheckpointError(f"'{path}': {error}") from error
    return network.state_dict()


def _file_of(checkpoint: str) -> Path:
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        return locate(checkpoint).fetch()
    found = [folder / name for name in _FILES if (folder / name).is_file()]
    found = found or [path for end in ('*.safetensors', '*.pth', '*.pt') for path in sorted(folder.glob(end))]
    if not found:
        raise CheckpointError(f"'{checkpoint}' has no weights ({', '.join(_FILES)} or another): give the file")
    return found[0]


def _published_file(model_name: str) -> Path:
    published = published_of(model_name)
    kind, _, place = model_name.partition(':')
    if kind == 'local-dir':
        return _file_of(place)
    hub, address = published.get('hf_hub_id'), published.get('url')
    if hub:
        return _from_hub(model_name, hub, published.get('hf_hub_filename'))
    if address:
        return locate(address).fetch()
    raise CheckpointError(f'timm publishes no weights of {model_name}: give checkpoint=, a file, or pretrained=False')


def _from_hub(model_name: str, hub: str, name: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    first, *others = [name] if name else list(_FILES)
    try:
        return Path(hf_hub_download(hub, first))
    except (OSError, ValueError, EntryNotFoundError) as error:
        if others and isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return _from_hub(model_name, hub, others[0])  # what older repositories have
        reason = one_line(error).split('. ')[0][:200]
        raise CheckpointError(
            f'the weights of {model_name} are not in the cache and cannot be had from the hub ({reason}); give '
            f'checkpoint=, the file {first} of https://huggingface.co/{hub}, or pretrained=False'
        ) from error
