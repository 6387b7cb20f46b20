"""The precision that a config asks for: ``precision``, and the type of its ``optim_wrapper``.

:mod:`mmav.engine.precision` decides by it and by the hardware.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmav.errors import did_you_mean

AMP = ('auto', 'none', 'bfloat16', 'float16')
WRAPPERS = dict(bfloat16='AutocastOptimWrapper', float16='AmpOptimWrapper')
WRAPPER_DTYPES = dict(AutocastOptimWrapper=('bfloat16',), AmpOptimWrapper=('float16', 'bfloat16'))
PLAIN = 'OptimWrapper'
# scopes in which these names are known: type='mmengine.AmpOptimWrapper'
SCOPES = ('mmav', 'mmengine')


def precision_problems(precision: Any) -> Iterator[str]:
    """One line for each invalid value of a config's ``precision``; its keys are not checked."""
    if not isinstance(precision, Mapping):
        if precision is not None:
            yield f'precision={precision!r}: give a dict, such as precision = dict(amp={AMP[0]!r}, tf32=True)'
        return
    for name in ('amp', 'eval_amp'):
        value = precision.get(name, 'none')
        if value not in AMP:
            yield f'precision.{name}={value!r}: choose one of {", ".join(AMP)}{did_you_mean(str(value), AMP)}'
    if not isinstance(tf32 := precision.get('tf32', True), bool):
        yield f'precision.tf32={tf32!r}: give True or False'


def wrapper_kind(optim_wrapper: Mapping[str, Any]) -> str:
    """The type name of a config's ``optim_wrapper``, or its ``constructor`` where that builds several."""
    if 'constructor' in optim_wrapper and 'optimizer' not in optim_wrapper:
        return str(optim_wrapper['constructor'])
    kind = optim_wrapper.get('type') or PLAIN
    kind = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    scope, _, name = kind.rpartition('.')
    return name if scope in SCOPES else kind


def named_amp(optim_wrapper: Mapping[str, Any]) -> str | None:
    """The half type that the type of a config's ``optim_wrapper`` implies; None for float32 or a custom type."""
    half = {wrapper: amp for amp, wrapper in WRAPPERS.items()}.get(wrapper_kind(optim_wrapper))
    return half and str(optim_wrapper.get('dtype') or half).removeprefix('torch.')
