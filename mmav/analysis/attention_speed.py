"""How long each form of multiscale attention takes at the sizes that the encoders of a config have.

Inputs are generated; the projections, pooling and relative positions around the attention are not part of it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor
from tqdm import tqdm

from mmav.analysis.machine_peak import matmul_peak
from mmav.analysis.model_passes import DTYPES, check_device
from mmav.analysis.rounds import quartiles, ratio, time_in_turn
from mmav.errors import ConfigError, MmavError
from mmav.models.backbones.mvit import MultiscaleTransformer
from mmav.models.ops.attention import explicit_attention, folded_attention
from mmav.models.ops.tiled_attention import tiled_attention
from mmav.registry import MODELS

FORMS = ('explicit', 'folded', 'tiled')
# the backward pass has two products for each of the forward pass
PASSES = dict(forward=1, backward=3)


@dataclass(frozen=True)
class Shape:
    """Sizes of the attention in a block.

    Attributes:
        encoder: Name of the backbone.
        q_grid: Grid of the pooled queries.
        k_grid: Grid of the pooled keys and values.
        heads: Number of heads.
        dim: Width of one.
        num_cls: 1 with a class token, else 0.
        rel_pos: Whether there are relative positions.
    """

    encoder: str
    q_grid: tuple[int, ...]
    k_grid: tuple[int, ...]
    heads: int
    dim: int
    num_cls: int = 1
    rel_pos: bool = True

    @property
    def operations(self) -> int:
        """Of the two products of a forward pass of one clip, a multiplication and an addition being two."""
        queries, keys = (math.prod(grid) + self.num_cls for grid in (self.q_grid, self.k_grid))
        return 4 * queries * keys * self.heads * self.dim


def attention_shapes(cfg: Config) -> dict[Shape, int]:
    """Sizes of the multiscale attention of a config's encoders, from the first block on -> number of blocks.

    Raises:
        ConfigError: No backbone has multiscale attention.
    """
    init_default_scope('mmav')
    # None is how a config leaves out a backbone of the one that it is based on
    backbones = {name: part for name, part in (cfg.model.get('backbones') or {}).items() if part}
    found: Counter[Shape] = Counter()
    for name, backbone in backbones.items():
        with torch.device('meta'):
            encoder = MODELS.build(backbone)
        if not isinstance(encoder, MultiscaleTransformer):
            continue
        grid: Sequence[int] = encoder.patch_embed.grid_of(encoder.input_size)
        for block in encoder.blocks:
            attn: Any = block.attn
            q_grid, k_grid = attn.pool_q.out_grid(grid), attn.pool_k.out_grid(grid)
            dim, num_cls = attn.qkv.out_features // 3 // attn.num_heads, int(encoder.cls_token is not None)
            found[Shape(name, q_grid, k_grid, attn.num_heads, dim, num_cls, attn.rel_pos is not None)] += 1
            grid = q_grid
    if not found:
        types = ', '.join(f'{name}: {backbone["type"]}' for name, backbone in backbones.items()) or 'none'
        raise ConfigError(f'no backbone has multiscale attention ({types}): take a config with MAT or MViTv2')
    return dict(found)


@dataclass
class Inputs:
    """What a block hands to the attention, each (B, N, heads, width), as its projections and pooling leave it."""

    patches: list[Tensor]
    classes: list[Tensor]
    bias: list[Tensor]
    k_grid: tuple[int, ...]

    def leaves(self) -> list[Tensor]:
        """All tensors, which the gradients are of."""
        return [*self.patches, *self.classes, *self.bias]

    def first(self, dtype: torch.dtype) -> Inputs:
        """The first clip, in another type."""
        patches, classes, bias = (
            [x[:1].detach().to(dtype) for x in xs] for xs in (self.patches, self.classes, self.bias)
        )
        return Inputs(patches, classes, bias, self.k_grid)


def make_inputs(shape: Shape, batch_size: int = 1, *, device: str = 'cpu', dtype: str = 'float32') -> Inputs:
    """Normally distributed queries, keys, values, class tokens and biases, the same ones every time."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int, width: int) -> Tensor:
        x = torch.randn(batch_size, length, shape.heads, width, generator=generator)
        return x.to(device, DTYPES[dtype]).requires_grad_()

    queries, keys = math.prod(shape.q_grid), math.prod(shape.k_grid)
    return Inputs(
        [draw(length, shape.dim) for length in (queries, keys, keys)],
        [draw(1, shape.dim) for _ in range(3 * shape.num_cls)],
        [draw(queries, size) for size in shape.k_grid if shape.rel_pos],
        shape.k_grid,
    )


