"""Files of trained models of one modality each, for tests of what learns from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmav.registry import MODELS


def write_teachers(folder: Path, backbones: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Writes a config and a checkpoint a modality, drawn at random; returns them as ``UnimodalTeachers`` takes them."""
    found = {}
    for number, (name, backbone) in enumerate(backbones.items(), start=5):
        model = dict(
            type='AVClassifier',
            backbones={name: backbone},
            neck=dict(type='Avg'),
            head=dict(type='ClsHead', num_classes=3),
        )
        torch.manual_seed(number)
        built = MODELS.build(model)
        for parameter in built.parameters():
            torch.nn.init.normal_(parameter, mean=0.01, std=0.2)
        config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(f'model = {model!r}\n')
        torch.save(dict(meta={}, state_dict=built.state_dict()), checkpoint)
        found[name] = dict(config=str(config), checkpoint=str(checkpoint))
    return found
