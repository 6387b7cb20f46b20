"""Layer-wise decay of the learning rate: the nearer a block is to the input, the less it moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmav.engine.optim.param_groups import PlainConstructor, merged
from mmav.errors import ConfigError
from mmav.registry import OPTIM_WRAPPER_CONSTRUCTORS


def layers_of(backbone: nn.Module, blocks: Sequence[nn.Module]) -> dict[str, int]:
    """The layer of each parameter of a backbone, by its name there: that of its block, counted from 1.

    What stands before the first block in the order of the parameters is 0, what stands behind the last is the last
    block's and 1; what stands between two is that of the first of them.

    >>> net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(4)))
    >>> layers_of(net, net[1:3])
    {'0.weight': 0, '1.weight': 1, '2.weight': 2, '3.weight': 3}
    """
    inside = {id(parameter): k for k, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    layers, reached = {}, 0
    for name, parameter in backbone.named_parameters():
        reached = max(reached, inside.get(id(parameter), 0))
        layers[name] = inside.get(id(parameter), reached + (reached == len(blocks)))
    return layers


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(PlainConstructor):
    """Lowers the learning rate of each layer of the backbones by one factor the further it is from the output.

    A layer ``i`` of a backbone with N blocks (0: patch embedding, class token, positions; 1 to N: the blocks; N + 1:
    the norm behind them) learns at ``lr * layer_decay ** (N + 1 - i)``; neck, heads and contrastive projections learn
    at the full rate (BEiT, Bao et al. 2022; facebookresearch/mae, util/lr_decay.py). Each backbone counts its own
    ``blocks``, see :class:`mmav.models.Backbone`.

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
            blocks = getattr(backbone, 'blocks', ())
            if not len(blocks):
                raise ConfigError(
                    f"LayerDecayConstructor needs backbones with a list 'blocks'; {name}, a {type(backbone).__name__}, "
                    'has none'
                )
            last, layers = len(blocks) + 1, layers_of(backbone, blocks)
            for inner, parameter in backbone.named_parameters():
                scales[id(parameter)] = self.layer_decay ** (last - layers[inner])
            rates = ', '.join(
                f'{what} {self.lr * self.layer_decay**power:.2e}'
                for what, power in (('patches', last), ('first block', last - 1), ('last block', 1), ('norm', 0))
            )
            print_log(f'Learning rates of {name} ({len(blocks)} blocks, decay {self.layer_decay}): {rates}', 'current')
        print_log(f'Learning rate of neck and heads: {self.lr:.2e}', 'current')
        return scales
