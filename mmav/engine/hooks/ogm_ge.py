"""OGM-GE: the encoder that is ahead learns more slowly, so that the other one can catch up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmav.engine.hooks.modulation import before_step, encoders_of, plain, unimodal_heads
from mmav.errors import ConfigError
from mmav.models import Avg, ClsHead, Concat, TrainingBatch
from mmav.registry import HOOKS

Logits = Mapping[str, Mapping[str, Tensor]]


def coefficients(scores: Mapping[str, Tensor], alpha: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Discrepancy ratios and the factors of the gradients (Peng et al. 2022, Eq. 9 and 10).

    Args:
        scores: Each of two modalities -> the sum over clips of the probability of their label ().
        alpha: How fast the factor falls with the ratio.

    Returns:
        Modality -> rho = s / s of the other; and k = 1 - tanh(alpha rho) where rho > 1, else 1.

    >>> ratios, factors = coefficients(dict(video=torch.tensor(2.0), audio=torch.tensor(8.0)), 0.1)
    >>> ratios['audio'].item(), factors['video'].item(), round(factors['audio'].item(), 4)
    (4.0, 1.0, 0.6201)
    """
    one, two = scores
    least = torch.finfo(scores[one].dtype).tiny
    ratios = {
        one: scores[one] / scores[two].clamp(min=least),
        two: scores[two] / scores[one].clamp(min=least),
    }
    ones = torch.ones_like(scores[one])
    return ratios, {m: torch.where(rho > 1, 1 - torch.tanh(alpha * rho.relu()), ones) for m, rho in ratios.items()}


