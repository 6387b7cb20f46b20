import json
import re
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmav.engine.hooks import throughput
from mmav.engine.hooks.throughput import ThroughputHook
from tests import toys


def rates(batches, window, monkeypatch, processes=1):
    """What is logged after each batch of (clips, seconds)."""
    monkeypatch.setattr(throughput, 'get_world_size', lambda: processes)
    hub = MessageHub(f'rates of {batches} {processes}')
    runner = SimpleNamespace(message_hub=hub, log_processor=SimpleNamespace(window_size=window))
    hook, found = ThroughputHook(), []
    hook.before_train(runner)
    for clips, seconds in batches:
        hub.update_scalar('train/time', seconds)
        hook.after_train_iter(runner, 0, dict(data_samples=[None] * clips))
        found.append(hub.get_scalar('train/clips_per_s').current())
    return found


def test_clips_over_time_of_the_last_iterations_and_all_processes(monkeypatch):
    batches = [(8, 1.0), (8, 3.0), (4, 1.0)]
    # not the mean of the rates
    assert rates(batches, 2, monkeypatch) == pytest.approx([8, 4, 3])
    assert rates(batches, 2, monkeypatch, processes=8) == pytest.approx([64, 32, 24])


def test_the_training_log_has_it_beside_time_and_loss(tmp_path, capsys):
    config = toys.write_config(tmp_path, 'default_hooks = dict(logger=dict(interval=1))\n')
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if 'Epoch(train)' in line)
    assert re.search(r'lr: \S+ +eta: \S+ +time: \S+ +data_time: \S+ .*loss: \S+ .*clips_per_s: \d', line)
    (scalars,) = (tmp_path / 'w').glob('*/vis_data/scalars.json')
    rows = [row for row in map(json.loads, scalars.read_text().splitlines()) if 'lr' in row]
    # the toy has batches of 4, and fewer than window_size of them
    assert rows[2]['clips_per_s'] == pytest.approx(4 / rows[2]['time'], abs=0.01)
