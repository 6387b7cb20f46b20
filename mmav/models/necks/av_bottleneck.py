"""AVBottleneck: fusion of modalities through a few bottleneck tokens (paper 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmav.models.layers import TransformerBlock
from mmav.models.necks.joining import FusionNeck
from mmav.registry import MODELS
from mmav.structures import MODALITIES, Tokens

UPDATES = ('sequential', 'average')


@MODELS.register_module()
class AVBottleneck(FusionNeck):
    """K blocks in which each modality attends only to itself and to L shared bottleneck tokens.

    With ``update='sequential'`` the bottleneck tokens pass through the modalities in turn (Eq. 5, then Eq. 6). With
    ``'average'`` every modality starts from the same tokens and the results are averaged, as in MBT (Nagrani et al.
    2021; google-research/scenic, projects/mbt). The result is one stream, ``fused``: the concatenated class tokens of
    all modalities after the last block.

    If a clip lacks a modality, none of its tokens reach the bottleneck; the class token of the absent modality starts
    from zero and only gathers from the bottleneck.

    Args:
        in_dims: Modality name -> width of its tokens. :class:`~mmav.models.AVClassifier` fills it in.
        embed_dims: Width D of the fusion; modalities of other widths are projected to it.
        num_blocks: K.
        num_tokens: L.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden width of the MLPs over D.
        update: ``sequential`` or ``average``.
        order: The modalities, in the order of the sequential update.
        token_grids: Modality name -> grid that its patch tokens are averaged to before the fusion, such as
            ``dict(video=(1, 7, 7))``; (0,) takes the class embedding alone. Defaults to all tokens.
        drop_path_rate: Probability of dropping a residual branch in training.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` and ``order`` name different modalities, or ``update`` is unknown.

    >>> neck = AVBottleneck(dict(video=16, audio=8), embed_dims=16, num_blocks=2, num_heads=2)
    >>> video = Tokens(torch.zeros(3, 16), torch.zeros(3, 12, 16), (3, 2, 2))
    >>> audio = Tokens(torch.zeros(3, 8), torch.zeros(3, 10, 8), (2, 5))
    >>> {name: stream.shape for name, stream in neck(dict(video=video, audio=audio)).items()}
    {'fused': torch.Size([3, 32])}
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None = None,
        embed_dims: int = 768,
        num_blocks: int = 4,
        *,
        num_tokens: int = 4,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        update: str = 'sequential',
        order: Sequence[str] = MODALITIES,
        token_grids: Mapping[str, Sequence[int]] | None = None,
        drop_path_rate: float = 0.0,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            in_dims, embed_dims, order=order, token_grids=token_grids, init_std=init_std, init_cfg=init_cfg
        )
        if update not in UPDATES:
            raise ValueError(f'update={update!r} is unknown: choose one of {", ".join(UPDATES)}')
        self.update = update
        self.tokens = nn.Parameter(torch.zeros(1, num_tokens, embed_dims))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {m: TransformerBlock(embed_dims, num_heads, mlp_ratio, drop_path=drop_path_rate) for m in self.order}
            )
            for _ in range(num_blocks)
        )
        self.draw()

    def forward(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Fuses.

        Args:
            tokens: Modality name -> tokens of the same B clips.
            masks: Modality name -> (B,), True where the clip has that modality; None if every clip has every modality.

        Returns:
            ``fused``: (B, number of modalities * D).
        """
        # tests/models/necks/test_av_bottleneck.py checks that the content of an absent modality has no effect
        streams, key_masks = self.join(tokens, masks)
        key_masks = {m: self._with_bottleneck(mask) for m, mask in key_masks.items()}
        x = streams[self.order[0]]
        bottleneck = self.tokens.to(x.dtype).expand(x.shape[0], -1, -1)  # (B, L, D)
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)  # for the type checker
            results = {}
            for m in self.order:
                length = streams[m].shape[1]
                joined = block[m](torch.cat((streams[m], bottleneck), dim=1), key_masks.get(m))
                streams[m], results[m] = joined[:, :length], joined[:, length:]
                if self.update == 'sequential':
                    bottleneck = results[m]
            if self.update == 'average':
                bottleneck = self._average(results, masks)
        return self.class_tokens(streams)

    def _with_bottleneck(self, key_mask: Tensor) -> Tensor:
        """(B, 1 + N) -> (B, 1 + N + L): the bottleneck may always be attended to."""
        return torch.cat((key_mask, key_mask.new_ones(key_mask.shape[0], self.tokens.shape[1])), dim=1)

    def _average(self, results: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> Tensor:
        """Averages (B, L, D) over the modalities that a clip has, or over all of them if it has none."""
        stacked = torch.stack([results[m] for m in self.order])
        if masks is None:
            return stacked.mean(dim=0)
        weights = torch.stack([masks[m] for m in self.order]).to(stacked.dtype)[..., None, None]
        weights = torch.where(weights.sum(dim=0) > 0, weights, torch.ones_like(weights))
        return (stacked * weights).sum(dim=0) / weights.sum(dim=0)
