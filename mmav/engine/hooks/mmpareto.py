"""MMPareto: the gradients of the multimodal and the unimodal loss, joined so that neither works against the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmav.engine.hooks.modulation import before_step, encoders_of, plain, unimodal_heads
from mmav.errors import ConfigError
from mmav.models import TrainingBatch
from mmav.registry import HOOKS


def pareto_weights(multimodal: Tensor, unimodal: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of two gradients g and h: 1/2 each where they agree, else those of the shortest a g + (1 - a) h.

    The minimum of |a g + (1 - a) h|^2 is at a = <h - g, h> / |g - h|^2 (Sener & Koltun 2018, Eq. 6); where <g, h> < 0
    it lies between 0 and 1.

    Args:
        multimodal: g, (N,).
        unimodal: h, (N,).

    Returns:
        a, and the cosine of g and h.

    >>> weight, cosine = pareto_weights(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 2.0]))
    >>> round(weight.item(), 4), round(cosine.item(), 4)
    (0.75, -0.4472)
    """
    gg, gh, hh = multimodal @ multimodal, multimodal @ unimodal, unimodal @ unimodal
    half = torch.full_like(gg, 0.5)
    weight = (hh - gh) / (gg + hh - 2 * gh)
    least = torch.finfo(gg.dtype).tiny
    # of two roots: the product of small squares would be 0
    return torch.where(gh < 0, weight, half), gh / (gg.sqrt() * hh.sqrt()).clamp(min=least)


def integrate(multimodal: Tensor, unimodal: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """The gradient of a parameter: gamma max(1, |g + h| / |d|) d with d = 2 a g + 2 (1 - a) h.

    A shortened gradient gets the length of the sum back (GeWu-Lab/MMPareto_ICML2024, code/MMPareto.py).

    Args:
        multimodal: g, any shape.
        unimodal: h, of the same shape.
        weight: a, ().
        gamma: Factor of the result.
    """
    joined = 2 * weight * multimodal + 2 * (1 - weight) * unimodal
    least = torch.finfo(joined.dtype).tiny
    scale = ((multimodal + unimodal).norm() / joined.norm().clamp(min=least)).clamp(min=1.0)
    return gamma * scale * joined


@HOOKS.register_module()
class MMParetoHook(Hook):
    """Joins the gradients of an encoder's multimodal and unimodal loss (Wei & Hu 2024, "MMPareto: Boosting Multimodal
    Learning with Innocent Unimodal Assistance").

    Where the gradients of an encoder in all its parameters point apart (a cosine below 0), they are weighed as the
    shortest of their convex combinations, which harms neither loss; elsewhere they are summed. The result has at least
    the length of the sum in each parameter, times gamma. Other parts of the model learn from the plain sum. The
    unimodal losses are those of :class:`~mmav.models.UnimodalHeads`, with their weights; all other losses, contrastive
    ones too, are multimodal.

    The gradient of each unimodal loss takes a backward pass of its own through its encoder. That of the others is what
    remains of the sum's. It acts once a step, before gradients are clipped: with accumulated gradients on their sums,
    with several processes on the averages over them. The training log has ``pareto_cos_video`` and so on, of the step
    before.

    An optimizer that divides by the size of the gradients, as Adam does, takes gamma and a constant length out again.

    Args:
        gamma: Factor of the encoders' gradients, above 0.

    Raises:
        ConfigError: ``gamma`` is out of range; when training begins, if the model has not two encoders or more that
            train, or no unimodal losses that reach them, or ``compile``, which keeps no graph for a second pass.
    """

    priority = 'NORMAL'

    def __init__(self, gamma: float = 1.5) -> None:
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0 < gamma < float('inf'):
            raise ConfigError(f'MMParetoHook.gamma={gamma!r}: give a number above 0, such as 1.5')
        self.gamma = gamma
        self._losses: dict[str, Tensor] = {}
        self._unimodal: dict[str, dict[nn.Parameter, Tensor]] = {}
        self._cosines: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Looks at the model, and puts the passes and the integration into the optimizer wrapper."""
        encoders, heads = encoders_of(runner, 'MMParetoHook'), unimodal_heads(plain(runner))
        remedy = "add model.auxiliary=dict(alone=dict(type='UnimodalHeads'))"
        if heads is None:
            raise ConfigError(
                f'MMParetoHook joins multimodal and unimodal losses, and the model has no unimodal: {remedy}'
            )
        if heads.detach:
            raise ConfigError('MMParetoHook has no effect on UnimodalHeads with detach=True: leave detach out')
        for name in encoders:
            if not heads.loss_weight[name]:
                raise ConfigError(f'MMParetoHook has no effect on {name}: its loss_weight of UnimodalHeads is 0')
        if runner.cfg.get('compile'):
            raise ConfigError(
                'MMParetoHook needs a second backward pass, which compile does not keep: leave compile out'
            )
        self._encoders, factors = encoders, plain(runner).loss_factors
        self._factor = lambda name: factors.get(f'loss_{name}', 1.0)
        plain(runner).observers.append(self._observe)
        wrapper = runner.optim_wrapper
        backward = wrapper.backward

        def backward_twice(loss: Tensor, **kwargs: Any) -> None:
            self._add_unimodal(wrapper)
            backward(loss, **kwargs)

        wrapper.backward = backward_twice
        before_step(wrapper, self._integrate)

    def _observe(self, batch: TrainingBatch, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not torch.is_grad_enabled():
            return {}
        self._losses = {name: found[f'loss_{name}'] for name in self._encoders}
        return {f'pareto_cos_{name}': value for name, value in self._cosines.items()}

    def _add_unimodal(self, wrapper: Any) -> None:
        """Adds up the gradients of the unimodal losses, scaled as that of their sum will be."""
        losses, self._losses = self._losses, {}
        for name, loss in losses.items():
            loss = wrapper.scale_loss(loss * self._factor(name))
            loss = wrapper.loss_scaler.scale(loss) if hasattr(wrapper, 'loss_scaler') else loss
            # asked anew, as ProgressiveUnfreezeHook thaws some later
            parameters = [p for p in self._encoders[name] if p.requires_grad]
            if not parameters:
                continue
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            sums = self._unimodal.setdefault(name, {})
            for parameter, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    sums[parameter] = sums[parameter] + gradient if parameter in sums else gradient

    def _integrate(self) -> None:
        unimodal, self._unimodal = self._unimodal, {}
        with torch.no_grad():
            for name, own in unimodal.items():
                there = [p for p in self._encoders[name] if p.grad is not None]
                if there:
                    self._join(name, [(p, own[p] if p in own else torch.zeros_like(p)) for p in there])

    def _join(self, name: str, pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
        """Replaces the gradients of an encoder's parameters, given with those of its unimodal loss."""
        sizes = [p.numel() for p, _ in pairs]
        unimodal = torch.cat([h.flatten() for _, h in pairs])
        if get_world_size() > 1:  # as DistributedDataParallel does with the sum's
            all_reduce(unimodal, 'mean')
        multimodal = torch.cat([p.grad.flatten() for p, _ in pairs]) - unimodal  # type: ignore[union-attr]
        weight, self._cosines[name] = pareto_weights(multimodal, unimodal)
        for (parameter, _), g, h in zip(pairs, multimodal.split(sizes), unimodal.split(sizes), strict=True):
            parameter.grad.copy_(integrate(g, h, weight, self.gamma).view_as(parameter))  # type: ignore[union-attr]
