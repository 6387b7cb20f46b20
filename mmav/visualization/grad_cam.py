"""Grad-CAM on token grids: which parts of the video and of the audio speak for a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError, did_you_mean
from mmav.models import AVClassifier
from mmav.models.necks.joining import absent_to_zero
from mmav.structures import Tokens
from mmav.visualization.token_grid import spread
from mmav.visualization.token_sites import Site, block_name, find_site

METHODS = ('gradcam', 'hirescam', 'centred')


class GradCAM:
    """Gradient-weighted class activation maps (Selvaraju et al. 2017) of video and audio; paper, Figures 1 and 5.

    With A (N, D) the patch tokens that a block reads and y the logit of a class, the map is one of

    - ``gradcam``, the published form: ReLU(sum over d of w_d A_d), w_d the mean of dy/dA_d over the tokens;
    - ``hirescam``: ReLU(sum over d of dy/dA_d A_d), token by token (Draelos and Carin 2020);
    - ``centred``: the same of A less the mean of its tokens. After a LayerNorm no value stands for "nothing there", as
      0 does after the ReLU of a convolution; what is the same everywhere tells no place.

    docs/grad_cam.md has what each of them finds. A is what a block *reads*, not what it gives: in the last block of an
    encoder with a class token nothing goes on but that token, and the gradient of the others is zero. ``gradcam`` takes
    it before the block's first LayerNorm, the other two after it (measured); but before it where there is no class
    token, since the patches then reach the head past the attention, too. Class, distillation and bottleneck tokens lie
    on no grid and are left out.

    Of a backbone whose blocks do not read tokens, such as a convolutional network from outside, A is what it returns:
    the last feature map, as in the published form.

    The map of the tokens is interpolated to the input between the true centres of the tokens, see
    :func:`mmav.visualization.token_grid.token_axes`.

    Args:
        model: The :class:`~mmav.models.AVClassifier`. It is left as found: no hooks, no gradients, the same mode.
        blocks: Modality -> the block that is looked at: its number within the modality's encoder, negative from the
            end, or the name of a block of the neck, such as ``neck.blocks.1.video``. For what is not named, the last
            block of the encoder that reads at least 7 tokens along each of the last two axes, (H, W) or (F, T), or the
            first block: as deep as the map can still show a place.
        method: ``gradcam``, ``hirescam`` or ``centred``.

    Raises:
        ConfigError: The model is of another kind, has no such modality or block, or its tokens cannot be placed.
        ValueError: The method is unknown.

    Example::

        cam = GradCAM(model)
        maps = cam(inputs, masks)  # dict(video=(B, V, T, H, W), audio=(B, V, F, T)), each in [0, 1]
    """

    def __init__(
        self, model: nn.Module, *, blocks: Mapping[str, int | str] | None = None, method: str = 'gradcam'
    ) -> None:
        if method not in METHODS:
            raise ValueError(
                f'method={method!r} is unknown: choose {" or ".join(METHODS)}{did_you_mean(method, METHODS)}'
            )
        if not isinstance(model, AVClassifier):
            raise ConfigError(f'{type(model).__name__} is no AVClassifier: give the model itself, without a wrapper')
        self.model = model
        self.method = method
        self.blocks: dict[str, str | None] = dict.fromkeys(model.backbones)
        for modality, block in (blocks or {}).items():
            if modality not in self.blocks:
                raise ConfigError(
                    f'blocks has {modality!r}, but the model reads {" and ".join(self.blocks)}'
                    f'{did_you_mean(modality, self.blocks)}'
                )
            self.blocks[modality] = block_name(model, modality, block)

    def __call__(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        target: int | Tensor | None = None,
        part: str = 'label',
    ) -> dict[str, Tensor]:
        """Maps of B clips for one class each.

        The score of a class is its logit, averaged over the streams that the clip has, as the head averages
        probabilities; of several views each has a map of its own.

        Args:
            inputs: What the model's ``forward`` takes, normalised: modality -> (B, V, C, *size).
            masks: Modality -> (B,), True where the clip has that modality; None where all have all.
            target: Index of the class, one or (B,); None for the one that the model finds most probable.
            part: One of the ``parts`` of the model's head.

        Returns:
            Modality -> its map, of the input's size without the channels: ``video`` (B, V, T, H, W), ``audio``
            (B, V, F, T), float32. The largest value of a clip, over its views together, is 1, unless the map is
            zero: where the modality is absent, or nothing in it speaks for the class.

        Raises:
            ValueError: There is no such class or part.
            ConfigError: A modality is missing, or numbers of views do not fit.
        """
        if part not in self.model.head.parts:
            parts = list(self.model.head.parts)
            raise ValueError(f'part={part!r}: the model tells {" and ".join(parts)} apart, choose {" or ".join(parts)}')
        head: Any = self.model.head.parts[part]
        missing = [name for name in self.blocks if name not in inputs]
        if missing:
            raise ConfigError(f'the model reads {" and ".join(self.blocks)}, but the input has no {missing[0]}')
        # A caller may be in inference mode, whose tensors autograd refuses; copies made outside of it are ordinary ones
        with torch.inference_mode(False), torch.enable_grad(), _in_eval_mode(self.model), ExitStack() as stack:
            self._check_parameters()
            # frozen layers record nothing unless what they read asks for a gradient
            inputs = {name: x.detach().clone().float().requires_grad_() for name, x in inputs.items()}
            masks = None if masks is None else {name: mask.clone() for name, mask in masks.items()}
            sizes = {name: inputs[name].shape[3:] for name in self.blocks}
            sites = {name: find_site(self.model, name, self.blocks[name], sizes) for name in sizes}
            before: dict[str, Tensor] = {}
            after: dict[str, Tensor] = {}
            logits: dict[str, dict[str, Tensor]] = {}
            returned: dict[str, Tokens] = {}
            for name, site in sites.items():
                if site.returned:
                    stack.enter_context(_keep_output(site.block, returned, name))
                else:
                    stack.enter_context(_keep_input(site.block, before, name))
                    stack.enter_context(_keep_output(site.block.get_submodule('norm1'), after, name))
            stack.enter_context(_keep_output(head, logits, 'streams'))
            scores = self.model(inputs, masks=masks, mode='tensor')[part]  # (B, C)
            before.update((name, tokens.patches) for name, tokens in returned.items())
            classes = _classes(target, scores)
            views = len(next(iter(logits['streams'].values()))) // len(scores)
            every = None if masks is None else {name: mask.repeat_interleave(views) for name, mask in masks.items()}
            score = head.mean_over_streams(logits['streams'], every)  # (B * V, C)
            chosen = score.gather(1, classes.repeat_interleave(views)[:, None]).sum()
            read = {
                name: after[name] if self.method != 'gradcam' and x.shape[1] > sites[name].num_tokens else x
                for name, x in before.items()
            }
            _check_reached(chosen, {name: read[name] for name in returned}, self.model)
            gradients = torch.autograd.grad(chosen, list(read.values()), allow_unused=True, materialize_grads=True)
        maps = {}
        for (name, values), gradient in zip(read.items(), gradients, strict=True):
            tokens = sites[name].tokens
            weighted = self._weigh(values.detach()[:, tokens].float(), gradient[:, tokens].float())
            maps[name] = _to_input(weighted, sites[name], inputs[name], None if masks is None else masks.get(name))
        return maps

    def _weigh(self, values: Tensor, gradient: Tensor) -> Tensor:
        """(B * V, N, D) to a map before the ReLU (B * V, N)."""
        if self.method == 'gradcam':
            gradient = gradient.mean(dim=1, keepdim=True)
        elif self.method == 'centred':
            values = values - values.mean(dim=1, keepdim=True)
        return (gradient * values).sum(dim=-1)

    def _check_parameters(self) -> None:
        if any(parameter.is_inference() for parameter in self.model.parameters()):
            raise ConfigError(
                'the model was made inside torch.inference_mode, which allows no gradients: make it outside'
            )


def _classes(target: int | Tensor | None, scores: Tensor) -> Tensor:
    """Class indices (B,) for probabilities (B, C)."""
    if target is None:
        return scores.detach().argmax(dim=-1)
    classes = torch.as_tensor(target, device=scores.device).clone()
    if classes.is_floating_point() or classes.shape not in ((), scores.shape[:1]):
        raise ValueError(f'target={target!r}: give the index of a class, or one for each of the {len(scores)} clips')
    if not ((classes >= 0) & (classes < scores.shape[1])).all():
        raise ValueError(f'target={target!r}: the model has the classes 0 to {scores.shape[1] - 1}')
    return classes.long().expand(len(scores))


def _check_reached(score: Tensor, returned: Mapping[str, Tensor], model: AVClassifier) -> None:
    """Refuses tokens that a backbone returns but nothing reads: their map would be zero, whatever they show."""
    found = (
        torch.autograd.grad(score, list(returned.values()), allow_unused=True, retain_graph=True) if returned else ()
    )
    for name, gradient in zip(returned, found, strict=True):
        if gradient is None:
            raise ConfigError(
                f'the score of a class does not depend on the tokens that {type(model.backbones[name]).__name__} '
                f'returns for {name}, only on its class embedding: without blocks that read tokens it has no map'
            )


def _to_input(values: Tensor, site: Site, x: Tensor, mask: Tensor | None) -> Tensor:
    """A map of tokens before the ReLU (B * V', N) to (B, V, *size) in [0, 1].

    V' is V, or above it where several views of another modality shared the one: the mean of their maps is taken.
    """
    batch, views, size = x.shape[0], x.shape[1], x.shape[3:]
    values = values.unflatten(0, (batch, views, -1)).mean(dim=2).relu()
    values = spread(values.unflatten(-1, [axis.length for axis in site.axes]), site.axes, size)
    if mask is not None:
        values = absent_to_zero(values, mask)
    largest = values.flatten(1).amax(dim=1).reshape(-1, *[1] * (values.dim() - 1))
    return values / torch.where(largest > 0, largest, 1)


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _keep_input(module: nn.Module, kept: dict[str, Any], name: str) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, args: kept.__setitem__(name, args[0]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _keep_output(module: nn.Module, kept: dict[str, Any], name: str) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _, args, output: kept.__setitem__(name, output))
    try:
        yield
    finally:
        handle.remove()
