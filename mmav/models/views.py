"""Several views of a clip: which views of two modalities belong together, and their tokens a few views at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmav.errors import ConfigError, did_you_mean
from mmav.models.heads import ClsHead, MultiLabelHead
from mmav.structures import Tokens

# What is averaged over the views of a clip.
VIEW_AVERAGES = ('probabilities', 'logits')


def check_average(average: str, head: Any) -> str:
    """Checks what is to be averaged over views.

    Args:
        average: Of ``VIEW_AVERAGES``.
        head: What it is averaged for.

    Returns:
        ``average``.

    Raises:
        ValueError: There is no such average.
        ConfigError: The head's logits are no linear map of its streams, whose mean would be that of the logits.
    """
    if average not in VIEW_AVERAGES:
        raise ValueError(
            f'view_average={average!r} is unknown: choose {" or ".join(VIEW_AVERAGES)}'
            f'{did_you_mean(average, VIEW_AVERAGES)}'
        )
    known = (ClsHead.forward, MultiLabelHead.forward)
    linear = all(getattr(type(part), 'forward', None) in known for part in head.parts.values())
    if average == 'logits' and not linear:
        raise ConfigError(
            f"view_average='logits' needs a head of linear layers such as ClsHead; {type(head).__name__} has another "
            "forward: leave it at 'probabilities'"
        )
    return average


def masks_of_views(masks: Mapping[str, Tensor] | None, views: int) -> dict[str, Tensor] | None:
    """Masks (B,) of clips as those (B * V,) of their views."""
    return None if masks is None else {name: mask.repeat_interleave(views) for name, mask in masks.items()}


def count_views(inputs: Mapping[str, Tensor]) -> int:
    """The number V of views of a clip: that of the modality with most.

    Where a modality has fewer, say one window of audio for several video views, each of its views goes with V / V_m
    consecutive views of the other: the first with the first V / V_m, and so on.

    Args:
        inputs: Modality name -> (B, V_m, ...).

    Raises:
        ConfigError: V is no multiple of a V_m.
    """
    counts = {name: x.shape[1] for name, x in inputs.items()}
    most = max(counts, key=counts.__getitem__)
    for name, number in counts.items():
        if counts[most] % number:
            raise ConfigError(
                f'{name} has {number} views, {most} {counts[most]}: the larger number must be a multiple of the '
                f'smaller, as each view of {name} goes with equally many of {most}'
            )
    return counts[most]


def repeat_views(tokens: Tokens, times: int) -> Tokens:
    """Tokens (B * V_m, ...) with each view ``times`` in a row, (B * V_m * times, ...).

    >>> repeat_views(Tokens(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1, 1), (1,)), 2).cls.flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if times == 1:
        return tokens
    cls, patches = (value.repeat_interleave(times, dim=0) for value in tokens[:2])
    return Tokens(cls, patches, tokens.grid)


def encode_in_chunks(
    encode: Callable[[str, Tensor], Tokens], inputs: Mapping[str, Tensor], step: int
) -> Iterator[tuple[dict[str, Tokens], int]]:
    """Encodes ``step`` views of every clip at a time, each view of each modality once.

    Args:
        encode: Modality name and (B, *size) -> its tokens.
        inputs: Modality name -> (B, V_m, *size), V_m as in :func:`count_views`.
        step: Views at a time, above 0.

    Yields:
        Modality name -> tokens of B * n clips, and n, the number of views in them: ``step``, or fewer at the end.
    """
    views = count_views(inputs)
    # modality -> its view -> tokens of B clips: of a view that goes on in the next chunk
    kept: dict[str, dict[int, Tokens]] = {name: {} for name in inputs}
    for first in range(0, views, step):
        chunk = range(first, min(first + step, views))
        tokens = {}
        for name, x in inputs.items():
            own = [view // (views // x.shape[1]) for view in chunk]
            there = kept[name]
            new = [view for view in dict.fromkeys(own) if view not in there]
            if new:
                encoded = encode(name, x[:, new[0] : new[-1] + 1].flatten(0, 1))
                there.update(zip(new, _split(encoded, len(new)), strict=True))
            tokens[name] = _join([there[view] for view in own])
            kept[name] = {own[-1]: there[own[-1]]}
        yield tokens, len(chunk)


def _split(tokens: Tokens, number: int) -> list[Tokens]:
    cls, patches = (value.unflatten(0, (-1, number)) for value in tokens[:2])
    return [Tokens(cls[:, view], patches[:, view], tokens.grid) for view in range(number)]


def _join(views: Sequence[Tokens]) -> Tokens:
    """Tokens of B clips of each view as those of B * V clips."""
    cls, patches = (torch.stack(values, dim=1).flatten(0, 1) for values in list(zip(*views, strict=True))[:2])
    return Tokens(cls, patches, views[0].grid)
