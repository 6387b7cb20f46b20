"""Each clip is encoded once; what the encoders gave is then fused under each condition."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmav.analysis.modality_report.pairing import NONE, partners
from mmav.engine.features.encoders import stored_grids
from mmav.errors import ConfigError
from mmav.evaluation.dump import labels_in
from mmav.models import AVClassifier
from mmav.models.av_classifier import tokens_of
from mmav.models.cached_backbone import CachedBackbone
from mmav.models.necks.joining import pool_tokens

BOTH, SHUFFLED, SAME = 'both', 'shuffled', 'shuffled_same'


def modalities_of(backbones: Mapping[str, Any]) -> tuple[str, str]:
    """The two modalities of a model, the one that is exchanged between clips last: audio, where there is audio.

    Raises:
        ConfigError: The model has another number of modalities.
    """
    names = [name for name, backbone in backbones.items() if backbone is not None]
    if len(names) != 2:
        told = f'one modality, {names[0]}' if len(names) == 1 else f'{len(names)} modalities, {", ".join(names)}'
        raise ConfigError(f'the model has {told}: a modality report needs two, to compare each alone with both')
    return tuple(sorted(names, key=lambda name: name == 'audio'))  # type: ignore[return-value]


class Encoder:
    """Runs the encoders of a model, and fuses what they gave.

    Args:
        model: An AVClassifier in eval mode.
    """

    def __init__(self, model: AVClassifier) -> None:
        self.model = model
        self.names = modalities_of(model.backbones)
        self.pooled = stored_grids(model, 'auto')
        self._blank: dict[str, Tensor] = {}
        self._grids: dict[str, tuple[int, ...]] = {}
        self._fusing: nn.Module | None = None

    def encode(self, batch: Mapping[str, Any]) -> Encoded:
        """Encodes a collated batch, each view of each modality once; only tokens that the neck reads are kept."""
        masks = {name: batch['masks'][name].clone() for name in self.names}
        data = self.model.data_preprocessor(dict(batch), False)
        tokens = {name: self._tokens(name, data['inputs'][name]) for name in self.names}
        for name in self.names:
            if name not in self._blank:
                self._blank[name] = self._tokens(name, torch.zeros_like(data['inputs'][name][:1]))
        return Encoded(self, tokens, masks, list(data['data_samples']))

    def _tokens(self, name: str, x: Tensor) -> Tensor:
        """(B, V, C, *size) -> tokens (B, V, 1 + N, D), the class embedding first."""
        views = x.shape[1]
        step = x.shape[0] * (getattr(self.model, 'view_batch', None) or views)
        parts = []
        for chunk in x.flatten(0, 1).split(step):
            tokens = tokens_of(self.model.backbones[name], chunk, name)
            tokens = pool_tokens(tokens, self.pooled[name], name) if name in self.pooled else tokens
            self._grids[name] = tokens.grid
            parts.append(torch.cat((tokens.cls[:, None], tokens.patches), dim=1))
        return torch.cat(parts).unflatten(0, (-1, views))

    def blank(self, name: str, clips: int) -> Tensor:
        """The tokens of zeros, in place of a withheld modality, which mmav's necks do not read."""
        return self._blank[name].expand(clips, -1, -1, -1)

    def fuse(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Part of the label -> probabilities (B, C).

        Args:
            tokens: Modality -> (B, V, 1 + N, D).
            masks: Modality -> (B,), True where it may be read.
        """
        if self._fusing is None:
            # the model, in which each encoder hands on tokens
            self._fusing = copy.copy(self.model)
            stand_ins = {name: CachedBackbone(tokens[name].shape[-1], self._grids[name]) for name in self.names}
            # in the order of the model's own
            own = {name: stand_ins[name] for name in self.model.backbones}
            self._fusing._modules = {**self.model._modules, 'backbones': ModuleDict(own)}
        device = next(iter(tokens.values())).device
        present = {name: mask.to(device) for name, mask in masks.items()}
        whole = all(bool(mask.all()) for mask in masks.values())
        return self._fusing(dict(tokens), masks=None if whole else present)


class Encoded:
    """Clips whose modalities were encoded.

    Args:
        encoder: What encoded them.
        tokens: Modality -> (B, V, 1 + N, D).
        masks: Modality -> (B,), True where the clip has it.
        samples: The B samples.
    """

    def __init__(
        self, encoder: Encoder, tokens: dict[str, Tensor], masks: dict[str, Tensor], samples: list[Any]
    ) -> None:
        self.encoder, self.tokens, self.masks, self.samples = encoder, tokens, masks, samples

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """Several batches as one."""
        names = parts[0].tokens
        return cls(
            parts[0].encoder,
            {name: torch.cat([part.tokens[name] for part in parts]) for name in names},
            {name: torch.cat([part.masks[name] for part in parts]) for name in names},
            [sample for part in parts for sample in part.samples],
        )

    @property
    def bytes_per_clip(self) -> int:
        """What the tokens of a clip take."""
        return sum(value[:1].numel() * value.element_size() for value in self.tokens.values())

    def conditions(self, sizes: Sequence[int], rng: np.random.Generator, batch: int) -> dict[str, list[Any]]:
        """Fuses the clips under each condition.

        Args:
            sizes: Clips of each group of equal labels, in their order.
            rng: Draws the partners.
            batch: Clips at a time.

        Returns:
            Condition -> rows, None of clips without a partner.
        """
        anchor, exchanged = self.encoder.names
        readable = torch.tensor([sample.broken is None for sample in self.samples])
        masks = {name: mask & readable for name, mask in self.masks.items()}
        found: dict[str, list[Any]] = {BOTH: self._rows(self.tokens, masks, batch)}
        for name in self.encoder.names:
            withheld = next(other for other in self.encoder.names if other != name)
            tokens = {name: self.tokens[name], withheld: self.encoder.blank(withheld, len(self.samples))}
            alone = {name: masks[name], withheld: torch.zeros_like(masks[withheld])}
            found[name] = self._rows(tokens, alone, batch, asked=[name])
        usable = (masks[anchor] & masks[exchanged]).numpy()
        for name, others in zip((SHUFFLED, SAME), partners(sizes, usable, rng), strict=True):
            here = np.flatnonzero(others != NONE)
            found[name] = [None] * len(self.samples)
            if len(here):
                who, whose = torch.from_numpy(here), torch.from_numpy(others[here])
                tokens = {anchor: self.tokens[anchor][who], exchanged: self.tokens[exchanged][whose]}
                both = {each: torch.ones(len(here), dtype=torch.bool) for each in self.encoder.names}
                rows = self._rows(tokens, both, batch, [self.samples[k] for k in here])
                for place, row, other in zip(here, rows, others[here], strict=True):
                    partner = self.samples[other]
                    row['partner'], row['partner_label'] = str(partner.path), _labels(partner, row['scores'])
                    found[name][place] = row
        return found

    def _rows(
        self,
        tokens: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        batch: int,
        samples: Sequence[Any] | None = None,
        *,
        asked: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of clips; one that has none of the modalities asked for, or of all, counts as broken."""
        samples, asked = samples or self.samples, asked or self.encoder.names
        rows = []
        for first in range(0, len(samples), batch):
            part = slice(first, first + batch)
            scores = self.encoder.fuse(
                {name: value[part] for name, value in tokens.items()},
                {name: mask[part] for name, mask in masks.items()},
            )
            table = {name: value.float().cpu().numpy() for name, value in scores.items()}
            for k, sample in enumerate(samples[part]):
                own = {name: values[k] for name, values in table.items()}
                broken = sample.broken
                if broken is None and not any(masks[name][first + k] for name in asked):
                    broken = f'has no {" and no ".join(asked)}'  # as a test finds that withholds the other
                rows.append(_row(sample, own, broken))
        return rows


def _row(sample: Any, scores: dict[str, np.ndarray], broken: str | None) -> dict[str, Any]:
    return dict(
        path=str(sample.path),
        start=None if sample.start is None else float(sample.start),
        end=None if sample.end is None else float(sample.end),
        label=_labels(sample, scores),
        scores=scores,
        broken=broken,
        sample_idx=int(sample.sample_idx),
    )


def _labels(sample: Any, scores: Mapping[str, Any]) -> dict[str, int | tuple[int, ...]]:
    return labels_in(dict(sample.all_items()), list(scores))
