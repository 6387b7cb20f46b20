"""Initial values of transformer parameters, drawn or loaded, and a report of where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from logging import FileHandler
from typing import Any

import torch
from mmengine.logging import MMLogger, print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

# how the descriptions of a parameter's origin begin
LOADED = 'loaded from '
_LOADED_BY_MMENGINE = 'PretrainedInit: load from '
_DRAWN = 'drawn by init_weights'
# attribute of a module: a file, and the names of the parameters that have its values
OF_FILE = '_of_file'
# layers initialised by PyTorch's own rule
_RESET = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class DrawnModule(BaseModule):
    """A part of a model that draws its initial values with :func:`init_transformer`.

    It does so at the end of its constructor, and again in ``init_weights``, which MMEngine calls and which also applies
    ``init_cfg``.
    """

    init_std: float = 0.02

    def learned_tokens(self) -> list[nn.Parameter]:
        """Parameters that are learned tokens or positions rather than layers: those directly in this module."""
        return list(self.parameters(recurse=False))

    def no_weight_decay(self) -> set[str]:
        """Names, within this module, of learned tokens and position tables."""
        tables = [table for child in self.modules() if isinstance(child, nn.ParameterList) for table in child]
        tokens = {id(parameter) for parameter in (*self.learned_tokens(), *tables)}
        return {name for name, parameter in self.named_parameters() if id(parameter) in tokens}

    def draw(self) -> None:
        """Draws all parameters again, except those of submodules that draw their own."""
        init_transformer(self, self.learned_tokens(), std=self.init_std)

    def draw_aside(self) -> None:
        """Like :meth:`draw`, but without advancing the random generator.

        For constructors of backbones: with the same seed, ``init_weights`` then gives the same weights as in version
        0.1, whose backbones drew nothing in their constructors.
        """
        with torch.random.fork_rng(devices=()):
            self.draw()

    def init_weights(self) -> None:
        """Draws all parameters again, then applies ``init_cfg``."""
        self.draw()
        super().init_weights()


def init_transformer(module: nn.Module, tokens: Iterable[nn.Parameter | None] = (), *, std: float = 0.02) -> None:
    """Initialises in place: linear layers, tokens and relative positions from a truncated normal, biases with zeros.

    Convolutions get PyTorch's default initialisation; norms become the identity. A :class:`DrawnModule` inside
    initialises itself.

    Args:
        module: The root.
        tokens: Learned tokens and tables that are parameters rather than layers; None is skipped.
        std: Standard deviation for the linear layers. 0.02, which public code uses for widths of hundreds, makes the
            outputs of layers only a few dozen wide almost zero. Tokens and relative positions always get 0.02.
    """
    if any(isinstance(parameter, FakeTensor) for parameter in module.parameters()):
        return  # fake tensors have no values, and torch's rule reads the values it has drawn
    for child in _layers_of(module):
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=std)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, _RESET):
            child.reset_parameters()
        elif isinstance(child, nn.ParameterList):
            for table in child:
                nn.init.trunc_normal_(table, std=0.02)
    for token in tokens:
        if token is not None:
            nn.init.trunc_normal_(token, std=0.02)


def _layers_of(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    for child in module.children():
        if not isinstance(child, DrawnModule):
            yield from _layers_of(child)


def files_in(init_cfg: Any) -> list[dict]:
    """The entries of an MMEngine ``init_cfg``, a dict or a list of dicts, that read a checkpoint."""
    return [init for init in ([init_cfg] if isinstance(init_cfg, dict) else init_cfg or ()) if 'checkpoint' in init]


def reads_file(init_cfg: Any) -> bool:
    """Whether an MMEngine ``init_cfg`` reads a checkpoint."""
    return bool(files_in(init_cfg))


def without_files(init_cfg: Any) -> list[dict] | None:
    """An ``init_cfg`` without entries that read a checkpoint; None if nothing is left.

    >>> without_files([dict(type='Normal', layer='Linear'), dict(type='PublicWeights', checkpoint='a.pth')])
    [{'type': 'Normal', 'layer': 'Linear'}]
    """
    kept = [init for init in ([init_cfg] if isinstance(init_cfg, dict) else init_cfg or ()) if not reads_file(init)]
    return kept or None


def from_scratch(cfg: Any) -> Any:
    """A part of a model's config, nested parts included, without the checkpoints in ``init_cfg``.

    >>> from_scratch(dict(audio=dict(type='MAT', init_cfg=dict(type='PublicWeights', checkpoint='a.pth'))))
    {'audio': {'type': 'MAT', 'init_cfg': None}}
    """
    if isinstance(cfg, dict):
        return {
            key: without_files(item) if key == 'init_cfg' and reads_file(item) else from_scratch(item)
            for key, item in cfg.items()
        }
    return [from_scratch(item) for item in cfg] if isinstance(cfg, list) else cfg


def note_file(module: nn.Module, source: str, names: Iterable[str]) -> None:
    """Records which parameters of a module have exactly the values of a file.

    A checkpoint of what trains leaves those of them that are frozen out, see :mod:`mmav.engine.small_checkpoints`.

    Args:
        module: The module, which reads that file again whenever it is built and initialised from the same config.
        source: The file, as the config says it.
        names: The parameters.
    """
    own = dict(module.named_parameters())
    setattr(module, OF_FILE, (source, tuple(name for name in names if name in own)))


def forget_files(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Takes back :func:`note_file` for parameters that are about to get other values.

    Args:
        model: The model.
        weights: Name in the model -> the value that it will have.
    """
    for prefix, module in model.named_modules():
        if hasattr(module, OF_FILE):
            source, names = getattr(module, OF_FILE)
            full = {name: f'{prefix}.{name}' if prefix else name for name in names}
            kept = [
                name
                for name in names
                if full[name] not in weights or _same(weights[full[name]], module.get_parameter(name))
            ]
            setattr(module, OF_FILE, (source, tuple(kept)))


