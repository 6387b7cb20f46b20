import json
import sys
from pathlib import Path

import pytest

from mmav.analysis.ablation.killing import KillRule
from mmav.analysis.ablation.results import PREDICTIONS, read_result
from mmav.analysis.ablation.settings import Settings
from mmav.analysis.ablation.single_run import LOG, Task, run_task
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
        with pytest.raises(MmavError, match="w' is at work in another process"):
            run_task(task())
    run_task(task())


def test_a_hopeless_run_is_marked(tmp_path):
    settings = Settings(write_config(tmp_path), ('train_cfg.max_epochs=2',), 'd', 2, keeps_features=False)
    rules = (KillRule('top1', '<', 2.0, 1),)
    result = run_task(Task('toy_seed0', tmp_path / 'w', settings, 0, in_process=True, rules=rules))
    assert result.figures == {} and result.killed.startswith('killed after epoch 1: top1 ')
    assert read_result(tmp_path / 'w' / 'result.json').killed == result.killed
    assert not (tmp_path / 'w' / PREDICTIONS).exists() and not (tmp_path / 'w' / LOG).exists()
