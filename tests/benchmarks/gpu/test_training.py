import csv
import json

import pytest

from benchmarks.gpu.training import make_data, read_training, training_options, training_rows
from mmav.datasets.media.probe import probe
from mmav.errors import MmavError
from mmav.preparation.annotations import read_labels


def write_log(folder, rows, text=''):
    (folder / 'run' / 'vis_data').mkdir(parents=True)
    lines = [json.dumps(dict(row, step=number, iter=number)) for number, row in enumerate(rows, 1)]
    (folder / 'run' / 'vis_data' / 'scalars.json').write_text('\n'.join(lines))
    (folder / 'run' / 'run.log').write_text(text)
    return folder


def row(time, loss=5.0, **more):
    return dict(time=time, data_time=time / 10, loss=loss, **more)


def test_clips_take_turns_under_the_class_names_of_vggsound(tmp_path):
    data = make_data(tmp_path, 6, size=32, seconds=1, fps=8, sample_rate=16000)
    with open(data / 'train.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    labels = read_labels('vggsound')
    assert [r['label'] for r in rows] == list(labels[:6]) and len(labels) == 309
    assert len({r['path'] for r in rows}) == 6 and all((data / r['path']).is_file() for r in rows)
    assert (data / 'classes.txt').read_text().splitlines() == list(labels)
    found = probe(str(data / rows[0]['path']))
    assert found.height == 32
    with open(data / 'test.csv', newline='') as file:
        assert all((data / r['path']).is_file() for r in csv.DictReader(file))


def test_what_a_training_logged(tmp_path):
    rows = [row(9.0, memory=100), row(3.0, memory=300), row(0.5, memory=200), row(0.25), row(0.75, loss=4.0)]
    text = 'x - mmengine - INFO - Numbers: bfloat16 autocast, TF32\nx - mmengine - INFO - else\n'
    found = read_training(write_log(tmp_path, rows, text))
    assert found['seconds'] == [9.0, 3.0, 0.5, 0.25, 0.75] and found['median'] == 0.5
    assert (found['peak'], found['steady'], found['reserved']) == (300 * 2**20, 200 * 2**20, None)
    assert found['numbers'] == 'bfloat16 autocast, TF32' and found['losses'][-1] == 4.0
    table = dict(training_rows(found | dict(planned=2**30), 8)[1:])
    assert table['first, second'] == '9.00 s, 3.00 s'
    assert table['one after that, median'] == '0.500 s, 16.0 clips/s'
    assert table['of it waiting for data'] == '10%' and table['loss'] == '5.000 to 4.000'
    assert table['memory, peak of all'] == '0.29 GiB' and table['memory, planned'] == '1.00 GiB'
    assert table['memory, peak after the second'] == '0.20 GiB'
    assert table['memory, taken by the allocator'] == '-'


def test_two_iterations_have_no_median(tmp_path):
    found = read_training(write_log(tmp_path, [row(9.0, memory=300), row(3.0, memory=100)]))
    assert (found['median'], found['steady'], found['numbers']) == (None, 300 * 2**20, None)
    table = dict(training_rows(found, 8)[1:])
    assert table['one after that, median'] == '-' and table['numbers'] == 'not in the log'


def test_a_cpu_has_no_memory_in_its_log(tmp_path):
    found = read_training(write_log(tmp_path, [row(9.0)]))
    assert found['peak'] is found['steady'] is found['reserved'] is None
    assert dict(training_rows(found, 8))['memory, peak of all'] == '-'


def test_a_loss_that_is_not_finite_is_a_failure(tmp_path):
    with pytest.raises(MmavError, match=r'losses are not finite: \[5.0, nan\]'):
        read_training(write_log(tmp_path, [row(1.0), row(1.0, loss=float('nan'))]))


def test_options_of_ones_own_come_last():
    assert training_options(['a=1'])[-1] == 'a=1' and 'log_processor.window_size=1' in training_options()
