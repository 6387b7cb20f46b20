import json
import math

import pytest

from mmav.analysis.logs import check_keys, default_keys, draw, read_log, summarise, table
from mmav.errors import MmavError


def train_row(iteration, loss, epoch=1, **more):
    figures = dict(lr=0.1, data_time=0.1, loss=loss, time=0.4, epoch=epoch, iter=iteration, step=iteration)
    return figures | more


def val_row(epoch, top1, **more):
    return dict(top1=top1, broken=0, data_time=0.1, time=0.2, step=epoch) | more


def write(work_dir, start, *rows, end=''):
    """A start of a run, in the folder that MMEngine names by its time."""
    folder = work_dir / start / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(row) + '\n' for row in rows) + end
    # MMEngine writes the same lines into both
    for name in ('scalars.json', f'{start}.json'):
        (folder / name).write_text(text)
    return folder


def test_restarts_are_joined_without_double_steps(tmp_path):
    first = [train_row(10, 3.0), train_row(20, 2.0), val_row(1, 0.2), train_row(30, 1.9, 2), train_row(40, 9.0, 2)]
    write(tmp_path, '20260101_000000', *first, val_row(2, 0.9), end='{"lr": 0.1, "los')  # killed while writing
    # it went on from epoch 1, and again from iteration 35
    write(tmp_path, '20260102_000000', train_row(30, 1.8, 2))
    write(tmp_path, '20260103_000000', train_row(40, 1.0, 2), val_row(2, 0.4))
    log = read_log(tmp_path)
    assert log.name == tmp_path.name
    assert [(row['iter'], row['loss']) for row in log.train] == [(10, 3.0), (20, 2.0), (30, 1.8), (40, 1.0)]
    assert [(row['epoch'], row['iter'], row['top1']) for row in log.val] == [(1, 20, 0.2), (2, 40, 0.4)]
    assert log.curve('top1') == dict(val=([20, 40], [0.2, 0.4]))
    single = read_log(tmp_path / '20260102_000000' / 'vis_data' / '20260102_000000.json')
    assert single.name == tmp_path.name and len(single.train) == 1


def test_a_restart_that_begins_with_a_validation(tmp_path):
    write(tmp_path, '20260101_000000', train_row(10, 3.0))
    write(tmp_path, '20260102_000000', val_row(1, 0.5), train_row(20, 2.0, 2))
    assert [(row['epoch'], row['iter']) for row in read_log(tmp_path).val] == [(1, 10)]


def test_figures_are_weighted_by_iterations(tmp_path):
    rows = [
        train_row(10, 3.0, time=0.2, data_time=0.1, clips_per_s=40.0, memory=100),
        train_row(40, 1.0, 2, time=0.6, data_time=0.1, clips_per_s=10.0, memory=300),
        val_row(1, 0.5, val_loss=2.0),
        val_row(2, 0.4, val_loss=math.nan),
        val_row(3, 0.5, val_loss=1.0),
    ]
    write(tmp_path, '20260101_000000', *rows)
    figures = summarise(read_log(tmp_path))
    assert figures['iterations'] == 40 and figures['epochs'] == 2 and figures['last_loss'] == 1.0
    assert figures['time'] == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)
    assert figures['hours'] == pytest.approx(20 / 3600)
    assert figures['data_share'] == pytest.approx(4 / 20)
    # 40 iterations of 1 clip each would be 10 / 40 + 30 / 10 seconds
    assert figures['clips_per_s'] == pytest.approx(40 / (10 / 40 + 30 / 10))
    assert figures['memory'] == 300
    assert figures['best'] == dict(top1=dict(value=0.5, epoch=1), val_loss=dict(value=1.0, epoch=3))


def test_table_and_picture_of_several_runs(tmp_path):
    write(tmp_path / 'a', '20260101_000000', *(train_row(i, 1 / i, top1=0.3, clips_per_s=7.0) for i in range(1, 90)))
    write(tmp_path / 'b', '20260101_000000', train_row(10, 3.0), val_row(1, 0.25))
    logs = [read_log(tmp_path / name) for name in 'ab']
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table(logs).splitlines()]
    assert lines[0] == ['', 'a', 'b']
    assert ['clips/s', '7.0', ''] in lines and ['best top1', '', '0.2500 (epoch 1)'] in lines
    assert not any(line[0] == 'peak GPU memory' for line in lines)  # no run logged it
    assert default_keys(logs) == ['loss', 'top1']
    draw(logs, ['loss', 'top1'], tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(MmavError, match='cannot write .*curves.png/curves.png'):
        draw(logs, ['loss'], tmp_path / 'curves.png' / 'curves.png')
    with pytest.raises(MmavError, match='is not the name of a picture'):
        draw(logs, ['loss'], tmp_path / 'curves.mp3')


def test_mistakes(tmp_path):
    with pytest.raises(MmavError, match="no log '.*nothing': give the work dir"):
        read_log(tmp_path / 'nothing')
    with pytest.raises(MmavError, match='holds no log of a training'):
        read_log(tmp_path)
    folder = write(tmp_path, '20260101_000000')
    with pytest.raises(MmavError, match='holds no log of a training'):
        read_log(folder / 'scalars.json')
    for text, message in (('no JSON\n{}\n', 'line 1 is not JSON'), ('[1]\n{}\n', "line 1 has no 'step'")):
        (folder / 'scalars.json').write_text(text)
        with pytest.raises(MmavError, match=message):
            read_log(tmp_path)
    (folder / 'scalars.json').write_text(json.dumps(train_row(1, 2.0)))
    with pytest.raises(MmavError, match="--keys lss: was not logged, did you mean 'loss'.*there are loss, lr"):
        check_keys([read_log(tmp_path)], ['lss'])
