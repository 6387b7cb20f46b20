"""Auxiliary losses that compare the encoders' class embeddings of a batch, in training only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.models.gather import gather_labels, gather_rows
from mmav.models.init import DrawnModule
from mmav.registry import MODELS


@MODELS.register_module()
class ContrastiveHead(DrawnModule):
    """Projects each modality's class embeddings with a linear layer, g_A and g_V, shared by all losses.

    The losses use the batches of all processes: embeddings are gathered with their gradients, so that N processes with
    B / N clips each have the losses and gradients of one process with B clips.

    With accumulated gradients (``optim_wrapper.accumulative_counts``) the batch is still that of one iteration over all
    processes, and positives and negatives come from it alone. Unlike for classification, accumulation does not replace
    a large batch (tests/engine/test_accumulation.py).

    Args:
        in_dims: Modality name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        embed_dims: Width of the projected embeddings; 256 as in ALBEF (Li et al. 2021).
        losses: Configs of the losses, such as ``dict(type='AVCLoss', loss_weight=0.25)``. Intra-modal ones need two
            views of each modality: ``LoadClip(num_views=2)`` and ``AudioViews(num_views=2)`` in the training pipeline.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` or ``losses`` are missing.

    >>> head = ContrastiveHead(dict(video=8, audio=6), 4, [dict(type='AVCLoss')])
    >>> classes = dict(video=torch.zeros(2, 1, 8), audio=torch.zeros(2, 1, 6))
    >>> list(head.loss(classes, dict(label=torch.tensor([0, 1]))))
    ['loss_avc']
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None = None,
        embed_dims: int = 256,
        losses: Sequence[dict[str, Any]] = (dict(type='AVCLoss', loss_weight=0.25),),
        *,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'ContrastiveHead needs the width of at least one modality, got in_dims={in_dims}')
        if not losses:
            raise ValueError("ContrastiveHead needs at least one loss, such as dict(type='AVCLoss', loss_weight=0.25)")
        self.projections = nn.ModuleDict({name: nn.Linear(dims, embed_dims) for name, dims in in_dims.items()})
        self.losses = nn.ModuleList(MODELS.build(loss) for loss in losses)
        self.draw()

    def forward(self, classes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Projects: modality name -> (B, V, D) to modality name -> (B, V, ``embed_dims``)."""
        return {name: projection(classes[name]) for name, projection in self.projections.items()}

    def loss(
        self,
        classes: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        multi_label: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """Computes the losses of the batch of all processes.

        Args:
            classes: Modality name -> class embeddings before fusion (B, V, D); V may differ between modalities.
            labels: Part of the label -> class indices (B,), or soft labels (B, C).
            masks: Modality name -> (B,), True where the clip has it; None where all have all.
            multi_label: Parts of which clips have any number of labels (B, C).

        Returns:
            Name -> loss (), each name beginning with ``loss_``.

        Raises:
            ConfigError: If processes have batches of different sizes, two losses have the same name, or a loss does not
                support these modalities or numbers of views.
        """
        labels = {part: gather_labels(values) for part, values in labels.items()}
        # gathered even without a mask in this process: another process may have one
        present = {
            name: torch.ones(x.shape[0], dtype=torch.bool, device=x.device) if masks is None else masks[name]
            for name, x in classes.items()
        }
        present = {name: gather_rows(mask.to(torch.uint8)).bool() for name, mask in present.items()}
        # the losses need at least float32, so convert before the exchange
        embeddings = {
            name: gather_rows(x if x.dtype == torch.float64 else x.float()) for name, x in self(classes).items()
        }
        # a loss of someone's own may know clips with one label only
        kinds = dict(multi_label=multi_label) if multi_label else {}
        results: dict[str, Tensor] = {}
        for loss in self.losses:
            for key, value in loss(embeddings, labels, present, **kinds).items():
                name = f'loss_{key}'
                if name in results:
                    raise ConfigError(f'losses: two of them give {name}; name each type once')
                results[name] = value
        return results
