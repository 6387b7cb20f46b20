"""Configs, tools and demo programs: beside the package in a checkout, inside it (``mmav/.mim``) once installed."""

from __future__ import annotations

from pathlib import Path

from mmav.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent
# OpenMMLab's layout of an installed package; setup.py puts it into wheels
_INSTALLED = _PACKAGE / '.mim'


def shipped_root() -> Path:
    """The folder that holds ``configs``, ``tools``, ``demo`` and ``benchmarks``."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def shipped_configs() -> list[str]:
    """Names of the experiments that come with mmav, such as ``mmt/mmt_tiny_avsynth.py``."""
    configs = shipped_root() / 'configs'
    names = (path.relative_to(configs).as_posix() for path in configs.glob('*/*.py'))
    return sorted(name for name in names if not name.startswith('_'))


def find_config(name: str) -> Path:
    """Finds a config by its path, or by its name among those that come with mmav.

    Args:
        name: A file, or what :func:`shipped_configs` lists, with or without ``configs/`` before it.

    Raises:
        ConfigError: There is no such file and no such config.

    >>> find_config('mmt/mmt_tiny_avsynth.py').name
    'mmt_tiny_avsynth.py'
    """
    if Path(name).is_file():
        return Path(name)
    known, wanted = shipped_configs(), name.removeprefix('configs/')
    if wanted not in known:
        raise ConfigError(f"no config file '{name}'{did_you_mean(wanted, known)} (`mmav configs` lists mmav's)")
    return shipped_root() / 'configs' / wanted
