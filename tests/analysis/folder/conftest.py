"""A folder as users have them, and what one command makes of it, once for all tests of this folder."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import clips, toys

CLASSES = ('bell', 'door', 'siren')
BROKEN = ('bell/bell_08.mp4', 'siren/siren_09.mp4')
SILENT, VERTICAL, LONG = 'door/door_05.mp4', 'bell/bell_03.mp4', 'siren/siren_07.mp4'
# small enough for a test; otherwise as the config that the command starts from
TINY = """_base_ = [{base!r}]
model = dict(backbones=dict(video=dict(input_size=(8, 32, 32))))
__train, __test = _base_.train_pipeline, _base_.test_pipeline
__train[0]['short_side'] = __test[0]['short_side'] = 36
__train[1]['size'] = __test[1]['size'] = 32
train_dataloader = dict(dataset=dict(pipeline=__train))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=__test))
"""


def make_folder(root: Path) -> Path:
    """60 clips of 3 classes: two broken, one silent, one vertical, one of 10 minutes."""
    for place, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for k in range(20):
            path = root / name / f'{name}_{k:02d}.mp4'
            options = dict(size=(36, 48), fps=4, events=tuple(np.arange(0.02 + 0.01 * k, 1.9, (0.3, 0.6, 1.2)[place])))
            odd = {
                VERTICAL: dict(size=(48, 36)),
                SILENT: dict(audio=None),
                LONG: dict(seconds=600.0, fps=1, size=(16, 16), sample_rate=8000, events=()),
            }
            clips.make_clip(path, **{'seconds': 1.0, **options, **odd.get(f'{name}/{path.name}', {})})
    (root / BROKEN[0]).write_bytes((root / BROKEN[0]).read_bytes()[:300])
    (root / BROKEN[1]).write_text('not a clip\n' * 100)
    return root


@dataclass
class Trained:
    """A run of the command: its folder, its work dir, its exit status, and what it printed."""

    folder: Path
    work_dir: Path
    status: int
    printed: str


def run(folder: Path, work_dir: Path, *options: object) -> Trained:
    """Runs the command in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        words = [folder, '--work-dir', work_dir, '--jobs', 1, '--workers', 0, *options]
        status = toys.run_tool('train_folder.py', *words)
    return Trained(folder, work_dir, status, printed.getvalue())


@pytest.fixture(scope='session')
def folder(tmp_path_factory) -> Path:
    """The folder, which no test changes."""
    return make_folder(tmp_path_factory.mktemp('folder') / 'sounds')


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory) -> Path:
    """The config that tests start from."""
    from mmav.analysis.folder.choices import CONFIG
    from mmav.shipped import find_config

    path = tmp_path_factory.mktemp('config') / 'tiny_folder.py'
    path.write_text(TINY.format(base=str(find_config(CONFIG).resolve())))
    return path


@pytest.fixture(scope='session')
def trained(folder, tiny_config, tmp_path_factory) -> Trained:
    """What one command made of the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmav.analysis.folder.plan.CONFIG', str(tiny_config))
        made = run(folder, tmp_path_factory.mktemp('run') / 'result', '--epochs', 2)
    assert made.status == 0, made.printed
    return made
