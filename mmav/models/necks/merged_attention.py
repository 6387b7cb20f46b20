"""MergedAttention: self-attention over the tokens of all modalities at once (paper 3.4, the costly alternative)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmav.models.layers import TransformerBlock
from mmav.models.necks.joining import FusionNeck
from mmav.registry import MODELS
from mmav.structures import MODALITIES, Tokens


@MODELS.register_module()
class MergedAttention(FusionNeck):
    """K blocks in which every token attends to the tokens of all modalities: O((M + N)^2) for M and N tokens.

    The result is one stream, ``fused``: the concatenated class tokens of all modalities after the last block. No token
    attends to a modality that the clip lacks; the class token of that modality starts from zero and gathers from the
    modalities that are present.

    Args:
        in_dims: Modality name -> width of its tokens. :class:`~mmav.models.AVClassifier` fills it in.
        embed_dims: Width D of the fusion; modalities of other widths are projected to it.
        num_blocks: K.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden width of the MLPs over D.
        order: The modalities, in the order of the sequence.
        token_grids: Modality name -> grid that its patch tokens are averaged to before the fusion, such as
            ``dict(video=(1, 7, 7))``; (0,) takes the class embedding alone. Defaults to all tokens.
        drop_path_rate: Probability of dropping a residual branch in training.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` and ``order`` name different modalities.

    >>> neck = MergedAttention(dict(video=16, audio=8), embed_dims=16, num_blocks=2, num_heads=2)
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
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        order: Sequence[str] = MODALITIES,
        token_grids: Mapping[str, Sequence[int]] | None = None,
        drop_path_rate: float = 0.0,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            in_dims, embed_dims, order=order, token_grids=token_grids, init_std=init_std, init_cfg=init_cfg
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_dims, num_heads, mlp_ratio, drop_path=drop_path_rate) for _ in range(num_blocks)
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
        streams, key_masks = self.join(tokens, masks)
        lengths = [streams[m].shape[1] for m in self.order]
        x = torch.cat([streams[m] for m in self.order], dim=1)  # (B, 1 + M + 1 + N, D)
        key_mask = None
        if masks is not None:
            key_mask = torch.cat([key_masks[m] for m in self.order], dim=1)
            # a clip without any modality attends to its zeros, as a softmax over nothing would be NaN
            key_mask = key_mask | ~key_mask.any(dim=1, keepdim=True)
        for block in self.blocks:
            x = block(x, key_mask)
        return self.class_tokens(dict(zip(self.order, x.split(lengths, dim=1), strict=True)))
