import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmav.analysis.ablation.killing import KillRule
from mmav.analysis.ablation.results import PREDICTIONS, read_result
from mmav.analysis.ablation.settings import Settings
from mmav.analysis.ablation.single_run import LOG, FolderBusy, Task, run_task
from mmav.errors import MmavError
from mmav.evaluation.predictions import save_predictions
from tests.analysis.ablation.test_results import clips
from tests.toys import write_config

# what stands in for the tools: notes its arguments, and writes what they would
STAND_IN = """import json, pathlib, shutil, sys
stage, *words = sys.argv[1:]
with open('calls.jsonl', 'a') as file:
    file.write(json.dumps([stage, *words]) + chr(10))
at = lambda name: pathlib.Path(words[words.index(name) + 1])
if stage == 'train':
    (at('--work-dir') / 'last_checkpoint').write_text('epoch_2.pth')
else:
    shutil.copy('made.pkl', at('--dump'))
    at('--out').write_text(json.dumps(dict(top1=0.5, mine=0.25, checkpoint='x', dropped=None, seconds=1.0)))
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'stand_in.py').write_text(STAND_IN)
    save_predictions('made.pkl', clips([[0.9, 0.1], [0.8, 0.2]]))
    settings = Settings(tmp_path / 'my.py', ('a.b=1',), 'd', 2, keeps_features=True)

    def make(**more):
        launcher = f'{sys.executable} -S stand_in.py STAGE CONFIG --8'
        return Task('my_seed3', tmp_path / 'w', settings, 3, launcher=launcher, **more)

    return make


def test_by_a_command(task, tmp_path):
    result = run_task(task(data_root='data', checkpoints=('t=x.pth',)))
    assert result.figures == dict(top1=0.5, top5=1.0, mine=0.25)
    assert read_result(tmp_path / 'w' / 'result.json') == result
    train, test = map(json.loads, Path('calls.jsonl').read_text().splitlines())
    assert train == [
        *('train', str(tmp_path / 'my.py'), '--8', '--data-root', 'data', '--work-dir', str(tmp_path / 'w')),
        *('--resume', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1'),
        *('a.b=1', 't=x.pth', 'randomness.seed=3'),
    ]
    assert test[:4] == ['test', str(tmp_path / 'my.py'), str(tmp_path / 'w' / 'epoch_2.pth'), '--8']
    assert test[-4:] == ['model.keep_features=True', 'a.b=1', 't=x.pth', 'randomness.seed=3']


def test_a_command_that_fails(task, tmp_path):
    (tmp_path / 'stand_in.py').write_text('raise SystemExit(3)')
    with pytest.raises(MmavError, match='stand_in.py failed with exit status 3'):
        run_task(task())
    assert not (tmp_path / 'w' / 'result.json').exists()


def test_a_folder_of_other_settings_is_refused(task, tmp_path):
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / 'begun.json').write_text('{"digest": "e", "seed": 3}')
    with pytest.raises(MmavError, match='holds the beginning of a run of another config or other options'):
        run_task(task())
    assert not Path('calls.jsonl').exists()


def test_a_run_is_in_one_process_at_a_time(task, tmp_path):
    fcntl = pytest.importorskip('fcntl')
    (tmp_path / 'w').mkdir()
    with open(tmp_path / 'w' / '.lock', 'w') as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FolderBusy, match="w' is at work in another process"):
            run_task(task())
    run_task(task())


def test_what_another_process_has_ended_is_not_done_again(task, tmp_path):
    first = run_task(task())
    before = Path('calls.jsonl').read_text()
    assert run_task(task()) == first and Path('calls.jsonl').read_text() == before


def test_paths_with_spaces(task, tmp_path):
    odd = tmp_path / 'with a space'
    odd.mkdir()
    (tmp_path / 'stand_in.py').rename(odd / 'stand in.py')
    made = task()
    launcher = f"{sys.executable} -S '{odd}/stand in.py' STAGE CONFIG"
    run_task(replace(made, settings=replace(made.settings, config=odd / 'my own.py'), launcher=launcher))
    train, test = map(json.loads, Path('calls.jsonl').read_text().splitlines())
    assert train[1] == test[1] == str(odd / 'my own.py')


def test_a_command_is_stopped_and_holds_the_folder_until_its_last_process_ends(task, tmp_path):
    """Stopped by SIGTERM, its processes are, too; and one that outlives us keeps a second run out."""
    pytest.importorskip('fcntl')
    (tmp_path / 'stand_in.py').write_text(
        'import pathlib, subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], close_fds=False)\n'
        'pathlib.Path("child.txt").write_text(str(child.pid))\n'
        'time.sleep(60)\n'
    )
    code = (
        'import sys, pickle; import mmav.analysis.ablation.single_run as s; s.run_task(pickle.load(sys.stdin.buffer))'
    )

    def start():
        Path('child.txt').unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(pickle.dumps(task()))
        process.stdin.close()
        while not (Path('child.txt').is_file() and Path('child.txt').read_text()):
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
        return process, int(Path('child.txt').read_text())

    process, child = start()
    process.terminate()
    assert 'was stopped by SIGTERM' in process.stderr.read().decode() and process.wait()
    wait_for_end(child)
    process, child = start()
    process.kill()
    process.wait()
    with pytest.raises(MmavError, match='is at work in another process'):
        run_task(task())
    os.killpg(os.getpgid(child), signal.SIGTERM)
    wait_for_end(child)


def wait_for_end(pid):
    for _ in range(600):
        try:
            if Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z':
                return
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError(f'process {pid} is still there')


def test_a_hopeless_run_is_marked(tmp_path):
    settings = Settings(write_config(tmp_path), ('train_cfg.max_epochs=2',), 'd', 2, keeps_features=False)
    rules = (KillRule('top1', '<', 2.0, 1),)
    result = run_task(Task('toy_seed0', tmp_path / 'w', settings, 0, in_process=True, rules=rules))
    assert result.figures == {} and result.killed.startswith('killed after epoch 1: top1 ')
    assert read_result(tmp_path / 'w' / 'result.json').killed == result.killed
    assert not (tmp_path / 'w' / PREDICTIONS).exists() and not (tmp_path / 'w' / LOG).exists()
