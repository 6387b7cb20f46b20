"""A wheel, built and unpacked without pip or a network: what it holds, and that it works without the checkout."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml

from mmav import __version__
from mmav.__main__ import TOOLS
from mmav.preparation.avsynth import generate
from tests.toys import ROOT, tool_environment

FOLDERS = ('mmav', 'configs', 'tools', 'demo', 'benchmarks', 'requirements')
FILES = ('README.md', 'LICENSE', 'model-index.yml', 'setup.py', 'setup.cfg')
OPTIONS = (
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=4',
    'default_hooks.logger.interval=1',
    *(f'{loader}_dataloader.num_workers=0' for loader in ('train', 'val')),
)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel of a copy of the sources: building writes into them."""
    folder = tmp_path_factory.mktemp('wheel')
    copy = folder / 'sources'
    copy.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    (copy / 'configs' / 'mmt' / '__pycache__').mkdir()
    (copy / 'configs' / 'mmt' / '__pycache__' / 'old.pyc').touch()
    code = f'from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})'
    build = subprocess.run([sys.executable, '-c', code], cwd=copy, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    assert not (copy / 'mmav' / '.mim').exists()
    return next(folder.glob('*.whl'))


def test_it_holds_package_configs_and_tools(wheel):
    assert wheel.name == f'mmav-{__version__}-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = archive.read(f'mmav-{__version__}.dist-info/entry_points.txt').decode()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmav').rglob('*.py')}
    folders = [ROOT / 'configs', ROOT / 'benchmarks']
    others = [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob('*.py')]
    ours = {f'mmav/.mim/{path}' for path in [*others, *TOOLS.values()]}
    with open(ROOT / 'model-index.yml', encoding='utf-8') as file:
        index = yaml.safe_load(file)['Import']
    assert {f'mmav/.mim/{name}' for name in ['model-index.yml', *index]} <= names
    assert {'mmav/py.typed', 'mmav/preparation/labels/vggsound.txt', *modules, *ours} <= names
    assert not [name for name in names if name.endswith(('.pyc', '.md', '.png', 'setup_env.py')) or '/docs/' in name]
    assert 'mmav = mmav.__main__:main' in points


def test_it_trains_in_an_empty_folder(wheel, tmp_path):
    package, folder = tmp_path / 'site-packages', tmp_path / 'empty'
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(package)
    generate(folder / 'data' / 'avsynth', train=16, val=16, test=16, jobs=1, progress=False)
    paths = [str(ROOT / 'tests' / 'without'), str(package)]
    code = f'import sys; sys.path[:0] = {paths}; from mmav.__main__ import main; main()'
    words = ['train', 'mmt/mmt_tiny_avsynth.py', '--cfg-options', *OPTIONS]
    run = subprocess.run(
        [sys.executable, '-c', code, *words],
        cwd=folder,
        env=tool_environment(PYTHONPATH=''),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    found = package / 'mmav' / '.mim' / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'
    assert f"'mmt/mmt_tiny_avsynth.py' is not here; using mmav's own: {found}" in run.stdout
    assert len(re.findall(r'Epoch\(train\) +\[1\]\[\d/4\].* loss: \d', run.stdout)) == 4
    assert (folder / 'work_dirs' / 'mmt_tiny_avsynth' / 'epoch_1.pth').is_file()
    assert str(ROOT / 'mmav') not in run.stdout