@HOOKS.register_module()
class OGMGEHook(Hook):
    """On-the-fly gradient modulation with generalization enhancement (Peng et al. 2022, "Balanced Multimodal Learning
    via On-the-fly Gradient Modulation").

    Each modality is scored by the probability that it alone gives the label, summed over the clips of a step (Eq. 8).
    The gradients of the encoder that is ahead are multiplied by k = 1 - tanh(alpha rho), with rho the ratio of the
    sums (:func:`coefficients`), and noise is added to those of both encoders, N(0, std^2) with the standard deviation
    of the values of a parameter's own gradient. As in public code (GeWu-Lab/OGM-GE_CVPR2022, main.py; BalanceBenchmark,
    balancemm/trainer/OGM_trainer.py) parameters of one axis, norms and biases, are left as they are, and here those of
    one value; the paper has the covariance of stochastic gradients in place of that standard deviation.

    What a modality alone gives: with the neck ``Concat`` its columns of the head's linear layer, with its share of the
    bias, as in the paper; with ``Avg`` its stream; with other necks, in which modalities meet before the head, its head
    of :class:`~mmav.models.UnimodalHeads`, which ``detach=True`` keeps from training the encoders. Only clips that
    have both modalities count.

    It acts once a step, before gradients are clipped: with accumulated gradients on the scores of all their clips, with
    several processes on those of all processes. Noise comes from the run's seed and the number of the step. The
    training log has ``ogm_ratio_video`` and so on, of the last batch.

    Args:
        alpha: alpha, above 0.
        noise: Whether noise is added: OGM-GE, or OGM without.
        begin: First epoch of the modulation, from 1.
        end: Its last epoch; None for that of training.

    Raises:
        ConfigError: A value is out of range; when training begins, if the model has not two encoders that train, or
            nothing says what a modality alone gives, or epochs are never reached.
    """

    priority = 'NORMAL'

    def __init__(self, alpha: float = 0.3, *, noise: bool = True, begin: int = 1, end: int | None = None) -> None:
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < float('inf'):
            raise ConfigError(f'OGMGEHook.alpha={alpha!r}: give a number above 0, such as 0.3')
        if any(type(value) is not int for value in (begin, begin if end is None else end)) or not 1 <= begin <= (
            end or begin
        ):
            raise ConfigError(f'OGMGEHook: begin={begin!r}, end={end!r}: give epochs, from 1, end not before begin')
        self.alpha, self.noise = alpha, noise
        self.begin, self.end = begin, end
        self._scores: dict[str, Tensor] = {}
        self._generators: dict[torch.device, torch.Generator] = {}

    def before_train(self, runner: Runner) -> None:
        """Looks at the model, and puts the modulation before the optimizer's step."""
        loop: Any = runner.train_loop
        if getattr(loop, 'by_iterations', False):
            if (self.begin, self.end) != (1, None):
                raise ConfigError(
                    'OGMGEHook: begin and end count epochs, but training counts iterations: leave them out'
                )
        elif self.begin > loop.max_epochs:
            raise ConfigError(f'OGMGEHook.begin={self.begin} comes after the last epoch of training, {loop.max_epochs}')
        encoders = encoders_of(runner, 'OGMGEHook')
        if len(encoders) != 2:
            raise ConfigError(f'OGMGEHook compares two modalities, and the model has {" and ".join(encoders)}')
        parameters = {name: [p for p in each if p.dim() > 1 and p.numel() > 1] for name, each in encoders.items()}
        for name, each in parameters.items():
            if not each:
                raise ConfigError(
                    f'OGMGEHook has no effect on {name}, of which only norms and biases train: leave it out'
                )
        self._logits = logits_alone(plain(runner))
        seed = torch.tensor(runner.seed or 0)
        broadcast(seed)
        plain(runner).observers.append(torch.compiler.disable(self._observe))
        before_step(runner.optim_wrapper, lambda: self._modulate(parameters, int(seed), runner.epoch + 1, runner.iter))

    def _observe(self, batch: TrainingBatch, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not torch.is_grad_enabled():
            return {}
        with torch.no_grad():
            scores = sum_of_scores(self._logits(batch), batch)
            self._scores = {m: value + self._scores.get(m, 0.0) for m, value in scores.items()}
            ratios, _ = coefficients(scores, self.alpha)
        return {f'ogm_ratio_{m}': value for m, value in ratios.items()}

    def _modulate(self, parameters: Mapping[str, list[nn.Parameter]], seed: int, epoch: int, step: int) -> None:
        scores, self._scores = self._scores, {}
        if not self.begin <= epoch <= (self.end or epoch) or not scores:
            return
        for value in scores.values():
            all_reduce(value)
        _, factors = coefficients(scores, self.alpha)
        for name, each in parameters.items():
            for parameter in each:
                if parameter.grad is not None:
                    modulate(
                        parameter.grad, factors[name], self._generator(parameter, seed, step) if self.noise else None
                    )
        self._generators.clear()

    def _generator(self, parameter: Tensor, seed: int, step: int) -> torch.Generator:
        """That of a step: the same in all processes, and after resuming."""
        device = parameter.device
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed((seed << 32) + step)
        return self._generators[device]


def modulate(gradient: Tensor, factor: Tensor, generator: torch.Generator | None) -> None:
    """Changes a gradient to factor x gradient + N(0, std^2), with the standard deviation of its values.

    Args:
        gradient: Any shape of two values or more.
        factor: ().
        generator: For the noise; None adds none.
    """
    with torch.no_grad():
        std = gradient.std() + 1e-8
        gradient.mul_(factor.to(gradient.dtype))
        if generator is not None:
            noise = torch.empty_like(gradient).normal_(generator=generator)
            gradient.add_(noise * std)


def sum_of_scores(logits: Logits, batch: TrainingBatch) -> dict[str, Tensor]:
    """Modality -> the probability of the label, summed over the clips that have every modality; mean over parts."""
    sums: dict[str, list[Tensor]] = {}
    for part, each in logits.items():
        target = batch.targets[part]
        for name, value in each.items():
            probabilities = value.float().softmax(dim=-1)  # (B, C)
            if target.dim() == 1:
                score = probabilities.gather(1, target[:, None])[:, 0]
            else:
                score = (probabilities * target).sum(dim=-1)
            for mask in (batch.masks or {}).values():
                score = torch.where(mask, score, torch.zeros_like(score))
            sums.setdefault(name, []).append(score.sum())
    return {name: torch.stack(values).mean() for name, values in sums.items()}


def logits_alone(model: Any) -> Callable[[TrainingBatch], Logits]:
    """What tells the logits that each modality alone gives.

    Args:
        model: An :class:`~mmav.models.AVClassifier`.

    Returns:
        Of a batch: part of the label -> modality name -> (B, C).

    Raises:
        ConfigError: Nothing does, or clips have any number of labels.
    """
    parts = model.head.parts
    if any(getattr(head, 'multi_label', False) for head in parts.values()):
        raise ConfigError('OGMGEHook scores modalities by the probability of a label, and clips here have any number')
    linear = all(type(head) is ClsHead for head in parts.values())
    if linear and isinstance(model.neck, Avg):
        return lambda batch: {
            part: {m: fc(batch.streams[m]) for m, fc in head.fcs.items()} for part, head in parts.items()
        }
    if linear and isinstance(model.neck, Concat):
        widths = [model.backbones[m].out_dims for m in model.neck.order]
        return lambda batch: {
            part: dict(zip(model.neck.order, _columns(head.fcs['fused'], batch.streams['fused'], widths), strict=True))
            for part, head in parts.items()
        }
    heads = unimodal_heads(model)
    if heads is None:
        raise ConfigError(
            f'OGMGEHook: modalities meet in {type(model.neck).__name__} before the head, so nothing says what each '
            "alone gives: add model.auxiliary=dict(alone=dict(type='UnimodalHeads', detach=True))"
        )
    return lambda batch: heads.logits(batch.tokens, batch.masks)


def _columns(fc: Any, fused: Tensor, widths: list[int]) -> list[Tensor]:
    """Of a linear layer on joined features (B, D): the logits (B, C) of each part with its share of the bias."""
    pieces = zip(fused.split(widths, dim=1), fc.weight.split(widths, dim=1), strict=True)
    return [nn.functional.linear(x, weight, fc.bias / len(widths)) for x, weight in pieces]
