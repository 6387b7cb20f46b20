"""All that runs on a GPU, in miniature on the CPU: in this process, but for one section, which has its own."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import attention, peer_memory
from benchmarks.gpu import run as gpu_run
from benchmarks.gpu import scale as gpu_scale
from benchmarks.gpu import sections as gpu_sections
from benchmarks.gpu.processes import Report
from benchmarks.peer_memory import Measured
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/check_gpu.py'
TESTS = """
import pytest
pytestmark = pytest.mark.gpu

def test_good(): pass
"""


class Here:
    """In the place of a process: the section runs in this one as soon as it is told to begin."""

    def __init__(self, command, log):
        self.name, self.log = command[-1], log
        assert command[-3:-1] == ['--miniature', '--child']
        log.write_text(f'{self.name}\n')

    def begin(self, report, seconds, scratch):
        gpu_run.SECTIONS[self.name](Report(report, seconds, scratch), gpu_scale.miniature())

    def status(self):
        return 0

    def end(self):
        pass


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / 'with_tests' / 'tests'
    folder.mkdir(parents=True)
    (folder / 'test_a.py').write_text(TESTS)
    (folder.parent / 'pytest.ini').write_text('[pytest]\nmarkers = gpu: x\n')
    scale = replace(gpu_scale.miniature(), tests=folder, test_processes=1)
    monkeypatch.setattr(gpu_scale, 'miniature', lambda: scale)
    monkeypatch.setattr(gpu_run, 'Child', Here)
    for module in (attention, gpu_sections):
        monkeypatch.setattr(module, 'matmul_peak', lambda *args, **options: 1e12)
    # tests/benchmarks/test_peer_memory.py has the processes that measure it
    monkeypatch.setattr(peer_memory, '_cpu_peak', lambda s, batch_size, dtype: Measured(batch_size * 10**9, 10**9, 9))


def test_everything_runs_to_its_end_in_miniature(here, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run_tool(TOOL, '--miniature', '--out', out) == 0
    found = json.loads((out / 'gpu.json').read_text())
    outcomes = found['sections']
    assert list(outcomes) == list(gpu_run.SECTIONS)
    assert {name: (o['status'], o['errors']) for name, o in outcomes.items()} == dict.fromkeys(outcomes, ('done', []))
    assert found['scale'] == 'miniature' and found['about']['device'] == 'cpu' and found['about']['versions']['torch']
    results = {name: outcome['results'] for name, outcome in outcomes.items()}
    assert 'math' in results['machine']['kernels']['bfloat16, 96']['run']
    assert results['tests']['passed'] == 1 and not results['tests']['failed']
    assert results['training']['iterations'] == 3 and len(results['training']['losses']) == 3
    assert results['training']['numbers'].startswith('float32') and results['training']['planned'] > 1e6
    compared = [(r['case'], r['mode'], r['peer']) for r in results['encoders']['results']]
    assert compared == [
        ('MViTv2-B, attention, bfloat16', 'step', 'attention=explicit'),
        ('MViTv2-B, attention, float32', 'step', 'attention=explicit'),
        ('MViTv2-S, bfloat16', 'forward', 'torchvision'),
    ]
    assert [m['name'] for m in results['memory']['float32']] == ['MAT', 'AST, plain attention']
    blocks = results['attention']['float32']['results']
    assert {b['encoder'] for b in blocks} == {'video', 'audio'} and {'explicit', 'folded'} <= {*blocks[0]['forms']}
    assert [r['case'] for r in results['forms']['results']] == ['MViTv2-B, forms, bfloat16', 'MAT, forms, bfloat16']
    assert {v['verdict'] for v in found['verdicts']} == {'not measured'}

    text = (out / 'gpu.md').read_text()
    for line in (
        'In miniature: the figures mean nothing.',
        '| passed | 1 |',
        '| iterations | 3 |',
        '| the paper: AST | 8 |',
    ):
        assert line in text
    assert '| audio, all | 4 |' in text and '| MViTv2-S, bfloat16 | forward | mmav |' in text
    printed = capsys.readouterr().out
    assert 'everything in miniature on the CPU, and the figures mean nothing' in printed
    assert '[8/8] hand_over: done in' in printed and 'not measured' in printed


def test_one_section_in_a_process_of_its_own(tmp_path, capsys):
    options = ['--miniature', '--out', tmp_path]
    assert run_tool(TOOL, '--sections', 'machine', *options) == 0
    assert '[1/1] machine: done in' in capsys.readouterr().out
    found = json.loads((tmp_path / 'gpu.json').read_text())['sections']['machine']
    assert found['results']['peaks']['float32'] > 1e6 and 'math' in found['results']['kernels']['float32, 96']['run']


def test_a_section_that_fails_is_told_and_the_others_go_on(here, tmp_path, capsys, monkeypatch):
    def broken(report, scale):
        report.put(batch_size=8)
        report.part('clips', lambda: 1 / 0)

    monkeypatch.setitem(gpu_run.SECTIONS, 'training', broken)
    names = ['machine', 'training', 'tests']
    assert run_tool(TOOL, '--sections', *names, '--miniature', '--out', tmp_path / 'out') == 1
    printed = capsys.readouterr().out
    assert '[3/3] training: failed in' in printed and printed.endswith('\ntraining: failed\n')
    outcomes = json.loads((tmp_path / 'out' / 'gpu.json').read_text())['sections']
    assert {name: o['status'] for name, o in outcomes.items()} == dict(machine='done', tests='done', training='failed')
    assert outcomes['training']['errors'] == ['clips: ZeroDivisionError: division by zero']

    monkeypatch.setitem(gpu_run.SECTIONS, 'training', lambda report, scale: report.put(batch_size=8))
    assert run_tool(TOOL, '--sections', 'training', '--miniature', '--out', tmp_path / 'out') == 0
    outcomes = json.loads((tmp_path / 'out' / 'gpu.json').read_text())['sections']
    assert list(outcomes) == ['machine', 'tests', 'training'] and outcomes['training']['status'] == 'done'


def test_what_does_not_fit_is_left_out(here, tmp_path, capsys):
    options = ['--sections', 'machine', 'tests', '--miniature', '--budget', 5]
    assert run_tool(TOOL, *options, '--out', tmp_path / 'out') == 1
    printed = capsys.readouterr().out
    assert '[1/2] machine: left out in 0 s\n    0 s of 5 are left' in printed
    assert printed.endswith('\nmachine: left out\ntests: left out\n')


def test_the_page_is_written_from_the_results_of_another_machine(tmp_path, capsys):
    page, results = tmp_path / 'page.md', tmp_path / 'gpu.json'
    page.write_text((ROOT / 'docs' / 'performance.md').read_text())
    about = dict(device='cuda', where='NVIDIA H100', python='3.11', versions=dict(torch='2.14.1'))
    tests = dict(status='done', seconds=1.0, results=dict(passed=7, skipped=0, failed=[]), errors=[], left_out=[])
    results.write_text(json.dumps(dict(scale='full', about=about, sections=dict(tests=tests), verdicts=[])))
    assert run_tool(TOOL, '--from', results, '--page', page) == 0
    assert capsys.readouterr().out == f'{page}: verdicts, tests\n'
    assert '| the tests that need a GPU pass | pass | 7 passed, 0 failed |' in page.read_text()


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    (tmp_path / 'own').mkdir()
    (tmp_path / 'own' / 'gpu.json').write_text('{}')
    (tmp_path / 'mini.json').write_text(
        json.dumps(dict(scale='miniature', about=dict(device='cpu', where='the CPU'), sections={}))
    )
    page = ROOT / 'docs' / 'performance.md'
    for arguments, message in (
        (['--budget', 0], '--budget 0: give more than 0 seconds'),
        (['--page', page], 'there is no GPU that PyTorch can use'),
        (['--miniature', '--out', tmp_path / 'own'], 'was not written by check_gpu.py'),
        (['--from', 'x.json'], '--from x.json writes a page: say which one with --page'),
        (['--from', 'x.json', '--page', page], "cannot read 'x.json'"),
        (['--from', 'x.json', '--page', page, '--budget', 9], '--budget has no effect with --from'),
        (['--from', 'x.json', '--page', page, '--sections', 'tests'], '--sections has no effect with --from'),
        (['--from', tmp_path / 'mini.json', '--page', page], 'would mean nothing there'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('error: ') and message in line
