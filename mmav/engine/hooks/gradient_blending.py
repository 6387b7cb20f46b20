"""Gradient-Blending: losses of the joint head and of each modality's, weighed by how they generalise and overfit."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmav.config.edits import leaves_of
from mmav.engine.distributed.fsdp import is_spread
from mmav.engine.hooks.modulation import backbones_of, plain, unimodal_heads
from mmav.errors import ConfigError, did_you_mean
from mmav.models import TrainingBatch
from mmav.registry import HOOKS

# the joint head, among the names of modalities
FUSED = 'fused'
# key of a checkpoint
KEY = 'gradient_blending'


def blending_weights(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]], *, least: float = 0.0
) -> dict[str, float]:
    """Weights of losses from what training changed: w_i = G_i / O_i^2, scaled to a sum of 1.

    With the losses L^T in training and L^V on held-out clips, G = L^V_before - L^V_after is the generalisation gained
    and O = (L^V - L^T)_after - (L^V - L^T)_before the overfitting (Wang, Tran, Feiszli 2020, section 3.2 and Algorithm
    1). A head whose held-out loss has risen, or is not finite, has no G.

    Args:
        before: Name of a head -> its loss in training and on held-out clips.
        after: The same, later.
        least: What a weight is at least, before all are scaled to a sum of 1; the paper has 0.

    Returns:
        Name -> weight; equal ones if no head has gained.

    >>> before = dict(fused=(2.0, 2.0), audio=(2.0, 2.0))
    >>> blending_weights(before, dict(fused=(0.5, 1.0), audio=(1.0, 1.25)))  # G 1 and 0.75, O 0.5 and 0.25
    {'fused': 0.25, 'audio': 0.75}
    """
    found = {}
    for name, (train, held_out) in before.items():
        gained = max(held_out - after[name][1], 0.0)
        overfitted = (after[name][1] - after[name][0]) - (held_out - train)
        ratio = gained / max(overfitted**2, 1e-12)
        found[name] = ratio if math.isfinite(ratio) else 0.0
    total = sum(found.values())
    weights = {name: value / total if total else 1 / len(found) for name, value in found.items()}
    raised = {name: max(value, least) for name, value in weights.items()}
    return {name: value / sum(raised.values()) for name, value in raised.items()}


@HOOKS.register_module()
class GradientBlendingHook(Hook):
    """Weighs the losses of the joint head and of :class:`~mmav.models.UnimodalHeads` (Wang, Tran, Feiszli 2020, "What
    Makes Training Multi-Modal Classification Networks Hard?").

    Offline, with ``weights``: they stay what they are, such as those that :func:`blending_weights` gives for models of
    each modality trained alone, or those published (facebookresearch/VMZ, c2/tutorials/gradient_blending.md). Online,
    with ``interval``: after each super-epoch of that many epochs :func:`blending_weights` sets them from the losses at
    its beginning and end. L^V is measured on the validation list, which has to be a held-out part of the training
    list, never the test list; L^T is the mean over the last epoch. A unimodal loss is the mean over the clips
    that have the modality, and what is not finite, whose step is skipped, does not count. An untrained model has not
    overfitted: L^T is L^V. The first super-epoch has equal weights.

    In the paper, and in public code (GeWu-Lab/BalanceBenchmark, which measures on the test list), each estimate trains
    a copy of the model for every head; here the heads of the one model are compared, which costs a pass over the
    held-out clips in each super-epoch. ``least`` keeps every head learning.

    Contrastive losses keep their weights. Checkpoints hold the weights, so that a resumed run goes on with them.

    Args:
        interval: Epochs of a super-epoch.
        weights: ``dict(fused=..., video=..., audio=...)``.
        least: What a weight is at least, see :func:`blending_weights`; with ``interval``.

    Raises:
        ConfigError: Both or none of ``interval`` and ``weights`` are given, or values are out of range; when training
            begins, if the model has no UnimodalHeads that train encoders, or they have weights already, or the
            validation list is missing, or has clips of the test or the training list.
    """

    priority = 'NORMAL'

    def __init__(
        self, interval: int | None = None, *, weights: Mapping[str, float] | None = None, least: float | None = None
    ) -> None:
        if (interval is None) == (weights is None):
            raise ConfigError('GradientBlendingHook: give either interval (online) or weights (offline)')
        if interval is not None and (type(interval) is not int or interval < 1):
            raise ConfigError(f'GradientBlendingHook.interval={interval!r}: give a number of epochs, 1 or more')
        if least is not None and interval is None:
            raise ConfigError(f'GradientBlendingHook.least={least!r} has no effect on weights: leave it out')
        if least is not None and not 0 <= least < 1:
            raise ConfigError(f'GradientBlendingHook.least={least!r}: give a share from 0 to 1, such as 0.05')
        for name, value in (weights or {}).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float('inf'):
                raise ConfigError(f'GradientBlendingHook.weights.{name}={value!r}: give a number from 0')
        self.interval = interval
        self.given = None if weights is None else dict(weights)
        self.least = 0.05 if least is None else least
        self.weights: dict[str, float] = {}
        self._before: dict[str, tuple[float, float]] = {}
        # of each loss its sum over clips and their number (2,), of this process; _gathered: of all processes (W, 2)
        self._sums: dict[str, Tensor] = {}
        self._held_out: dict[str, Tensor] | None = None
        self._gathered: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Looks at the model and the lists, and sets the first weights."""
        model = plain(runner)
        names = [FUSED, *backbones_of(runner, type(self).__name__)]
        heads = unimodal_heads(model)
        if heads is None:
            raise ConfigError(
                'GradientBlendingHook weighs unimodal losses, and the model has none: add '
                "model.auxiliary=dict(alone=dict(type='UnimodalHeads'))"
            )
        if heads.detach:
            raise ConfigError('GradientBlendingHook has no effect on UnimodalHeads with detach=True: leave detach out')
        if set(heads.loss_weight.values()) != {1.0}:
            raise ConfigError(
                f'GradientBlendingHook sets the weights of UnimodalHeads: leave its loss_weight={heads.loss_weight} out'
            )
        if self.given is not None:
            self._check_given(names)
        else:
            self._check_online(runner)
        model.loss_factors.update(self._factors(self.weights or self.given or dict.fromkeys(names, 1 / len(names))))
        if self.interval is not None:
            self.weights = self.weights or dict.fromkeys(names, 1 / len(names))
            model.observers.append(torch.compiler.disable(self._observe))
            self._before = self._before or {name: (loss, loss) for name, loss in self._measure(runner).items()}

    def _check_given(self, names: list[str]) -> None:
        given = self.given or {}
        for name in given:
            if name not in names:
                raise ConfigError(
                    f'GradientBlendingHook.weights.{name}: the heads are {", ".join(names)}{did_you_mean(name, names)}'
                )
        if missing := [name for name in names if name not in given]:
            raise ConfigError(f'GradientBlendingHook.weights has none for {" and ".join(missing)}')
        if not any(given[name] for name in names[1:]):
            raise ConfigError('GradientBlendingHook.weights are 0 for all modalities: leave UnimodalHeads and it out')

    def _check_online(self, runner: Any) -> None:
        loop: Any = runner.train_loop
        if is_spread(runner.model):
            raise ConfigError(
                'GradientBlendingHook.interval: weights are not measured with fsdp: leave fsdp out, or give weights'
            )
        if getattr(loop, 'by_iterations', False):
            raise ConfigError('GradientBlendingHook counts epochs, but training counts iterations: give weights')
        if (self.interval or 0) >= loop.max_epochs:
            raise ConfigError(
                f'GradientBlendingHook.interval={self.interval} has no effect: training ends after {loop.max_epochs} '
                'epochs; give a shorter one'
            )
        remedy = 'hold out a part of the training list, and give it to val_dataloader.dataset'
        if runner.val_loop is None:
            raise ConfigError(f'GradientBlendingHook measures on val_dataloader, and there is none: {remedy}')
        reasons = dict(
            test_dataloader='what is chosen by test clips cannot be tested on them',
            train_dataloader='training clips show no overfitting',
        )
        for other, why in reasons.items():
            shared = shared_list(runner.cfg.get('val_dataloader'), runner.cfg.get(other))
            if shared:
                raise ConfigError(
                    f'GradientBlendingHook measures on val_dataloader, which has clips of {other} ({shared}), and '
                    f'{why}: {remedy}'
                )

    @staticmethod
    def _factors(weights: Mapping[str, float]) -> dict[str, float]:
        return {'loss_cls' if name == FUSED else f'loss_{name}': value for name, value in weights.items()}

    def _observe(self, batch: TrainingBatch, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sums = self._sums if torch.is_grad_enabled() else self._held_out
        if sums is not None:
            self._add(sums, batch, found)
        return {}

    def _add(self, sums: dict[str, Tensor], batch: TrainingBatch, found: Mapping[str, Tensor]) -> None:
        rows = len(next(iter(batch.tokens.values())).cls)
        for name, key in zip(self.weights, self._factors(self.weights), strict=True):
            loss, mask = found[key].detach().double(), None if name == FUSED else batch.mask_of(name)
            clips = torch.full_like(loss, rows) if mask is None else mask.sum().to(loss)
            pair = torch.stack((loss * clips, clips))
            pair = torch.where(loss.isfinite(), pair, torch.zeros_like(pair))
            sums[key] = pair if key not in sums else sums[key].to(pair.device) + pair

    def _means(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Head -> mean loss over the clips of all processes; NaN without clips."""
        means = {}
        for name, key in zip(self.weights, self._factors(self.weights), strict=True):
            pair = sums[key].clone()
            all_reduce(pair)
            means[name] = float(pair[0] / pair[1])
        return means

    def _measure(self, runner: Any) -> dict[str, float]:
        """Head -> mean loss on the held-out clips, in eval mode."""
        model = plain(runner)
        training, self._held_out = model.training, {}
        model.eval()
        try:
            with torch.no_grad():
                for data in runner.val_dataloader:
                    model(**model.data_preprocessor(data, False), mode='loss')
            means = self._means(self._held_out)
        finally:
            model.train(training)
            self._held_out = None
        for name, value in means.items():
            if math.isnan(value):
                raise ConfigError(
                    f'GradientBlendingHook: no clip of val_dataloader has a finite loss of {name}: hold out clips with '
                    'every modality'
                )
        return means

    def after_train_epoch(self, runner: Runner) -> None:
        """Sets the weights of the next super-epoch."""
        done, (sums, self._sums) = runner.epoch + 1, (self._sums, {})
        if self.interval is None or done % self.interval or done >= runner.max_epochs:
            return
        train, held_out = self._means(sums), self._measure(runner)
        after = {name: (train[name], held_out[name]) for name in self.weights}
        self.weights = blending_weights(self._before, after, least=self.least)
        self._before = after
        plain(runner).loss_factors.update(self._factors(self.weights))
        told = ', '.join(f'{name} {value:.3f}' for name, value in self.weights.items())
        runner.logger.info(f'Gradient-Blending: weights from epoch {done + 1} on: {told}')
        runner.visualizer.add_scalars({f'blend/{name}': v for name, v in self.weights.items()}, step=done)

    def read_deferred(self, runner: Runner) -> None:
        """Gathers the sums of all processes, of which one writes the checkpoint that follows."""
        self._gathered = {key: torch.stack(all_gather(value)) for key, value in self._sums.items()}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Stores the weights and what the next ones are computed from."""
        if self.interval is not None:
            sums = {key: value.tolist() for key, value in self._gathered.items()}
            before = {name: list(pair) for name, pair in self._before.items()}
            checkpoint[KEY] = dict(weights=dict(self.weights), before=before, sums=sums)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Goes on with the weights of a checkpoint that is resumed."""
        saved = checkpoint.pop(KEY, None)
        if self.interval is None or not getattr(runner, '_resuming', runner._resume):
            return
        if saved is None:
            raise ConfigError(
                'GradientBlendingHook has no weights to go on with: the checkpoint is of a run without it; begin from '
                'it with load_from, or leave the hook out'
            )
        self.weights = dict(saved['weights'])
        self._before = {name: (pair[0], pair[1]) for name, pair in saved['before'].items()}
        self._sums = {key: _own_share(value) for key, value in saved['sums'].items()}


def _own_share(gathered: list[list[float]]) -> Tensor:
    """The sums (2,) of this process among those of W processes (W, 2); of another number of them the first has all."""
    rows = torch.tensor(gathered, dtype=torch.float64).reshape(-1, 2)
    if len(rows) == get_world_size():
        return rows[get_rank()]
    return rows.sum(dim=0) * (get_rank() == 0)


def shared_list(one: Any, two: Any) -> str:
    """The list of which two dataloaders' configs have clips in common; empty if there is none."""
    for first in leaves_of((one or {}).get('dataset')):
        for second in leaves_of((two or {}).get('dataset')):
            if _list_of(first) == _list_of(second) and _overlap(first.get('indices'), second.get('indices')):
                return _list_of(first)
    return ''


def _list_of(dataset: Mapping[str, Any]) -> str:
    if dataset.get('ann_file'):
        return os.path.realpath(os.path.join(os.path.expanduser(dataset.get('data_root') or ''), dataset['ann_file']))
    # clips of another kind: the same if all that chooses them is the same
    kept = {k: v for k, v in dataset.items() if k not in ('pipeline', 'test_mode', 'indices')}
    return str(sorted(kept.items(), key=lambda item: item[0]))


def _overlap(one: Any, two: Any) -> bool:
    if one is None or two is None:
        return True
    first, second = (set(range(rows)) if isinstance(rows, int) else set(rows) for rows in (one, two))
    return bool(first & second)
