import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mmav.datasets.transforms.log_mel import _front_end
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, ManifestError, MmavError
from mmav.registry import MODELS, TRANSFORMS
from tests.toys import tool_environment


@pytest.mark.parametrize(
    ('error', 'printed'),
    [
        (ManifestError('row 3: no label'), 'error: row 3: no label\n'),
        (ConfigError('2 problems\na.b: x\nc: y'), 'error: 2 problems\n  a.b: x\n  c: y\n'),
        # as a DataLoader hands it on from a worker
        (
            MmavError(
                'Caught MmavError in DataLoader worker process 0.\nOriginal Traceback\nmmav.errors.MmavError: torn'
            ),
            'error: torn\n',
        ),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_status_2(capsys, error, printed):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_tool(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == printed


@pytest.mark.parametrize(
    ('registry', 'config', 'printed'),
    [
        (
            TRANSFORMS,
            dict(type='LogMel', backend='auto'),
            "error: backend 'auto' is unknown: choose native or torchaudio\n",
        ),
        (MODELS, dict(type='CrossEntropyLoss', label_smoothing=3), 'error: label_smoothing=3 must lie in [0, 1]\n'),
        (MODELS, dict(type='AVBottleneck', in_dims=dict(video=6, audio=6), embed_dims=6, num_heads=4),
         'error: num_heads=4 does not divide the width 6\n'),
    ],
)  # fmt: skip
def test_a_value_that_one_of_our_types_refuses_is_one_line(capsys, registry, config, printed):
    with pytest.raises(SystemExit) as caught:
        run_tool(lambda: registry.build(config))
    assert caught.value.code == 2 and capsys.readouterr().err == printed


def test_a_front_end_that_cannot_be_imported_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchaudio.compliance', None)
    _front_end.cache_clear()
    with pytest.raises(SystemExit):
        run_tool(lambda: TRANSFORMS.build(dict(type='LogMel', backend='torchaudio')))
    assert capsys.readouterr().err.startswith("error: LogMel(backend='torchaudio') needs torchaudio, which cannot be")


class Careless:
    """Someone's type, with a mistake in its code."""

    def __init__(self):
        _one, _two = (1,)


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 // 0)
    with pytest.raises(ValueError, match='not enough values'):
        run_tool(lambda: MODELS.build(dict(type=Careless)))


def test_a_tool_starts_light_and_ends_in_silence_when_its_reader_has_seen_enough():
    code = (
        'import sys\n'
        'from mmav.engine.cli import run_tool\n'
        "print('and'.join(name for name in ('torch', 'mmengine', 'mmav.models') if name in sys.modules))\n"
        'import mmav.models, mmav.datasets, mmav.evaluation, mmav.visualization\n'
        "slow = ('matplotlib', 'scipy', 'sklearn', 'torchaudio', 'decord', 'torchcodec', 'tensorboard')\n"
        "slow += ('torch._dynamo',)\n"
        "print('and'.join(name for name in slow if name in sys.modules))\n"
        'def main():\n'
        '    for _ in range(100000):\n'
        "        print('line')\n"
        'run_tool(main)\n'
    )
    tool = subprocess.Popen(
        [sys.executable, '-c', code], env=tool_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert [tool.stdout.readline() for _ in range(3)] == [b'\n', b'\n', b'line\n']
    tool.stdout.close()
    assert tool.stderr.read() == b'' and tool.wait() == 0


@pytest.mark.parametrize(
    ('error', 'printed'),
    [
        (OSError(errno.ENOSPC, 'No space left on device', 'a.json'), "No space left on device: 'a.json'\n"),
        (OSError(errno.EROFS, 'Read-only file system', 'a.json'), "Read-only file system: 'a.json'\n"),
        (FileNotFoundError(2, 'No usable temporary directory found in [...]'), 'set TMPDIR to a folder that can be'),
    ],
)
def test_what_the_disk_answers_is_one_line(capsys, error, printed):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_tool(main)
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith('error: ') and printed in told and told.count('\n') == 1


def test_a_missing_file_that_nobody_expected_is_a_mistake_of_ours():
    with pytest.raises(FileNotFoundError):
        run_tool(Path('nowhere').read_bytes)