def _same(value: Any, own: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == own.shape and bool((value.to(own) == own).all())


def leave_out_files(model: nn.Module) -> None:
    """Removes from all parts of a model the checkpoints in ``init_cfg``, also those that a part has given itself."""
    for part in model.modules():
        if reads_file(getattr(part, 'init_cfg', None)):
            part.init_cfg = without_files(part.init_cfg)  # type: ignore[assignment]


def note_origin(module: nn.Module, names: Iterable[str], origin: str) -> None:
    """Records where parameters of a module got their values, for :func:`report_origins`.

    Has an effect only during MMEngine's ``init_weights``.
    """
    noted: Mapping[Tensor, dict[str, Any]] = getattr(module, '_params_init_info', {})
    parameters = dict(module.named_parameters())
    for name in names:
        if name in parameters and parameters[name] in noted:
            noted[parameters[name]].update(init_info=origin, tmp_mean_value=parameters[name].detach().mean().cpu())


def report_origins(module: nn.Module) -> None:
    """Logs where the parameters of a module got their initial values.

    The console shows totals, and a line for each of the ``backbones``. The log file lists every parameter.

    Replaces MMEngine's listing, which compares means before and after ``init_weights`` and reports every LayerNorm and
    every bias as unchanged.
    """
    noted: Mapping[Tensor, dict[str, Any]] = module._params_init_info  # type: ignore[assignment]
    lines: list[str] = []
    origins: Counter[str] = Counter()
    encoders: dict[str, Counter[str]] = {}
    for name, parameter in module.named_parameters():
        origin = _origin(parameter, noted[parameter]['init_info'])
        kind = 'drawn' if origin.startswith(_DRAWN) else origin
        origins[kind] += 1
        if name.startswith('backbones.'):
            encoders.setdefault('.'.join(name.split('.')[:2]), Counter())[kind] += 1
        lines.append(f'{name} {tuple(parameter.shape)}: {origin}')
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, FileHandler) and handler.stream is not None:
            handler.stream.write('Initial values of the parameters\n' + '\n'.join(lines) + '\n')
            handler.stream.flush()
    print_log(f'Initial values of {len(lines)} parameters: {_sums(origins)}', 'current')
    for name, counts in encoders.items():
        begin = '' if any(origin.startswith((LOADED, _LOADED_BY_MMENGINE)) for origin in counts) else 'from scratch, '
        print_log(f'{name} ({type(module.get_submodule(name)).__name__}): {begin}{_sums(counts)}', 'current')


def _sums(origins: Counter[str]) -> str:
    return ', '.join(f'{number} {origin}' for origin, number in origins.most_common())


def _origin(parameter: Tensor, info: str) -> str:
    words = info.split()
    if info.startswith('Initialized by user-defined'):
        return f'{_DRAWN} of {words[-1]}'
    if not info.startswith('The value is the same'):
        return info.strip()
    first = parameter.detach().flatten()[:1]
    if parameter.numel() and bool((parameter == first).all()):
        return f'constant {first.item():g}'
    return 'as constructed'
