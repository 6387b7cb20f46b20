"""Where configs and tools are, in a checkout and in an installed package."""

from pathlib import Path

import pytest

from mmav import shipped
from mmav.errors import ConfigError
from mmav.shipped import find_config, shipped_configs, shipped_root
from tests.toys import ROOT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package of one config, as a wheel leaves it."""
    package = tmp_path / 'site-packages' / 'mmav'
    (package / '.mim' / 'configs' / 'mmt').mkdir(parents=True)
    (package / '.mim' / 'configs' / 'mmt' / 'mmt_small.py').write_text('"""Small."""\n')
    monkeypatch.setattr(shipped, '_PACKAGE', package)
    monkeypatch.setattr(shipped, '_INSTALLED', package / '.mim')
    return package


def test_a_checkout_has_them_beside_the_package():
    assert shipped_root() == ROOT
    names = shipped_configs()
    assert 'mmt/mmt_tiny_avsynth.py' in names and not [name for name in names if name.startswith('_')]
    assert all((ROOT / 'configs' / name).is_file() for name in names)


def test_an_installed_package_has_them_inside(installed):
    assert shipped_root() == installed / '.mim'
    assert shipped_configs() == ['mmt/mmt_small.py']
    assert find_config('configs/mmt/mmt_small.py') == installed / '.mim' / 'configs' / 'mmt' / 'mmt_small.py'


def test_a_file_of_the_current_folder_comes_first(installed, monkeypatch):
    monkeypatch.chdir(installed.parent)
    Path('mmt').mkdir()
    assert find_config('mmt/mmt_small.py').is_absolute()
    Path('mmt/mmt_small.py').write_text('')
    assert find_config('mmt/mmt_small.py') == Path('mmt/mmt_small.py')


def test_an_unknown_config_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"no config file 'mmt/mmt_tiny_avsyth\.py', did you mean 'mmt/mmt_tiny_avs"):
        find_config('mmt/mmt_tiny_avsyth.py')
