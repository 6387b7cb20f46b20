"""What passes between the parts of mmav: tokens between backbone and neck, samples between data, model and metrics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmav.errors import ConfigError

_FIXED = (str, int, float)
# Modalities that the library reads by itself; encoders of others can be registered under names of their own.
MODALITIES = ('video', 'audio')


class Tokens(NamedTuple):
    """What every backbone returns, whatever its flags.

    Attributes:
        cls: Class embedding (B, D); the mean of the patch tokens where the backbone has no class token.
        patches: Patch tokens (B, N, D).
        grid: What N unrolls, in row-major order: (T, H, W) for video, (F, T) for a spectrogram.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, ...]


class AVDataSample(BaseDataElement):
    """Ground truth, prediction and origin of one clip.

    Data fields: ``gt_label`` (int64, ()), ``gt_score`` (C,) where labels are soft, ``pred_score`` (C,) probabilities,
    ``pred_label`` (int64, ()). A clip with any number of labels has no ``gt_label``: its ``gt_score`` is 1 for its
    classes and 0 for the others, its ``pred_score`` a probability for each class by itself, and ``pred_label`` the most
    probable class. Where a label has several parts, such as a verb and a noun, the same of each:
    ``gt_verb``, ``gt_verb_score``, ``pred_verb_score``, ``pred_verb`` and ``gt_noun`` and so on. ``feature`` (D,) and
    ``features``, a dict of name -> (D,), and ``alone``, modality and part such as ``video/label`` -> probabilities
    (C,) that it alone gives, where asked for.
    Meta fields: ``path``; ``start``, ``end`` in seconds; ``sample_idx``, the manifest's row counted from 0, over all
    manifests where several are joined; ``broken``, the reason why the clip could not be read, or None; ``parts`` of the
    label that are predicted, where it has several; ``multi_label``, True where a clip has any number of labels.

    >>> sample = AVDataSample(metainfo=dict(path='clip.mp4', start=0.0, end=10.0)).set_gt_label(3)
    >>> sample.gt_label, sample.path
    (tensor(3), 'clip.mp4')
    """

    def set_metainfo(self, metainfo: dict[str, Any]) -> None:
        """Sets meta fields, as MMEngine does, without its deep copies of what cannot change."""
        for name, value in metainfo.items():
            self.set_field(_copied(value), name, field_type='metainfo')

    def to(self, *args: Any, **kwargs: Any) -> AVDataSample:
        """A copy whose tensors are moved as ``Tensor.to`` does; as MMEngine's, which takes ten times as long."""
        moved = object.__new__(type(self))
        entries: dict[str, Any] = moved.__dict__
        entries.update(_metainfo_fields=set(self._metainfo_fields), _data_fields=set(self._data_fields))
        entries.update({name: _copied(vars(self)[name]) for name in self._metainfo_fields})
        for name in self._data_fields:
            value = vars(self)[name]
            entries[name] = value.to(*args, **kwargs) if hasattr(value, 'to') else value
        return moved

    def set_gt_label(self, value: int | Tensor, part: str = 'label') -> AVDataSample:
        """Sets the ground truth, a class index; ``part`` is 'label' where there is one, else such as 'verb'."""
        self.set_field(torch.as_tensor(value, dtype=torch.int64), f'gt_{part}')
        return self

    def set_gt_labels(self, indices: Iterable[int], num_classes: int, part: str = 'label') -> AVDataSample:
        """Sets the ground truth of a clip with any number of labels.

        Args:
            indices: Its classes; none where it has none of them.
            num_classes: C.
            part: Which part of the label.

        >>> AVDataSample().set_gt_labels([0, 2], 4).target()
        tensor([1., 0., 1., 0.])
        """
        target = torch.zeros(num_classes)
        target[list(indices)] = 1
        self.set_field(True, 'multi_label', field_type='metainfo')
        return self.set_gt_score(target, part)

    def set_gt(self, labels: Any, num_classes: Mapping[str, int] | None = None) -> AVDataSample:
        """Sets the ground truth of each part of a row's label.

        Args:
            labels: The class, or its part -> class; for any number of labels a tuple of classes.
            num_classes: Part of the label -> C; needed for tuples.

        Raises:
            ConfigError: There are several labels, and the number of classes is unknown.
        """
        for part, label in as_parts(labels).items():
            if not isinstance(label, tuple):
                self.set_gt_label(label, part)
            elif part in (num_classes or {}):
                self.set_gt_labels(label, dict(num_classes or {})[part], part)
            else:
                raise ConfigError(
                    f'{self.get("path", "a clip")} has several labels, {label}, of an unknown number of classes: give '
                    f'the pipeline num_classes=dict({part}=...) beside label, as AVDataset does'
                )
        return self

    def set_gt_score(self, value: Tensor, part: str = 'label') -> AVDataSample:
        """Sets a soft ground truth, one weight a class (C,)."""
        self.set_field(value, f'gt_{score_key(part)}')
        return self

    def set_pred_score(self, value: Tensor, part: str = 'label') -> AVDataSample:
        """Sets predicted probabilities (C,) and, from them, ``pred_label``."""
        parts = self.get('parts', ('label',) if 'pred_score' in self else ())
        if part not in (*parts, 'label'):
            # noted in their order, which the fields of an element, a set, do not have
            self.set_field((*parts, part), 'parts', field_type='metainfo')
        self.set_field(value, f'pred_{score_key(part)}')
        self.set_field(value.argmax(dim=-1), f'pred_{part}')
        return self

    def set_feature(self, value: Tensor) -> AVDataSample:
        """Sets what the head sees of the clip (D,)."""
        self.set_field(value, 'feature')
        return self

    def set_features(self, values: dict[str, Tensor]) -> AVDataSample:
        """Sets features by name (D,), such as ``video``, ``audio`` and ``fused``; none of a modality that is absent."""
        self.set_field(values, 'features')
        return self

    def target(self, part: str = 'label') -> Tensor:
        """Returns the soft ground truth (C,) of a part where there is one, else its class index ().

        Raises:
            ConfigError: If the clip has neither.
        """
        for key in (f'gt_{score_key(part)}', f'gt_{part}'):
            if key in self:
                return self.get(key)
        raise ConfigError(
            f'the clip has no {part}, only {sorted(self.keys())}: give the manifest a column {part!r}, or the model '
            'the head for what the manifest has (label: ClsHead, verb and noun: VerbNounHead)'
        )


