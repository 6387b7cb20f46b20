"""The precision of a run, decided in this module alone, from the config and the hardware.

A config sets ``precision``; the base config has ``precision = dict(amp='auto', eval_amp='none', tf32=True)``:

- ``amp``, for training: ``auto`` is bfloat16 on GPUs that support it, float16 with loss scaling on other GPUs, and
  float32 everywhere else; or ``none``, ``bfloat16`` or ``float16``. Weights, gradients and optimizer state are always
  float32.
- ``eval_amp``, for validation and testing: the same choices. Defaults to float32, so that a checkpoint's results do
  not depend on the hardware it was trained or is tested on.
- ``tf32``: whether a GPU, from Ampere on, may round the inputs of float32 matrix products and convolutions to 10 bits,
  which makes them several times faster.

``env_cfg.cudnn_benchmark`` and ``randomness.deterministic`` are MMEngine's; the latter turns off the former and TF32.
An ``optim_wrapper`` whose type implies a precision, ``AutocastOptimWrapper`` or ``AmpOptimWrapper``, is kept. A config
without ``precision`` trains as its ``optim_wrapper`` says and leaves TF32 at PyTorch's default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object

from mmav.config.amp import AMP, PLAIN, WRAPPER_DTYPES, WRAPPERS, named_amp, precision_problems, wrapper_kind
from mmav.errors import ConfigError

DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)


@dataclass(frozen=True)
class Hardware:
    """The device that computes.

    Attributes:
        kind: PyTorch's name of the device type, such as ``cuda`` or ``cpu``.
        name: Its product name.
        bfloat16: Whether it supports bfloat16 natively. PyTorch emulates it, slowly, on GPUs before Ampere.
    """

    kind: str = 'cpu'
    name: str = ''
    bfloat16: bool = False


def this_hardware(kind: str | None = None) -> Hardware:
    """The hardware of this process.

    Args:
        kind: The device type; defaults to MMEngine's choice.
    """
    kind = kind or get_device()
    if kind != 'cuda':
        return Hardware(kind)
    # with ``including_emulation``, the default, the answer is yes on any NVIDIA GPU
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Hardware('cuda', torch.cuda.get_device_name(), native)


def weakest(own: Hardware) -> Hardware:
    """The least capable hardware of all processes, so that all decide alike; every process must call it."""
    return next((other for other in all_gather_object(own) if not other.bfloat16), own)


@dataclass(frozen=True)
class Numbers:
    """The chosen precision.

    Attributes:
        amp: ``bfloat16`` or ``float16`` if the forward pass runs under autocast; None for float32.
        tf32: Whether TF32 is allowed; None leaves PyTorch's settings unchanged.
        benchmark: Whether cuDNN times its kernels and uses the fastest for each shape; None leaves it unchanged.
        text: A summary in one line, for the log.
        deterministic: Whether only deterministic algorithms are allowed; False leaves PyTorch's setting unchanged.
    """

    amp: str | None
    tf32: bool | None
    benchmark: bool | None
    text: str
    deterministic: bool = False

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Applies the settings to PyTorch and restores the previous ones afterwards."""
        before = torch.get_float32_matmul_precision(), _cudnn_tf32(), torch.backends.cudnn.benchmark
        strict = torch.get_deterministic_debug_mode(), torch.backends.cudnn.deterministic
        # The older setters also update the settings introduced by PyTorch 2.9. The newer setters do not update the
        # older settings, and code that reads those, such as inductor, would get an error.
        if self.tf32 is not None:
            torch.set_float32_matmul_precision('high' if self.tf32 else 'highest')
            torch.backends.cudnn.allow_tf32 = self.tf32
        if self.benchmark is not None:
            torch.backends.cudnn.benchmark = self.benchmark
        if self.deterministic:
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            if self.deterministic:
                torch.set_deterministic_debug_mode(strict[0])
                torch.backends.cudnn.deterministic = strict[1]
            if self.tf32 is not None:
                torch.set_float32_matmul_precision(before[0])
                if before[1] is not None:
                    torch.backends.cudnn.allow_tf32 = before[1]
            if self.benchmark is not None:
                torch.backends.cudnn.benchmark = before[2]

    def autocast(self, kind: str) -> AbstractContextManager[Any]:
        """The context of a forward pass on a device type."""
        return nullcontext() if self.amp is None else torch.autocast(kind, getattr(torch, self.amp))


