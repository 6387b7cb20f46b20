import pytest

from benchmarks.latency import latency_rows, measure_latency
from mmav.apis import AVInferencer
from mmav.tables import markdown_table
from tests.inference.models import config, write_model
from tests.toys import run_tool

TOOL = 'analysis_tools/benchmark_inference.py'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'), config(views=2))


def test_each_way_is_timed_as_often_and_in_turn(files, clip, monkeypatch):
    inferencer = AVInferencer(*files, device='cpu', show_progress=False)
    calls = []
    read, forward = inferencer.read, inferencer.forward
    monkeypatch.setattr(inferencer, 'read', lambda path: calls.append('read') or read(path))
    monkeypatch.setattr(inferencer, 'forward', lambda data: calls.append('forward') or forward(data))
    results = measure_latency(inferencer, str(clip), batch_sizes=(1, 3), rounds=4)
    assert calls == ['read', 'read', 'forward'] * 5  # a round that does not count comes first
    assert [(result['what'].split(':')[0], result['backend'], result['batch_size']) for result in results] == [
        ('model', 'torch', 1), ('model', 'onnxruntime', 1), ('model', 'torch', 3), ('model', 'onnxruntime', 3),
        ('reading', '', 1), ('file to labels, all views', 'torch', 1),
    ]  # fmt: skip
    assert all(0 < result['low'] <= result['median'] <= result['high'] for result in results)


def test_time_is_that_of_one_clip(files, clip, monkeypatch):
    inferencer = AVInferencer(*files, device='cpu', show_progress=False)
    clock = iter(range(1000))
    monkeypatch.setattr('benchmarks.measure.time.perf_counter', lambda: float(next(clock)))
    results = measure_latency(inferencer, str(clip), backends=['torch'], batch_sizes=(1, 4), rounds=2)
    assert [result['median'] for result in results] == [1000.0, 250.0, 1000.0, 1000.0]


def test_tables():
    rows = latency_rows([dict(what='model', backend='torch', batch_size=2, median=123.4, low=9.96, high=200.0)])
    assert rows[1] == ('model', 'torch', '2', '123', '10.0 to 200')
    assert markdown_table(rows).splitlines()[1:] == [
        '|---|---|---|---|---|',
        '| model | torch | 2 | 123 | 10.0 to 200 |',
    ]


def test_tool_fills_its_block_of_a_page(files, clip, tmp_path, capsys):
    block = '<!-- model, threads: 1: {} -->'
    start = block.format('start, written by tools/analysis_tools/benchmark_inference.py')
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{start}\n{block.format("end")}\nafter\n')
    options = ['--file', clip, '--threads', 1, '--rounds', 1, '--page', page, '--json', tmp_path / 'a.json']
    assert run_tool(TOOL, *files, *options) == 0
    assert page.read_text().startswith('before') and page.read_text().endswith('after\n')
    assert '| model | onnxruntime | 1 |' in page.read_text() and (tmp_path / 'a.json').is_file()
    for wrong, message in (
        (['--rounds', 0], '--rounds 0: give 1 or more'),
        (['--file', 'no.mp4'], 'no.mp4: no such file'),
        (['--page', tmp_path / 'no.md'], 'no page'),
    ):
        assert run_tool(TOOL, *files, *wrong) == 2
        assert message in capsys.readouterr().err
