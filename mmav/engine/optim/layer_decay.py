"""Layer-wise learning rate decay: the closer a block is to the input, the lower its learning rate."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmav.engine.optim.param_groups import PlainConstructor, merged
from mmav.errors import ConfigError
from mmav.models.backbones.base import layers_of
from mmav.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(PlainConstructor):
    """Multiplies the learning rate of backbone layers by a factor for every layer further from the output.

    A layer ``i`` of a backbone with N blocks (0: patch embedding, class token, positions; 1 to N: the blocks; N + 1:
    the norm after them) learns at ``lr * layer_decay ** (N + 1 - i)``; the neck, heads and contrastive projections
    learn at the full rate (BEiT, Bao et al. 2022; facebookresearch/mae, util/lr_decay.py). Each backbone counts its own
    ``blocks``, see :class:`mmav.models.Backbone`.

        optim_wrapper = dict(constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75))

    The rest of ``paramwise_cfg``, such as no weight decay on norms and tokens, still applies. Parameters with equal
    options share one parameter group, so that the optimizer updates them together.

    Args:
        optim_wrapper_cfg: The config's ``optim_wrapper``.
        paramwise_cfg: ``layer_decay``, above 0 and at most 1, and the options of MMEngine's default constructor.

    Raises:
        ConfigError: ``layer_decay`` is missing or out of range, the learning rate is missing, or the model has no
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
        # MMEngine skips single parameters that have no rules
        self.paramwise_cfg: dict = rest or dict(custom_keys={})

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Adds the parameters of a module and its submodules, with their options, to the parameter groups."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # MMEngine calls this for each submodule: act once, at the end
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
        if not any(parameter.requires_grad for parameter in backbones.parameters()):
            raise ConfigError('paramwise_cfg.layer_decay has no effect, as the backbones are frozen: leave it out')
        for name, backbone in backbones.items():
            if not any(parameter.requires_grad for parameter in backbone.parameters()):
                continue
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
        own = ', '.join(f'{part} {self.lr * factor:.2e}' for part, factor in self.rate_factors.items())
        print_log(f'Learning rate of neck and heads: {self.lr:.2e}{f", but {own}" if own else ""}', 'current')
        return scales
