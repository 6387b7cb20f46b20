"""LoRA (Hu et al. 2021): linear layers keep their weight and learn a product of two thin matrices beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from mmav.errors import ConfigError, did_you_mean
from mmav.models.ops.eager import is_plain

# what models call the layers of each kind: mmav and timm, transformers, and others that follow them
_KINDS = {
    'qkv': {'qkv', 'q', 'k', 'v', 'kv', 'query', 'key', 'value', 'q_proj', 'k_proj', 'v_proj', 'qkv_proj', 'in_proj'},
    'proj': {'proj', 'out_proj', 'o_proj', 'to_out'},
    'mlp': {'fc1', 'fc2', 'linear1', 'linear2', 'lin1', 'lin2', 'w1', 'w2', 'w3', 'w12', 'intermediate_dense'},
}
_MLPS = {'mlp', 'ffn', 'feed_forward', 'feedforward'}
_SHOWN = 8


@dataclass(frozen=True)
class LoRASettings:
    """``lora`` of a backbone's config.

    Attributes:
        rank: Rank r of the learned product B A.
        alpha: It is added with the factor alpha / rank.
        targets: The linear layers: ``qkv`` (queries, keys and values, joint or separate), ``proj`` (what follows the
            attention) and ``mlp``, whatever the model calls them; or parts of their own names, such as ``fc1`` or
            ``attn.proj``.
        dropout: Probability of dropping an input feature of the product in training.
    """

    rank: int = 8
    alpha: float = 16
    targets: tuple[str, ...] = tuple(_KINDS)
    dropout: float = 0.0

    @classmethod
    def read(cls, value: Any, where: str) -> LoRASettings:
        """Checks a config's value.

        Args:
            value: A dict of the attributes.
            where: Its place in the config, for messages.

        Raises:
            ConfigError: It is no dict, a key is unknown, or a value makes no sense.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(value, Mapping):
            raise ConfigError(f'{where}={value!r}: give a dict such as dict(rank=8, alpha=16), or None')
        for key in value:
            if key not in known:
                hint = did_you_mean(str(key), known) or f'; it has {", ".join(known)}'
                raise ConfigError(f'{where}.{key}: unknown{hint}')
        targets = value.get('targets', cls.targets)
        targets = (targets,) if isinstance(targets, str) else targets
        if not isinstance(targets, (list, tuple)) or not targets or not all(isinstance(t, str) and t for t in targets):
            raise ConfigError(f"{where}.targets={value['targets']!r}: give names of layers, such as ('qkv', 'proj')")
        settings = cls(**{**value, 'targets': tuple(targets)})
        if type(settings.rank) is not int or settings.rank < 1:
            raise ConfigError(f'{where}.rank={settings.rank!r}: give a whole number above 0')
        if not _is_number(settings.alpha) or not 0 < settings.alpha < math.inf:
            raise ConfigError(f'{where}.alpha={settings.alpha!r}: give a number above 0, such as twice the rank')
        if not _is_number(settings.dropout) or not 0 <= settings.dropout < 1:
            raise ConfigError(f'{where}.dropout={settings.dropout!r}: give a number from 0 to below 1')
        return settings


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class LoRALinear(nn.Linear):
    """W x + b + alpha / rank * B A x (Hu et al. 2021, Eq. 3); at first B = 0, so that nothing changes.

    ``weight`` and ``bias`` are those of the layer that it replaces and keep their names, so that any weights for that
    layer can be loaded; ``lora_a`` (rank, in) and ``lora_b`` (out, rank) are new. Layers that read weights call it
    instead (:func:`~mmav.models.ops.eager.is_plain`).

    Args:
        base: The layer that it replaces; its parameters become this layer's.
        rank: Rank of the product.
        alpha: It is added with the factor alpha / rank.
        dropout: Probability of dropping an input feature of the product in training.

    >>> base = nn.Linear(6, 4)
    >>> layer = LoRALinear(base, rank=2, alpha=4)
    >>> sorted(layer.state_dict()), torch.equal(layer(torch.ones(1, 6)), base(torch.ones(1, 6)))
    (['bias', 'lora_a', 'lora_b', 'weight'], True)
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, *, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)  # that of nn.Linear would make another weight
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        self.lora_a = nn.Parameter(base.weight.new_empty(rank, self.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(self.out_features, rank))
        if not isinstance(self.lora_a, FakeTensor):
            nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))  # as in microsoft/LoRA, loralib/layers.py

    def forward(self, x: Tensor) -> Tensor:
        """Turns (..., in) into (..., out)."""
        inputs = F.dropout(x, self.dropout, self.training) if self.dropout else x
        added = F.linear(F.linear(inputs, self.lora_a) * self.scale, self.lora_b)
        return F.linear(x, self.weight, self.bias) + added

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, rank={self.rank}, scale={self.scale:g}'

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer with the weight W + alpha / rank * B A, in float32 at least before it is rounded."""
        a, b = (x.float() if x.itemsize < 4 else x for x in (self.lora_a, self.lora_b))
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device='meta')
        weight = (self.weight + self.scale * (b @ a)).to(self.weight.dtype)
        plain.weight, plain.bias = nn.Parameter(weight, requires_grad=self.weight.requires_grad), self.bias
        return plain.train(self.training)