def _copied(value: Any) -> Any:
    """A value of its own; one that cannot change is its own copy."""
    return value if value is None or isinstance(value, _FIXED) else copy.deepcopy(value)


def action_scores(verb: Tensor, noun: Tensor) -> Tensor:
    """Scores of all pairs: the outer product of probabilities (..., V) and (..., N), of shape (..., V, N).

    The action score of epic-kitchens/C1-Action-Recognition, utils/scoring.py.
    """
    return verb.unsqueeze(-1) * noun.unsqueeze(-2)


# after the name of a modality: its embedding in the space that contrastive losses share between modalities
PROJECTED = '_projected'
# what the parts of a label are together: of a verb and a noun, the action
ACTION = 'action'


def score_key(part: str) -> str:
    """The end of the names of a part's scores among the fields of a sample.

    >>> score_key('label'), score_key('verb')
    ('score', 'verb_score')
    """
    return 'score' if part == 'label' else f'{part}_score'


def predicted_parts(sample: Any) -> tuple[str, ...]:
    """The parts of the label of which a sample, or the dict that it became, holds predictions, in their order."""
    return tuple(sample.get('parts') or ('label',))


def as_parts(value: Any) -> dict[str, Any]:
    """What a config or file says of a label, of one or by part, as part -> value.

    >>> as_parts(3), as_parts(dict(verb=1, noun=2))
    ({'label': 3}, {'verb': 1, 'noun': 2})
    """
    return dict(value) if isinstance(value, Mapping) else dict(label=value)


def as_given(parts: Mapping[str, Any]) -> Any:
    """The other way round, for configs, files and checkpoints: the value alone where ``label`` is the only part."""
    return parts['label'] if parts.keys() == {'label'} else dict(parts)