def _cudnn_tf32() -> bool | None:
    """cuDNN's setting; None if a script has set convolutions and RNNs differently."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def decide(cfg: Mapping[str, Any], hardware: Hardware, *, training: bool = True) -> Numbers:
    """Decides the precision of a config's run.

    Args:
        cfg: The config; its ``precision``, ``optim_wrapper``, ``env_cfg`` and ``randomness`` are used.
        hardware: The hardware it runs on.
        training: Whether to decide for training, or for validation and testing.

    Raises:
        ConfigError: A value is unknown, two settings contradict each other, or float16 is used without a GPU.

    >>> decide(dict(precision=dict(amp='auto')), Hardware('cuda', 'NVIDIA A100', bfloat16=True)).amp
    'bfloat16'
    >>> decide(dict(precision=dict(amp='auto')), Hardware()).text
    'Numbers: float32, as there is no GPU (--amp bfloat16 is there to try, and slow on most CPUs)'
    """
    for problem in precision_problems(cfg.get('precision')):
        raise ConfigError(problem)
    amp, words = _of_training(cfg, hardware) if training else _of_evaluation(cfg, hardware)
    deterministic = bool((cfg.get('randomness') or {}).get('deterministic'))
    if hardware.kind != 'cuda':
        return Numbers(amp, None, None, f'Numbers: {words}', deterministic)
    tf32 = None if cfg.get('precision') is None else bool(cfg['precision'].get('tf32', True)) and not deterministic
    benchmark = bool((cfg.get('env_cfg') or {}).get('cudnn_benchmark')) and not deterministic
    parts = [words]
    if tf32 is not None and (hardware.bfloat16 or not tf32):  # they came with the same generation
        parts.append(('TF32' if tf32 else 'no TF32') + (' in what stays float32' if amp else ''))
    if benchmark:
        parts.append('cuDNN chooses its fastest kernels (benchmark)')
    if deterministic:
        parts.append('deterministic algorithms only')
    return Numbers(amp, tf32, benchmark, 'Numbers: ' + ', '.join(parts), deterministic)


def _of_training(cfg: Mapping[str, Any], hardware: Hardware) -> tuple[str | None, str]:
    asked = (cfg.get('precision') or {}).get('amp', 'none')
    wrapper = cfg.get('optim_wrapper') or {}
    kind = wrapper_kind(wrapper)
    if kind == PLAIN:
        return _chosen(asked, hardware, 'amp')
    named = named_amp(wrapper)
    if asked in WRAPPERS and asked != named:
        is_there = f'optim_wrapper.type={kind!r}' + (f', which is for {named},' if named else '')
        raise ConfigError(
            f"precision.amp={asked!r}, but {is_there} is there: leave that type out, or take precision.amp='auto'"
        )
    if named and named not in (allowed := WRAPPER_DTYPES[kind]):
        raise ConfigError(
            f'optim_wrapper.dtype={named!r}: type={kind!r} is for {" or ".join(allowed)}; leave both out and take '
            f'precision.amp, one of {", ".join(AMP)}'
        )
    if kind == WRAPPERS['float16']:
        _require_gpu(hardware, f'optim_wrapper.type={kind!r} ({named})')
    return named, _autocast(named) + ', ' * bool(named) + f'as optim_wrapper.type={kind!r} says'


def _of_evaluation(cfg: Mapping[str, Any], hardware: Hardware) -> tuple[str | None, str]:
    asked = (cfg.get('precision') or {}).get('eval_amp', 'none')
    passes = dict(val_cfg='validation', test_cfg='testing')
    loops = [name for name in passes if (cfg.get(name) or {}).get('fp16')]
    if loops:  # MMEngine's own setting
        if asked != 'none':
            raise ConfigError(f'precision.eval_amp={asked!r} (--amp), but {loops[0]}.fp16=True is there: leave one out')
        return None, f'as {loops[0]}.fp16 says' + f' in {passes[loops[0]]}, else float32' * (len(loops) == 1)
    amp, words = _chosen(asked, hardware, 'eval_amp')
    return amp, words.replace(' with loss scaling', '')


def _chosen(asked: str, hardware: Hardware, name: str) -> tuple[str | None, str]:
    if asked == 'none':
        return None, 'float32'
    if asked == 'float16':
        _require_gpu(hardware, f'precision.{name}={asked!r} (--amp float16)')
    if asked != 'auto':
        slow = asked == 'bfloat16' and hardware.kind == 'cuda' and not hardware.bfloat16
        return asked, _autocast(asked) + f', which {hardware.name} has to emulate (--amp float16 is faster)' * slow
    if hardware.kind == 'cpu':
        return None, 'float32, as there is no GPU (--amp bfloat16 is there to try, and slow on most CPUs)'
    if hardware.kind != 'cuda':
        return None, f'float32, as half types are taken unasked on CUDA only, not on {hardware.kind!r} (see --amp)'
    if hardware.bfloat16:
        return 'bfloat16', _autocast('bfloat16')
    return 'float16', _autocast('float16') + f', as {hardware.name} has no bfloat16'


def _autocast(amp: str | None) -> str:
    return f'{amp} autocast' + ' with loss scaling' * (amp == 'float16') if amp else ''


def _require_gpu(hardware: Hardware, what: str) -> None:
    if hardware.kind != 'cuda':
        raise ConfigError(f'{what} needs a CUDA GPU and there is none: take bfloat16, or float32 (--amp none)')


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to a half type on a device; no change for float32."""
    enabled = dtype != torch.float32
    return torch.autocast(device.type, dtype if enabled else torch.bfloat16, enabled=enabled)


def with_numbers(optim_wrapper: Mapping[str, Any], numbers: Numbers) -> dict[str, Any]:
    """The config of an optimizer wrapper, with the type that implements the training precision."""
    if wrapper_kind(optim_wrapper) != PLAIN or numbers.amp is None:
        return dict(optim_wrapper)
    return {**optim_wrapper, 'type': WRAPPERS[numbers.amp]}
