"""Weights of transformers, loaded by transformers itself and reported as all others are."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from mmav.errors import CheckpointError
from mmav.hf_files import brief, folder_of, quiet, transformers
from mmav.models.init import LOADED, note_file, note_origin
from mmav.models.lora import is_lora
from mmav.models.weights.public_weights import LoadReport
from mmav.registry import WEIGHT_INITIALIZERS

_SHOWN = 5


@WEIGHT_INITIALIZERS.register_module()
class HFWeights:
    """``init_cfg`` that :class:`~mmav.models.backbones.HFBackbone` gives itself: the weights of its folder or name.

    transformers reads them, so that files of its older versions and in several parts are understood. Only the encoder's
    are kept. All of its parameters have to be found, except those that its tokens do not depend on.

    Args:
        checkpoint: A folder, or a name of the hub.

    Raises:
        CheckpointError: When called, the weights are missing, or those of another architecture.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Fills an HFBackbone."""
        report = load_hf_weights(module, self.checkpoint)
        note_file(module, self.checkpoint, report.loaded)
        note_origin(module, report.loaded, f"{LOADED}'{self.checkpoint}' ({report.layout})")
        for line in str(report).splitlines():  # the console shows no listings
            print_log(line, 'current')


def load_hf_weights(module: Any, checkpoint: str) -> LoadReport:
    """Loads the weights of a folder, or a name of the hub, into an HFBackbone.

    Args:
        module: The backbone.
        checkpoint: The folder or name.

    Raises:
        CheckpointError: See :class:`HFWeights`.
    """
    package, name = transformers('HFBackbone'), folder_of(checkpoint)
    with brief(name, 'weights'), quiet(package):
        whole, info = package.AutoModel.from_pretrained(
            name,
            config=module.whole_config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    prefix = f'{module.part}.' if module.part else ''
    theirs = whole.get_submodule(module.part).state_dict()
    missing = {key.removeprefix(prefix) for key in info['missing_keys'] if key.startswith(prefix)}
    misfits = {key.removeprefix(prefix): f'{tuple(a)} for {tuple(b)}' for key, a, b in info['mismatched_keys']}
    own = [key for key in module.model.state_dict() if not is_lora(key)]
    used = {f'{prefix}{key}' for key in own}
    others = [key for key in whole.state_dict() if key not in used and key not in info['missing_keys']]
    report = LoadReport(checkpoint, 'transformers', unused=[*others, *sorted(info['unexpected_keys'])])
    report.missing = [f'model.{key}' for key in own if key in missing]
    report.misfits = {f'model.{key}': shapes for key, shapes in misfits.items() if key in own}
    report.loaded = [f'model.{key}' for key in own if key not in missing and key not in misfits]
    needed = [key for key in own if key in missing and key not in module.layout.idle]
    if needed or report.misfits:
        shown = [*(f'no {key}' for key in needed), *(f'{k} {v}' for k, v in report.misfits.items())]
        more = f' and {len(shown) - _SHOWN} more' if len(shown) > _SHOWN else ''
        raise CheckpointError(
            f"'{checkpoint}' does not hold the weights of {module.who}: {', '.join(shown[:_SHOWN])}{more}; give the "
            'config that it was trained with, or pretrained=False'
        )
    module.model.load_state_dict({key: theirs[key] for key in own}, strict=False)
    return report
