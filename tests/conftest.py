"""Clips that several test modules read; made once a session, in a temporary folder."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import clips, films, servers

EVENTS = (0.5, 2.2, 3.5)
collect_ignore = ['without']
_FEW = 20  # modules that are not worth a collection
_modules = 0  # when the last one took place
LONGEST = (
    'test_end_to_end.py',
    'test_distributed.py',
    'test_chaos.py',
    'test_shard_training.py',
    'test_fsdp.py',
    'test_run_ablation.py',
    'test_mvit.py',
    'test_compilation.py',
    'test_whole_path.py',
)


@pytest.fixture(scope='session', autouse=True)
def _plain_configs() -> Iterator[None]:
    """Leaves a config's text, which each run writes, in one line an entry: yapf takes longer than a toy's training.

    Processes that a test starts by a command do format it, and so do tests that ask for ``formatted_configs``.
    """

    def check(text: str, style_config: dict) -> tuple[str, bool]:
        compile(text, '<config>', 'exec')
        return text, False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmav.engine.patches.FormatCode', check)
        yield


@pytest.fixture(scope='session', autouse=True)
def _no_network() -> Iterator[None]:
    """Leaves this machine alone: what asks for another one, such as for weights, ends as without a network."""
    find = socket.getaddrinfo

    def find_here(host: str | bytes | None, *args: Any, **kwargs: Any) -> list:
        name = host.decode() if isinstance(host, bytes) else host or 'localhost'
        if name not in ('localhost', '0.0.0.0', '::1', '::', socket.gethostname()) and not name.startswith('127.'):
            raise socket.gaierror(socket.EAI_AGAIN, f'tests have no network, and ask for {name}')
        return find(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, 'getaddrinfo', find_here)
        yield


@pytest.fixture(scope='session')
def server() -> Iterator[servers.FileServer]:
    """An HTTP server on this machine."""
    with servers.FileServer() as running:
        yield running


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an empty cache of torch's for downloaded weights; made by who downloads."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home' / 'hub' / 'checkpoints'


@pytest.fixture(autouse=True)
def _no_other_priority() -> Iterator[None]:
    """Fails a test that changes the scheduling policy of this process, see :func:`tests.clips.ordinary_priority`."""
    policy = getattr(os, 'sched_getscheduler', lambda pid: None)  # Linux has it
    before = policy(0)
    yield
    assert policy(0) == before, 'the test has changed the scheduling policy of this process'


@pytest.fixture(autouse=True)
def _no_loggers_of_others() -> Iterator[None]:
    """Forgets a run's logger: uvicorn closes the files of all, and a model that is built later would write to them."""
    yield
    from mmengine.logging import MMLogger

    MMLogger._instance_dict.clear()


@pytest.fixture
def formatted_configs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has configs formatted by yapf as a user has them."""
    from yapf.yapflib.yapf_api import FormatCode

    from mmav.engine import patches

    monkeypatch.setattr(patches, 'FormatCode', FormatCode)
    patches._format.cache_clear()
    yield
    patches._format.cache_clear()


@pytest.fixture(scope='session')
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the session's clips."""
    return tmp_path_factory.mktemp('clips')


@pytest.fixture(scope='session')
def make_clip(clip_dir: Path) -> Callable[..., Path]:
    """Makes a clip by name with the options of :func:`tests.clips.make_clip`, each once."""
    made: dict[str, dict] = {}

    def make(name: str, **options) -> Path:
        if name in made:
            assert made[name] == options, f'{name} was made with {made[name]}'
        else:
            made[name] = options
            clips.make_clip(clip_dir / name, **options)
        return clip_dir / name

    return make


@pytest.fixture(scope='session')
def clip(make_clip: Callable[..., Path]) -> Path:
    """2 s, 24 frames of 48x64, 16 kHz mono; flash and click at 0.5 s."""
    return make_clip('plain.mp4', events=(0.5,))


@pytest.fixture(scope='session')
def flashes(make_clip: Callable[..., Path]) -> Path:
    """4 s at 30 fps with a keyframe each half second; flash and click at EVENTS, 44.1 kHz stereo."""
    return make_clip(
        'flashes.mp4', seconds=4.0, fps=30, events=EVENTS, sample_rate=44100, channels=2, keyframes=15, b_frames=2
    )


@pytest.fixture(scope='session')
def silent(make_clip: Callable[..., Path]) -> Path:
    """A clip without a soundtrack."""
    return make_clip('silent.mp4', audio=None)


@pytest.fixture(scope='session')
def blind(make_clip: Callable[..., Path]) -> Path:
    """A clip without a picture."""
    return make_clip('blind.m4a', video=None, events=(0.5,))


@pytest.fixture(scope='session')
def film(make_clip: Callable[..., Path], clip_dir: Path) -> films.Studio:
    """Makes a film of :data:`tests.films.FILMS` by name, with the truth about it."""
    return films.Studio(make_clip, clip_dir)


@pytest.fixture(scope='session')
def broken(clip_dir: Path, clip: Path) -> dict[str, Path]:
    """Files that cannot be read, under what is wrong with them."""
    files = {name: clip_dir / f'{name}.mp4' for name in ('missing', 'empty', 'text', 'cut_off', 'folder')}
    files['empty'].write_bytes(b'')
    files['text'].write_text('This is a page about a film, not the film.\n' * 50)
    # The index stands at the end of an mp4 file that was not made for streaming.
    files['cut_off'].write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    files['folder'].mkdir()
    return files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, and skips the tests marked ``gpu`` where there is no CUDA device.

    One process of pytest-xdist begins with these, and the others take over what lies behind: none is left alone with
    a long test at the end, and what a file makes once for all its tests is seldom made twice.
    """
    import torch

    items.sort(key=lambda item: item.path.name not in LONGEST)

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker('gpu'):  # keywords hold the names of folders, too
                item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


def pytest_collection_finish() -> None:
    """Prepares a process that has imported all tests for running them.

    What has been imported goes out of the sight of the garbage collector, which each end of a run calls. And the first
    backward pass comes before the first compilation, which pretends that there are GPUs: seeing them, autograd would
    start a thread for each, and forks of a process with such threads cannot go backward. Nor do OpenCV's threads
    survive a fork, which would wait for them for ever: there are none. Where a data worker has died, PyTorch waits five
    seconds for the end of the others. The lock of progress bars is one that forks do not share: a test kills forks, and
    one that holds the lock would keep it.
    """
    import cv2
    import torch
    import torch.utils.data._utils as workers
    from tqdm import tqdm

    workers.MP_STATUS_CHECK_INTERVAL = 0.5
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0

    cv2.setNumThreads(1)

    torch.ones((), requires_grad=True).backward()
    _freeze()


def pytest_runtest_logfinish() -> None:
    """Has what a test imported go the same way: with matplotlib, scikit-learn and ONNX a collection takes a fifth of a
    second, and every run of a tool asks for one.
    """
    if len(sys.modules) > _modules + _FEW:
        _freeze()


def _freeze() -> None:
    global _modules
    _modules = len(sys.modules)
    gc.collect()
    gc.freeze()