def attend(form: str, inputs: Inputs) -> Tensor:
    """The attention in one of ``FORMS``, from what the pooling leaves to what the last projection reads.

    Returns:
        (B, c + Nq, heads * d), without residual pooling.
    """
    q, k, v = inputs.patches
    if form == 'tiled':
        classes = (inputs.classes[0], inputs.classes[1], inputs.classes[2]) if inputs.classes else None
        return tiled_attention(q, k, v, inputs.bias, inputs.k_grid, classes=classes).flatten(2)
    if inputs.classes:
        q, k, v = (torch.cat(pair, dim=1) for pair in zip(inputs.classes, (q, k, v), strict=True))
    function = explicit_attention if form == 'explicit' else folded_attention
    q, k, v, *bias = (x.transpose(1, 2) for x in (q, k, v, *inputs.bias))
    return function(q, k, v, bias, inputs.k_grid).transpose(1, 2).flatten(2)


def difference(form: str, inputs: Inputs) -> float:
    """Largest difference of a form's result from explicit attention in float32, over the largest value; of one clip."""
    with torch.inference_mode():
        expected = attend('explicit', inputs.first(torch.float32))
        got = attend(form, inputs.first(inputs.patches[0].dtype)).float()
    return float((got - expected).abs().max() / expected.abs().max())


def tolerance(dtype: str) -> float:
    """What :func:`difference` must stay below: 1e-4, or a few roundings of a half type."""
    return max(1e-4, 8 * torch.finfo(DTYPES[dtype]).eps)


def measure_attention(
    cfg: Config,
    *,
    forms: Sequence[str] = (),
    device: str = 'cpu',
    dtype: str = 'float32',
    batch_size: int = 1,
    rounds: int = 5,
    progress: bool = False,
) -> dict[str, Any]:
    """Times forms of multiscale attention in turn, in inference mode and with the backward pass.

    Args:
        cfg: Config of an experiment; not changed.
        forms: Of ``FORMS``; those that there are for the device and the type if empty.
        device: 'cpu' or 'cuda'.
        dtype: Of all tensors.
        batch_size: Clips at once.
        rounds: How often each form is timed at each size, after a round that does not count.
        progress: Whether to show a progress bar.

    Returns:
        ``peak``: operations a second of a matrix product. ``results``: one dict for each size: the attributes of
        :class:`Shape`, ``blocks``, ``operations`` and ``floor`` (seconds at the peak) for each of ``PASSES``, and
        ``forms``: form -> ``difference``, ``disagreement`` (a line where the form computes something else than
        explicit attention, else None) and, for each of ``PASSES``, ``seconds`` of each round, their quartiles, and
        ``gain``, quartiles of how many times as long the first of the forms took.

    Raises:
        ConfigError: See :func:`attention_shapes`; or a form is not there for the device and the type.
        MmavError: Memory does not suffice.
    """
    forms = _checked_forms(forms, device, dtype)
    shapes = attention_shapes(cfg)
    peak = matmul_peak(device, DTYPES[dtype])
    results = []
    for shape, blocks in tqdm(shapes.items(), desc='sizes', unit='size', disable=not progress):
        try:
            found = _measure_shape(shape, forms, batch_size=batch_size, device=device, dtype=dtype, rounds=rounds)
        except torch.OutOfMemoryError as error:
            grid = _grid(shape.q_grid)
            raise MmavError(
                f'{shape.encoder} {grid}: out of memory with --batch-size {batch_size}: take less'
            ) from error
        results.append(dict(asdict(shape), blocks=blocks, forms=found))
    # the better of before and after, as the machine may have been busy
    peak = max(peak, matmul_peak(device, DTYPES[dtype]))
    for shape, result in zip(shapes, results, strict=True):
        operations = {name: times * batch_size * shape.operations for name, times in PASSES.items()}
        result.update(operations=operations, floor={name: number / peak for name, number in operations.items()})
    return dict(peak=peak, results=results)


