"""The operator behind the form ``tiled``: attention in tiles that fit a CPU's cache.

Each tile of score rows is computed, biased, normalised and multiplied with the values before the next one, in memory
shared by all tiles; no Nq x Nk matrix is kept. The backward pass recomputes the scores (Dao et al. 2022,
FlashAttention, but with whole rows, as keys are pooled), or reuses them if rows are short enough to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mmav.models.ops.relative_bias import along

# Scores per tile and thread: 2 MB of float32. A quarter of that took up to a third longer, twice as much took as long.
TILE = 512 * 1024
# With fewer rows per tile, the gradients of keys and values pass through the cache too often.
FEWEST_ROWS = 64
# Score rows start at multiples of this many elements: writing unaligned rows makes products up to a third slower.
ALIGNMENT = 8

Tile = tuple[slice | int, slice, slice | int]


def tiles(batch: int, rows: int, heads: int, width: int, size: int) -> Iterator[Tile]:
    """Divides (batch, rows, heads) so that a tile has at most ``size`` scores, but at least ``FEWEST_ROWS`` rows.

    A tile spans batch entries of a single head, or heads of a single entry: a batch of matrices with equal strides,
    which matrix products read without a copy.

    Args:
        batch: Number of batch entries.
        rows: Number of queries.
        heads: Number of heads.
        width: Number of keys.
        size: Maximum number of scores in a tile.

    Yields:
        Indices of the three axes; one of the outer ones is an integer.
    """
    per_tile = min(rows, max(FEWEST_ROWS, size // width))
    # tiles of about equal size, a multiple of 16 rows: products of 64 rows took a sixth less time than of 63
    per_tile = min(rows, -(-math.ceil(rows / math.ceil(rows / per_tile)) // 16) * 16)
    group = max(1, size // (rows * width)) if per_tile == rows else 1
    pieces = [slice(start, min(start + per_tile, rows)) for start in range(0, rows, per_tile)]
    outer, inner = (heads, batch) if batch >= heads else (batch, heads)
    for one in range(outer):
        for start in range(0, inner, group):
            many = slice(start, min(start + group, inner))
            for piece in pieces:
                yield (many, piece, one) if batch >= heads else (one, piece, many)


def cut(x: Tensor, tile: Tile, *, rows: bool = True) -> Tensor:
    """A tile of (B, N, heads, d), or all N rows of it, as a batch of matrices, or as a matrix if there is only one."""
    batch, piece, head = tile
    many, part = (batch, x[:, :, head]) if isinstance(batch, slice) else (head, x[batch].transpose(0, 1))
    assert isinstance(many, slice)  # tiles() yields one number and one slice
    part = part[many.start] if many.stop == many.start + 1 else part[many]
    return part.narrow(-2, piece.start, piece.stop - piece.start) if rows else part


def multiply(a: Tensor, b: Tensor, out: Tensor, *, add: bool = False, scale: float = 1.0) -> None:
    """out = scale * a b, plus ``out`` if ``add``, for matrices or batches of them."""
    product = torch.addmm if a.dim() == 2 else torch.baddbmm
    product(out, a, b, beta=float(add), alpha=scale, out=out)


class Buffer:
    """Memory shared by the scores of all tiles."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.memory = like.new_empty(0)

    def take(self, *shape: int) -> Tensor:
        number = math.prod(shape)
        if self.memory.numel() < number:
            self.memory = self.like.new_empty(number)
        return self.memory[:number].view(shape)


