"""Layer-wise decay of the learning rate: the nearer a block is to the input, the less it moves."""

from __future__ import annotations

import re
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmav.engine.optim.param_groups import PlainConstructor, merged
from mmav.errors import ConfigError
from mmav.registry import OPTIM_WRAPPER_CONSTRUCTORS

_BLOCK = re.compile(r'blocks\.(\d+)\.')
# what stands before the first block; whatever else a backbone has stands behind the last
_FIRST = ('patch_embed.', 'cls_token', 'dist_token', 'pos_embed')


def layer_of(name: str, num_blocks: int) -> int:
    """The layer of a parameter of a backbone, by its name there: 0 before the blocks, last behind them.

    >>> [layer_of(name, 12) for name in ('patch_embed.proj.weight', 'blocks.0.norm1.bias', 'blocks.11.mlp.fc1.weight')]
    [0, 1, 12]
    >>> layer_of('norm.weight', 12)
    13
    """
    if name.startswith(_FIRST):
        return 0
    block = _BLOCK.match(name)
    return int(block[1]) + 1 if block else num_blocks + 1


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(PlainConstructor):
    """Lowers the learning rate of each layer of the backbones by one factor the further it is from the output.

    A layer ``i`` of a backbone with N blocks (0: patch embedding, class token, positions; 1 to N: the blocks; N + 1:
    the norm behind them) learns at ``lr * layer_decay ** (N + 1 - i)``; neck, heads and contrastive projections learn
    at the full rate (BEiT, Bao et al. 2022; facebookresearch/mae, util/lr_decay.py). Each backbone counts its own
    blocks: MAT, MViTv2, AST, ViT, and any of yours that has a list ``blocks``.

        optim_wrapper = dict(constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75))

    Everything else that ``paramwise_cfg`` says, such as no weight decay on norms and tokens, stays as it is.
    Parameters of equal options share a group of the optimizer, so that it updates them together.

    Args:
        optim_wrapper_cfg: The config's ``optim_wrapper``.
        paramwise_cfg: ``layer_decay``, above 0 and at most 1, and what MMEngine's default constructor takes.

    Raises:
        ConfigError: ``layer_decay`` is missing or out of range, there is no learning rate, or the model has no
            backbones with blocks.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        rest = dict(paramwise_cfg or {})
        self.layer_decay = rest.pop('layer_decay', None)
        if not isinstance(self.layer_decay, float | int) or not 0 < self.layer_decay <= 1:
            raise ConfigError(
                'optim_wrapper.paramwise_cfg.layer_decay must be above 0 and at most 1, such as 0.75, '
                f'got {self.layer_decay!r}'
            )
        super().__init__(optim_wrapper_cfg, rest)
        if self.base_lr is None:
            raise ConfigError('LayerDecayConstructor needs optim_wrapper.optimizer.lr')
        self.lr: float = self.base_lr
        # MMEngine passes single parameters over where there are no rules for them
        self.paramwise_cfg: dict = rest or dict(custom_keys={})

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Adds the parameters of a module and of those inside it, with their options, to the optimizer's groups."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # MMEngine calls this for each module inside: act once, at the end
            return
        scales = self._scales(module)
        for group in params:
            group['lr'] = group.get('lr', self.lr) * scales.get(id(group['params'][0]), 1.0)
        params[:] = merged(params)

    def _scales(self, model: nn.Module) -> dict[int, float]:
        """The factor of each parameter of the backbones, by its id."""
        backbones = getattr(model, 'backbones', None)
        if not isinstance(backbones, nn.ModuleDict) or not backbones:
            raise ConfigError(f'LayerDecayConstructor needs a model with backbones, {type(model).__name__} has none')
        scales = {}
        for name, backbone in backbones.items():
            blocks = getattr(backbone, 'blocks', None)
            if blocks is None:
                raise ConfigError(
                    f"LayerDecayConstructor needs backbones with a list 'blocks'; {name}, a {type(backbone).__name__}, "
                    'has none'
                )
            last = len(blocks) + 1
            for inner, parameter in backbone.named_parameters():
                scales[id(parameter)] = self.layer_decay ** (last - layer_of(inner, len(blocks)))
            rates = ', '.join(
                f'{what} {self.lr * self.layer_decay**power:.2e}'
                for what, power in (('patches', last), ('first block', last - 1), ('last block', 1), ('norm', 0))
            )
            print_log(f'Learning rates of {name} ({len(blocks)} blocks, decay {self.layer_decay}): {rates}', 'current')
        print_log(f'Learning rate of neck and heads: {self.lr:.2e}', 'current')
        return scales