def _checked_forms(forms: Sequence[str], device: str, dtype: str) -> tuple[str, ...]:
    check_device(device, [dtype])
    usable = FORMS if device == 'cpu' and dtype == 'float32' else FORMS[:2]  # tiles are for these only
    for form in forms:
        if form not in usable:
            raise ConfigError(f'--forms {form}: with {device} and {dtype} choose of {", ".join(usable)}')
    return tuple(dict.fromkeys(forms)) or usable


def _measure_shape(
    shape: Shape, forms: Sequence[str], *, batch_size: int, device: str, dtype: str, rounds: int
) -> dict[str, dict[str, Any]]:
    inputs = make_inputs(shape, batch_size, device=device, dtype=dtype)
    found: dict[str, dict[str, Any]] = {}
    for form in forms:
        off = difference(form, inputs)
        line = None
        if not off < tolerance(dtype):
            where = f'{shape.encoder}, {_grid(shape.q_grid)} queries, {_grid(shape.k_grid)} keys'
            bound = f'more than {tolerance(dtype):.0e}: do not use it here'
            line = f'{form} attention is off by {off:.1e} from explicit ({where}), {bound}'
        found[form] = dict(difference=off, disagreement=line)
    with torch.no_grad():
        weights = torch.ones_like(attend(forms[0], inputs))

    def run(name: str, form: str) -> None:
        with torch.inference_mode(name == 'forward'):
            out = attend(form, inputs)
        if name == 'backward':
            torch.autograd.grad(out, inputs.leaves(), weights)

    seconds = time_in_turn({way: partial(run, *way) for way in product(PASSES, forms)}, rounds)
    for (name, form), values in seconds.items():
        found[form][name] = dict(seconds=values, **quartiles(values), gain=ratio(seconds[name, forms[0]], values))
    return found


def attention_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`measure_attention` found; the first row is the header.

    Pairs are milliseconds of a forward pass and of one with its backward pass. The last row of an encoder is the sum
    over its blocks.
    """
    forms = list(results[0]['forms'])
    compared = [form for form in forms if form != 'explicit']
    rows: list[tuple[str, ...]] = [
        (
            *('encoder', 'blocks', 'queries', 'keys', 'heads', 'floor, ms'),
            *(f'{form}, ms' for form in forms),
            *(f'{form} off by' for form in compared),
        )
    ]
    for encoder in dict.fromkeys(result['encoder'] for result in results):
        total: defaultdict[tuple[str, str], float] = defaultdict(float)
        own = [result for result in results if result['encoder'] == encoder]
        for result in own:
            found = result['forms']
            times = {(form, name): found[form][name]['median'] for form, name in product(forms, PASSES)}
            times.update({('floor', name): result['floor'][name] for name in PASSES})
            for key, value in times.items():
                total[key] += value * result['blocks']
            sizes = (_grid(result['q_grid']), _grid(result['k_grid']), f'{result["heads"]} x {result["dim"]}')
            offs = [
                f'{found[form]["difference"]:.0e}' + (' (!)' if found[form].get('disagreement') else '')
                for form in compared
            ]
            rows.append(
                (encoder, str(result['blocks']), *sizes, *(_pair(times, key) for key in ('floor', *forms)), *offs)
            )
        blocks = str(sum(result['blocks'] for result in own))
        sums = [_pair(total, key) for key in ('floor', *forms)]
        rows.append((f'{encoder}, all', blocks, '', '', '', *sums, *[''] * len(compared)))
    return rows


def _grid(grid: Sequence[int]) -> str:
    return 'x'.join(map(str, grid))


def _pair(times: Mapping[tuple[str, str], float], key: str) -> str:
    return ' / '.join(_ms(times[key, name]) for name in PASSES)


def _ms(seconds: float) -> str:
    digits = next((digits for digits, least in enumerate((0.1, 1e-2, 1e-3)) if seconds >= least), 3)
    return f'{seconds * 1e3:.{digits}f}'
