"""Several processes give what one gives: training, testing, two machines, two jobs on one machine."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmav.engine import AVRunner
from mmav.evaluation.predictions import load_predictions
from tests import synthetic, toys
from tests.processes import free_port, join_pair, run_pair

SGD = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
# in float32 rounding may decide which token has the gradient of a max pooling, and the runs part
TRAININGS = dict(sgd=dict(optimizer=SGD, double=True), adamw_contrast=dict(optimizer=ADAMW, double=True, contrast=True))
# neither number divides by 2 processes
TESTS = dict(classes=dict(length=17, broken=3), actions=dict(length=19, broken=3, actions=True))
CLIPS = 8  # of a step, in all processes


def make_runner(folder: Path, name: str, processes: int, dump: bool = False, **options) -> AVRunner:
    """The runner of this process, which is one of several."""
    cfg = Config(synthetic.experiment(CLIPS // processes, **options))
    cfg.update(experiment_name=f'{name}_{processes}', work_dir=str(folder / f'{name}_{processes}'))
    cfg.update(launcher='none' if processes == 1 else 'pytorch')
    if dump:
        cfg.test_evaluator.append(dict(type='DumpPredictions', out_file=str(folder / f'{name}_{processes}.pkl')))
    return AVRunner.from_cfg(cfg)


class BeginningHook(Hook):
    """Keeps the parameters that training begins with."""

    def before_train(self, runner) -> None:
        self.parameters = parameters_of(runner)


def parameters_of(runner: AVRunner) -> dict[str, torch.Tensor]:
    return {key.removeprefix('module.'): value.clone() for key, value in runner.model.state_dict().items()}


def train(folder: Path, name: str, processes: int) -> dict[str, dict[str, torch.Tensor]]:
    runner, beginning = make_runner(folder, name, processes, **TRAININGS[name]), BeginningHook()
    runner.register_hook(beginning)
    runner.train()
    assert runner.iter == 20
    return dict(before=beginning.parameters, after=parameters_of(runner))


def test(folder: Path, name: str, processes: int) -> dict[str, float]:
    return make_runner(folder, name, processes, dump=True, optimizer=SGD, **TESTS[name]).test()


test.__test__ = False  # what pytest would take for a test of its own


def be_one_of_two(rank: int, folder: Path) -> None:
    os.environ['LOCAL_RANK'] = str(rank)
    with join_pair(rank, str(folder / 'pair')):
        results = {name: train(folder, name, 2) for name in TRAININGS}
        results |= {name: test(folder, name, 2) for name in TESTS}
        torch.save(results, folder / f'{rank}.pth')


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Folder, and what both processes came to: parameters of each training, metrics of each test."""
    folder = tmp_path_factory.mktemp('pair')
    run_pair(be_one_of_two, folder)
    return folder, *(torch.load(folder / f'{rank}.pth', weights_only=True) for rank in range(2))


@pytest.mark.parametrize('name', TRAININGS)
def test_two_processes_train_as_one_does_with_the_whole_batch(name, pair, tmp_path):
    _, first, second = pair
    whole = train(tmp_path, name, 1)
    torch.testing.assert_close(first[name]['before'], whole['before'], rtol=0, atol=0)
    torch.testing.assert_close(first[name]['after'], second[name]['after'], rtol=0, atol=0)
    torch.testing.assert_close(first[name]['after'], whole['after'], rtol=0, atol=1e-5)
    moved = max((value - whole['before'][key]).abs().max().item() for key, value in whole['after'].items())
    assert moved > 0.01  # a thousand times the tolerance: they did train


@pytest.mark.parametrize('name', TESTS)
def test_two_processes_test_each_clip_once(name, pair, tmp_path):
    folder, first, second = pair
    metrics = test(tmp_path, name, 1)
    assert first[name] == second[name] == metrics and metrics['broken'] == 1
    rows, alone = (load_predictions(path)[0] for path in (folder / f'{name}_2.pkl', tmp_path / f'{name}_1.pkl'))
    assert [row['sample_idx'] for row in rows] == list(range(TESTS[name]['length']))
    for one, other in zip(rows, alone, strict=True):
        # batches are made up differently, and so are the last digits of their sums
        assert _without_scores(one) == _without_scores(other)
        for a, b in zip(_scores(one), _scores(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def _without_scores(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != 'scores'}


def _scores(row: dict) -> list:
    return list(row['scores'].values())


@pytest.fixture
def start():
    """Starts a shell command in the root of the repository, as a user does; what still runs at the end is killed."""
    started = []

    def start(command: str, **variables: str) -> subprocess.Popen:
        env = toys.tool_environment(**variables)
        for name in {'PORT', 'MASTER_PORT', 'MASTER_ADDR'} - variables.keys():
            env.pop(name, None)
        process = subprocess.Popen(
            command, shell=True, cwd=toys.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(*processes: subprocess.Popen) -> list[str]:
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), '\n'.join(outputs)
    return outputs


def test_two_machines_by_the_commands_of_the_documentation(start, tmp_path):
    page = (toys.ROOT / 'docs' / 'distributed.md').read_text()
    commands = re.findall(r'^ +(NNODES=2 .* tools/dist_train\.sh CONFIG 8)', page, flags=re.MULTILINE)
    assert [re.search(r'NODE_RANK=(\d)', command)[1] for command in commands] == ['0', '1']
    config, work_dir = toys.write_config(tmp_path), shlex.quote(str(tmp_path / 'w'))
    for old, new in {
        'CONFIG 8': f'{shlex.quote(str(config))} 1 --work-dir {work_dir}',
        r'MASTER_ADDR=\S+': 'MASTER_ADDR=127.0.0.1',
        r'PORT=\d+': f'PORT={free_port()}',
    }.items():
        commands = [re.sub(old, new, command) for command in commands]
    first, second = finish(*(start(command) for command in commands))
    # 12 clips, two processes of batch 4; MMEngine's log names the processes of each machine
    assert '[4][2/2]' in first and 'Epoch(train)' not in second
    (log,) = (tmp_path / 'w').glob('*/*.log')
    assert re.search(r'GPU number: 2|Distributed launcher: pytorch', log.read_text())
    assert (tmp_path / 'w' / 'last_checkpoint').read_text().endswith('epoch_4.pth')


# In place of tools/train.py: ends well only if the other job runs at the same time.
MEET = """import pathlib, sys, time
own, other = map(pathlib.Path, sys.argv[1:3])
own.touch()
deadline = time.monotonic() + 60
while not other.exists():
    assert time.monotonic() < deadline
    time.sleep(0.05)
"""


def test_two_jobs_on_one_machine_do_not_collide(start, tmp_path):
    for name in ('dist_train.sh', 'torchrun.sh'):
        shutil.copy(toys.ROOT / 'tools' / name, tmp_path)
    (tmp_path / 'train.py').write_text(MEET)
    launcher, a, b = (shlex.quote(str(tmp_path / name)) for name in ('dist_train.sh', 'a', 'b'))
    finish(start(f'{launcher} {a} 1 {b}'), start(f'{launcher} {b} 1 {a}'))