def _padded(patches: Tensor, cls: Tensor | None) -> Tensor:
    """Keys or values (B, width, heads, d): those of the patches, then the class token's, then zeros."""
    batch, length, heads, dim = patches.shape
    num_cls = 0 if cls is None else cls.shape[1]
    width = -(-(length + num_cls) // ALIGNMENT) * ALIGNMENT
    if width == length:
        return patches
    padded = patches.new_zeros(batch, width, heads, dim)
    padded[:, :length] = patches
    if cls is not None:
        padded[:, length : length + num_cls] = cls
    return padded


@dataclass
class _Scores:
    """The inputs for the probabilities of a tile.

    Attributes:
        keys: (B, width, heads, d), padded.
        number: Number of keys without padding; padding gets no weight.
        onehot: One-hot positions of the patches' keys, or None if the bias is broadcast.
        k_grid: The grid of the patches' keys.
    """

    keys: Tensor
    number: int
    onehot: Tensor | None
    k_grid: Sequence[int]

    def probabilities(self, q: Tensor, bias: Sequence[Tensor], tile: Tile, out: Tensor) -> Tensor:
        """Writes softmax(q k^T / sqrt(d) + E_rel) of a tile into ``out`` (matrices, rows, width)."""
        parts = [cut(values, tile) for values in bias]
        length = math.prod(self.k_grid)
        broadcast = bool(parts) and self.onehot is None
        if broadcast:  # first, as the product adds to it
            cells = out[..., :length].unflatten(-1, self.k_grid)
            of_axes = [part.unflatten(-1, along(axis, self.k_grid)) for axis, part in enumerate(parts)]
            if len(of_axes) == 2:
                torch.add(*of_axes, out=cells)
            else:
                cells.copy_(of_axes[0])
                for part in of_axes[1:]:
                    cells += part
            out[..., length:] = 0
        multiply(q, cut(self.keys, tile, rows=False).transpose(-1, -2), out, add=broadcast, scale=q.shape[-1] ** -0.5)
        if parts and self.onehot is not None:
            columns = self.onehot.t()
            multiply(parts[0], columns if q.dim() == 2 else columns.expand(len(q), -1, -1), out[..., :length], add=True)
        if self.number < out.shape[-1]:
            out[..., self.number :] = -math.inf
        return torch.softmax(out, dim=-1, out=out)

    def grad_bias(self, grad_scores: Tensor, tile: Tile, out: Sequence[Tensor]) -> None:
        """Sums the gradients of a tile's scores over the keys that share a bias."""
        cells = grad_scores[..., : math.prod(self.k_grid)]
        targets = [cut(values, tile) for values in out]
        if self.onehot is not None:
            onehot = self.onehot
            multiply(cells, onehot if cells.dim() == 2 else onehot.expand(len(cells), -1, -1), targets[0])
            return
        cells = cells.unflatten(-1, self.k_grid)
        for axis, target in enumerate(targets):
            others = [other - len(self.k_grid) for other in range(len(self.k_grid)) if other != axis]
            if others:
                torch.sum(cells, others, out=target)
            else:
                target.copy_(cells)


def _segments(
    q: Tensor, q_cls: Tensor | None, bias: Sequence[Tensor], residual: bool
) -> Iterator[tuple[Tensor, Sequence[Tensor], slice, bool]]:
    """(queries, their bias, their part of the result, whether to add them) for the patches and the class token."""
    num_cls = 0 if q_cls is None else q_cls.shape[1]
    yield q, bias, slice(num_cls, None), residual
    if q_cls is not None:
        yield q_cls, (), slice(0, num_cls), False


_softmax_backward = torch.ops.aten._softmax_backward_data.out


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_cls: Tensor | None,
    k_cls: Tensor | None,
    v_cls: Tensor | None,
    onehot: Tensor | None,
    bias: Sequence[Tensor],
    k_grid: Sequence[int],
    residual: bool,
    keep: bool,
) -> list[Tensor]:
    """The result and, if ``keep``, the probabilities of all tiles."""
    num_cls = 0 if q_cls is None else q_cls.shape[1]
    batch, rows, heads, dim = q.shape
    keys, values = _padded(k, k_cls), _padded(v, v_cls)
    width = keys.shape[1]
    scores = _Scores(keys, k.shape[1] + num_cls, onehot, k_grid)
    kept: list[Tensor] = []
    out = q.new_empty(batch, num_cls + rows, heads, dim)
    buffer = Buffer(q)
    for queries, its_bias, place, its_residual in _segments(q, q_cls, bias, residual):
        result = out[:, place]
        for tile in tiles(batch, queries.shape[1], heads, width, TILE * torch.get_num_threads()):
            part, target = cut(queries, tile), cut(result, tile)
            shape = (*part.shape[:-1], width)
            memory = q.new_empty(shape) if keep else buffer.take(*shape)
            probabilities = scores.probabilities(part, its_bias, tile, memory)
            if keep:
                kept.append(probabilities)
            if its_residual:
                target.copy_(part)
            multiply(probabilities, cut(values, tile, rows=False), target, add=its_residual)
    return [out, *kept]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    q, k, v, q_cls, k_cls, v_cls, onehot, bias, k_grid, residual, keep = inputs
    # the backward pass must use the same tiles, even if the number of threads changes
    ctx.about = (k_grid, residual, keep, len(bias), TILE * torch.get_num_threads())
    ctx.save_for_backward(q, k, v, q_cls, k_cls, v_cls, onehot, *bias, *output[1:])


