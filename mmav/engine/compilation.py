"""``compile`` of a config: ``torch.compile`` compiles the model's losses, not the rest of a training step.

MMEngine compiles the whole step: moving and mixing batches, reading samples, deciding whether the optimizer may step.
Much of that is Python code that may break the compiler in some release of PyTorch, and none of it gets faster.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mmav.config.check import checks
from mmav.engine.distributed.group import without_gpu
from mmav.errors import ConfigError, did_you_mean, one_line

_BOOLEANS = ('fullgraph', 'dynamic', 'disable')
_LONGEST = 300


def compile_options(value: Any) -> dict[str, Any] | None:
    """Turns a config's ``compile`` into arguments for ``torch.compile``.

    Args:
        value: True, False, None, or a dict of the arguments of ``torch.compile``.

    Returns:
        The arguments, with static shapes (``dynamic=False``) by default; None for no compilation. A batch of a
        different size, such as the last one of an epoch, is compiled separately.

    Raises:
        ConfigError: The value has another type, or ``torch.compile`` has no such argument, backend or mode.

    >>> compile_options(True)
    {'dynamic': False}
    """
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"compile={value!r}: give True, False or a dict of torch.compile's arguments, such as "
            "compile=dict(backend='aot_eager') or --cfg-options compile.backend=aot_eager"
        )
    known = [name for name in inspect.signature(torch.compile).parameters if name != 'model']
    for name, given in value.items():
        if name not in known:
            hint = did_you_mean(name, known) or f'; it has {", ".join(known)}'
            raise ConfigError(f'compile.{name}: torch.compile has no such argument{hint}')
        if name in _BOOLEANS and not isinstance(given, bool | None):
            raise ConfigError(f'compile.{name}={given!r}: give True or False')
    _require_known(value.get('backend'), value.get('mode'))
    if value.get('mode') is not None and value.get('options') is not None:
        raise ConfigError('compile.mode and compile.options: give one of them')
    return None if value.get('disable') else {'dynamic': False, **value}


@checks('compile')
def _check(value: Any) -> None:
    compile_options(value)


def _require_known(backend: Any, mode: Any) -> None:
    if isinstance(backend, str):
        # only if a backend is given: listing them takes a second
        backends = torch._dynamo.list_backends(exclude_tags=())
        if backend not in backends:
            hint = did_you_mean(backend, backends) or '; the usual ones are inductor, aot_eager and eager'
            raise ConfigError(f'compile.backend={backend!r}: torch.compile has no such backend{hint}')
    if mode is not None:
        modes = list(torch._inductor.list_mode_options())
        if mode not in modes:
            raise ConfigError(f'compile.mode={mode!r}: choose one of {", ".join(modes)}')


def require_compiler(options: dict[str, Any]) -> None:
    """Fails early if the compiler that the backend needs is missing.

    Raises:
        ConfigError: The backend is inductor, and there is no C++ compiler on a CPU, or no Triton on a GPU.
    """
    if (options.get('backend') or 'inductor') != 'inductor':
        return
    instead = 'take compile.backend=aot_eager, or leave compile out: it only affects speed'
    if without_gpu():
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except (InvalidCxxCompiler, RuntimeError) as error:
            raise ConfigError(f'compile: the backend inductor needs a C++ compiler on a CPU; {instead}') from error
    else:
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ConfigError(f'compile: the backend inductor needs Triton on a GPU; {instead}')


def compile_losses(model: nn.Module, options: dict[str, Any]) -> None:
    """Compiles the computation of the losses; changes ``model``.

    Compiles the method ``losses`` of a model that has one, such as :class:`~mmav.models.AVClassifier`, which takes and
    returns only tensors; otherwise ``forward`` with ``mode='loss'``. Validation and testing are not compiled, and
    names in checkpoints stay the same.

    Args:
        model: The model, not wrapped for distribution.
        options: See :func:`compile_options`.

    Raises:
        ConfigError: See :func:`require_compiler`, or PyTorch cannot compile on this system.
    """
    require_compiler(options)
    whole = getattr(model, 'losses', None)
    plain = model.forward
    try:
        compiled = torch.compile(whole or plain, **options)
    except RuntimeError as error:  # for example if Python is too new
        raise ConfigError(f'compile: {one_line(error)}') from error
    if whole is not None:
        model.losses = compiled  # type: ignore[assignment]
        return

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if kwargs.get('mode') == 'loss' else plain)(*args, **kwargs)

    model.forward = forward


@contextmanager
def compile_errors(value: Any) -> Iterator[None]:
    """Turns a compiler's error into one line.

    Args:
        value: The config's ``compile``.

    Raises:
        ConfigError: Generating code failed, or the model cannot be compiled this way.
    """
    if not value:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        text = one_line(error)
        text = text if len(text) <= _LONGEST else text[:_LONGEST] + ' ...'
        backend = value.get('backend') if isinstance(value, dict) else None
        raise ConfigError(
            f'compile: the backend {backend or "inductor"} failed, {text}; take compile.backend=aot_eager or eager, or '
            'leave compile out'
        ) from error