def kind_of(name: str) -> str:
    """The kind of a linear layer by its name in a block: 'qkv', 'proj', 'mlp'; empty for others.

    >>> kind_of('attn.qkv'), kind_of('attention.output.dense'), kind_of('output.dense'), kind_of('mlp.3')
    ('qkv', 'proj', 'mlp', 'mlp')
    """
    *above, last = name.split('.')
    if not _MLPS.isdisjoint(above):
        return 'mlp'
    if last in ('dense', 'output_dense'):
        return 'proj' if any('attention' in part or 'attn' in part for part in above) else 'mlp'
    return next((kind for kind, names in _KINDS.items() if last in names), '')


def add_lora(part: nn.Module, settings: LoRASettings, where: str, *, blocks: Iterable[nn.Module] = ()) -> list[str]:
    """Replaces linear layers of a part of a model; does not advance the random generator.

    Args:
        part: The part; changed.
        settings: Which layers, and how.
        where: The place of ``lora`` in the config, for messages.
        blocks: Only layers inside these; all of the part's if empty.

    Returns:
        The names of the layers.

    Raises:
        ConfigError: A target matches no layer, or the rank is larger than a layer.
    """
    inside = {id(module) for block in blocks for module in block.modules()}
    linear = {
        name: module
        for name, module in part.named_modules(remove_duplicate=False)
        if type(module) is nn.Linear and is_plain(module) and (not inside or id(module) in inside)
    }
    chosen: dict[str, nn.Linear] = {}
    for target in settings.targets:
        found = {name: module for name, module in linear.items() if _is_target(name, target)}
        if not found:
            raise ConfigError(f'{where}.targets: {_no_such(target, linear, type(part).__name__)}')
        chosen |= found
    for name, module in chosen.items():
        most = min(module.in_features, module.out_features)
        if settings.rank > most:
            raise ConfigError(f'{where}.rank={settings.rank}: {name} has rank {most} itself; give less')
    made: dict[int, LoRALinear] = {}  # a layer may have two names
    with torch.random.fork_rng(devices=()):
        for name, module in chosen.items():
            if id(module) not in made:
                made[id(module)] = LoRALinear(module, settings.rank, settings.alpha, dropout=settings.dropout)
            _replace(part, name, made[id(module)])
    return list(chosen)


def _is_target(name: str, target: str) -> bool:
    return kind_of(name) == target if target in _KINDS else f'.{target}.' in f'.{name}.'


def _no_such(target: str, linear: Mapping[str, nn.Linear], owner: str) -> str:
    if not linear:
        return f'{owner} has no layers of the class nn.Linear there, which LoRA needs'
    names = dict.fromkeys('.'.join(part for part in name.split('.')[-2:] if not part.isdecimal()) for name in linear)
    known = (*_KINDS, *names, *(name.rpartition('.')[2] for name in names))
    hint = '' if target in _KINDS else did_you_mean(target, known)
    shown = ', '.join([*names][:_SHOWN]) + (', ...' if len(names) > _SHOWN else '')
    return f'no linear layer of {owner} is {target!r}{hint or f"; it has {shown}"}'


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition('.')
    setattr(root.get_submodule(parent), last, module)


def is_lora(name: str) -> bool:
    """Whether a parameter of this name is a matrix of LoRA.

    >>> is_lora('blocks.0.attn.qkv.lora_a'), is_lora('blocks.0.attn.qkv.weight')
    (True, False)
    """
    return name.rpartition('.')[2] in ('lora_a', 'lora_b')


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers of a model, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def merge_lora(model: nn.Module) -> int:
    """Replaces the LoRA layers of a model with plain ones that compute the same; changes ``model``.

    Returns:
        Number of layers.
    """
    plain: dict[int, nn.Linear] = {}
    for name, module in [*model.named_modules(remove_duplicate=False)]:
        if isinstance(module, LoRALinear):
            if id(module) not in plain:
                plain[id(module)] = module.merged()
            _replace(model, name, plain[id(module)])
    return len(plain)