def _backward(ctx: Any, grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    q, k, v, q_cls, k_cls, v_cls, onehot, *rest = ctx.saved_tensors
    k_grid, residual, is_kept, num_bias, size = ctx.about
    grad = grads[0]
    assert grad is not None  # the only differentiable output
    bias, kept = rest[:num_bias], iter(rest[num_bias:])
    length, num_cls = k.shape[1], 0 if q_cls is None else q_cls.shape[1]
    batch, _, heads, dim = q.shape
    keys, values = _padded(k, k_cls), _padded(v, v_cls)
    width, scale = keys.shape[1], dim**-0.5
    scores = _Scores(keys, length + num_cls, onehot, k_grid)
    grad_keys, grad_values = torch.zeros_like(keys), torch.zeros_like(values)
    grad_bias = [torch.empty_like(part) for part in bias]
    grad_queries = []
    buffer, grad_buffer = Buffer(q), Buffer(q)
    for queries, its_bias, place, its_residual in _segments(q, q_cls, bias, residual):
        grad_queries.append(torch.empty_like(queries))
        for tile in tiles(batch, queries.shape[1], heads, width, size):
            part, grad_out, target = (cut(x, tile) for x in (queries, grad[:, place], grad_queries[-1]))
            shape = (*part.shape[:-1], width)
            if is_kept:
                probabilities = next(kept)
            else:
                probabilities = scores.probabilities(part, its_bias, tile, buffer.take(*shape))
            multiply(probabilities.transpose(-1, -2), grad_out, cut(grad_values, tile, rows=False), add=True)
            grad_scores = grad_buffer.take(*shape)
            multiply(grad_out, cut(values, tile, rows=False).transpose(-1, -2), grad_scores)
            _softmax_backward(grad_scores, probabilities, -1, q.dtype, grad_input=grad_scores)
            if its_residual:
                target.copy_(grad_out)
            multiply(grad_scores, cut(keys, tile, rows=False), target, add=its_residual, scale=scale)
            multiply(grad_scores.transpose(-1, -2), part, cut(grad_keys, tile, rows=False), add=True, scale=scale)
            if its_bias:
                scores.grad_bias(grad_scores, tile, grad_bias)
    of_cls = slice(length, length + num_cls)
    grad_cls = (grad_queries[1], grad_keys[:, of_cls], grad_values[:, of_cls]) if num_cls else (None, None, None)
    patches = (grad_queries[0], grad_keys[:, :length], grad_values[:, :length])
    return (*patches, *grad_cls, None, grad_bias, None, None, None)


# Registered with PyTorch, so that selective activation checkpointing can keep its result.
_operator = torch.library.custom_op(
    'mmav::tiled_attention',
    _forward,
    mutates_args=(),
    schema='(Tensor q, Tensor k, Tensor v, Tensor? q_cls, Tensor? k_cls, Tensor? v_cls, Tensor? onehot, Tensor[] bias, '
    'int[] k_grid, bool residual, bool keep) -> Tensor[]',
)
_operator.register_autograd(_backward, setup_context=_keep_for_backward)


@_operator.register_fake
def _(*inputs: Any) -> list[Tensor]:
    q, k, _, q_cls, *_, bias, _, residual, keep = inputs
    num_cls = 0 if q_cls is None else q_cls.shape[1]
    batch, rows, heads, dim = q.shape
    results = [q.new_empty(batch, num_cls + rows, heads, dim)]
    width = -(-(k.shape[1] + num_cls) // ALIGNMENT) * ALIGNMENT
    for queries, *_ in _segments(q, q_cls, bias, residual) if keep else ():
        for tile in tiles(batch, queries.shape[1], heads, width, TILE * torch.get_num_threads()):
            results.append(q.new_empty(*cut(queries, tile).shape[:-1], width))
    return results


@register_flop_formula(torch.ops.mmav.tiled_attention)
def _flops(q: Sequence[int], k: Sequence[int], v: Any, q_cls: Sequence[int] | None, *_: Any, **__: Any) -> int:
    """FLOPs of the products of queries with keys and of probabilities with values; the bias does not count."""
    batch, rows, heads, dim = q
    num_cls = 0 if q_cls is None else q_cls[1]
    return 4 * batch * heads * dim * (num_cls + rows) * (num_cls + k[1])
