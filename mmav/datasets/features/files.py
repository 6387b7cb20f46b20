"""Features made elsewhere: one ``.npy`` or ``.safetensors`` file per clip and modality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmav.errors import FeatureError

SUFFIXES = ('.npy', '.safetensors')
_SHAPES = '(D,), (N, D) or (V, N, D)'


def read_array(path: str | Path, modality: str) -> Tensor:
    """Reads what a file holds, float32.

    Args:
        path: ``.npy``, or ``.safetensors`` with one tensor or one named after the modality.
        modality: Of the features.

    Returns:
        A tensor (V, N, D). A file with (N, D) has one view; one with (D,) has one token.

    Raises:
        FeatureError: The file is missing, of another kind, cannot be read, or has another shape or type.
    """
    try:
        values = _tensor_of(Path(path), modality)
    except FileNotFoundError:
        raise FeatureError(f"no features at '{path}'") from None
    except (OSError, EOFError, ValueError, SafetensorError) as error:
        raise FeatureError(f"'{path}' cannot be read as features: {error}") from error
    if not values.is_floating_point():
        raise FeatureError(f"'{path}' holds {values.dtype}: features are floating-point numbers")
    if not 1 <= values.dim() <= 3 or not values.numel():
        raise FeatureError(f"'{path}' has the shape {tuple(values.shape)}: features are {_SHAPES}")
    return values.float()[(None,) * (3 - values.dim())]


def _tensor_of(path: Path, modality: str) -> Tensor:
    if path.suffix == '.npy':
        return torch.from_numpy(np.array(np.load(path, allow_pickle=False)))
    if path.suffix != '.safetensors':
        raise FeatureError(f"'{path}': features are files that end in {' or '.join(SUFFIXES)}")
    with safe_open(path, 'pt') as file:
        names = list(file.keys())
        name = names[0] if len(names) == 1 else modality
        if name not in names:
            raise FeatureError(f"'{path}' holds {', '.join(names)}: name one of them {modality!r}")
        return file.get_tensor(name)


def as_tokens(values: Tensor, *, class_token: bool = False, num_tokens: int | None = None) -> Tensor:
    """Turns what a file holds into the tokens of a model.

    Args:
        values: (V, N, D); a single token is the class embedding.
        class_token: Whether the first of several tokens is the class embedding; otherwise it is their mean.
        num_tokens: To how many the patch tokens are averaged, in their order; None keeps all.

    Returns:
        Class embedding and patch tokens (V, 1 + N, D).

    >>> as_tokens(torch.zeros(2, 6, 4)).shape, as_tokens(torch.zeros(2, 6, 4), class_token=True, num_tokens=2).shape
    (torch.Size([2, 7, 4]), torch.Size([2, 3, 4]))
    """
    if values.shape[1] == 1:
        return values
    cls, patches = (values[:, :1], values[:, 1:]) if class_token else (values.mean(dim=1, keepdim=True), values)
    if num_tokens is not None and num_tokens != patches.shape[1]:
        patches = F.adaptive_avg_pool1d(patches.transpose(1, 2), num_tokens).transpose(1, 2)
    return torch.cat((cls, patches), dim=1)
