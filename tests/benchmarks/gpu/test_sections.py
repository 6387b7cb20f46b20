import dataclasses

import pytest
import torch
from torch import nn

from benchmarks import attention as attention_benchmark
from benchmarks.gpu import sections as gpu_sections
from benchmarks.gpu.processes import Report
from benchmarks.gpu.scale import Encoders, miniature
from benchmarks.peer_memory import Measured
from benchmarks.peers import Case, DoesNotFit
from mmav.errors import ConfigError

TESTS = """
import pytest
pytestmark = pytest.mark.gpu

def test_good(): pass
def test_bad(): assert 1 == 2
def test_skipped(): pytest.skip('not here')
"""


@pytest.fixture
def report(tmp_path):
    return Report(tmp_path / 'report.json', 60.0, tmp_path)


@pytest.fixture
def scale(monkeypatch):
    for module in (attention_benchmark, gpu_sections):
        monkeypatch.setattr(module, 'matmul_peak', lambda *args, **options: 1e12)
    return miniature()


@pytest.mark.parametrize('processes', [1, 2])
def test_tests_that_are_marked_run(report, scale, tmp_path, capsys, monkeypatch, processes):
    monkeypatch.setattr(gpu_sections, 'cpu_count', lambda: processes)
    folder = tmp_path / 'tests'
    folder.mkdir()
    (folder / 'test_a.py').write_text(TESTS)
    (folder / 'test_b.py').write_text('import not_there_and_not_marked')
    (folder / 'test_c.py').write_text('import not_there  # pytest.mark.gpu')
    (tmp_path / 'pytest.ini').write_text('[pytest]\nmarkers = gpu: x\n')
    gpu_sections.run_tests(report, dataclasses.replace(scale, tests=folder))
    assert report.results['files'] == ['tests/test_a.py', 'tests/test_c.py']
    assert (report.results['passed'], report.results['skipped']) == (1, 1)
    assert report.results['failed'] == ['tests/test_a.py::test_bad', 'tests/test_c.py']
    assert report.results['unfinished'] == []
    assert report.errors[0] == 'tests/test_a.py::test_bad: assert 1 == 2'
    assert report.errors[1].startswith('tests/test_c.py: ')
    printed = capsys.readouterr().out
    assert 'def test_bad' in printed and ('[gw' in printed) == (processes == 2)


@pytest.mark.parametrize(
    ('status', 'printed', 'errors'),
    [
        (4, 'ERROR: usage', ['pytest: exit status 4: see the log']),
        (0, 'a.py::test_a SKIPPED [100%]\n', ['pytest: not one test ran']),
        (None, 'a.py::test_a PASSED [ 50%]\na.py::test_b[x y] ', ['a.py::test_b[x y]: came to no end']),
    ],
)
def test_tests_that_did_not_run_have_not_passed(report, scale, tmp_path, monkeypatch, status, printed, errors):
    def run(command, folder, log):
        log.write_text(printed)
        return status

    monkeypatch.setattr(gpu_sections, '_run_logged', run)
    (tmp_path / 'test_a.py').write_text('pytest.mark.gpu')
    gpu_sections.run_tests(report, dataclasses.replace(scale, tests=tmp_path, device='cuda'))
    assert report.errors == errors


def test_no_marked_test_is_a_failure(report, scale, tmp_path):
    gpu_sections.run_tests(report, dataclasses.replace(scale, tests=tmp_path))
    assert 'has a test with mark.gpu' in report.errors[0]


def test_kernels_of_attention():
    # the flash kernel of the CPU wants one width, too
    assert gpu_sections.sdpa_kernels('cpu', 'float32', 96, 96) == dict(
        taken='flash', expected=None, run=['flash', 'math']
    )
    assert gpu_sections.sdpa_kernels('cpu', 'float32', 120, 96)['run'] == ['math']


def test_a_form_that_fails_leaves_the_others_alone(report, scale, monkeypatch):
    attend = attention_benchmark.attend

    def broken(form, inputs):
        if form == 'folded':
            raise RuntimeError('CUDA error: an illegal memory access')
        return attend(form, inputs)

    monkeypatch.setattr(attention_benchmark, 'attend', broken)
    gpu_sections.time_attention(report, scale)
    assert report.errors == [
        f'folded, {t}: RuntimeError: CUDA error: an illegal memory access' for t in ('bfloat16', 'float32')
    ]
    assert set(report.results['bfloat16']['results'][0]['forms']) == {'explicit'}
    assert set(report.results['float32']['results'][-1]['forms']) == {'explicit', 'tiled'}
    assert not report.left_out


def test_forms_that_take_long_to_compile_come_last(report, scale, monkeypatch):
    seen = []
    monkeypatch.setattr(gpu_sections, 'usable_forms', lambda device, dtype: ('flex', 'folded'))
    monkeypatch.setattr(gpu_sections, 'measure_attention', lambda cfg, forms, dtype, **_: seen.append((dtype, *forms)))
    gpu_sections.time_attention(report, scale)
    assert seen == [(d, form) for form in ('folded', 'flex') for d in ('bfloat16', 'float32')]


def test_a_form_that_computes_something_else_is_a_failure(report, scale, monkeypatch):
    monkeypatch.setattr(attention_benchmark, 'difference', lambda form, inputs: 0.5 if form == 'folded' else 0.0)
    gpu_sections.time_attention(report, scale)
    assert any('folded attention is off by 5.0e-01' in line for line in report.errors)


def case(factor=1.0):
    models = [nn.Linear(4, 3) for _ in range(2)]
    models[1].load_state_dict({name: factor * x for name, x in models[0].state_dict().items()})
    return Case('toys', (4,), dict(zip(('ours', 'theirs'), models, strict=True)))


def test_cases_that_fail_leave_the_others_alone(report, scale, monkeypatch):
    def too_large():
        raise DoesNotFit('too large')

    cases = (
        Encoders('first', too_large, ('float32',), ('forward',)),
        Encoders('second', case, ('float32', 'float16'), ('forward',)),
        Encoders('third', case, ('float32',), ('forward',), package='video'),
        Encoders('fourth', lambda: case(2.0), ('float32',), ('forward',)),
    )

    def require(cases):
        if cases:
            raise ConfigError('not installed: torchvision')

    compare = gpu_sections.compare

    def broken(case, *, dtype, **options):
        if dtype == torch.float16:
            raise RuntimeError('no kernel for Half')
        return compare(case, dtype=dtype, **options)

    monkeypatch.setattr(gpu_sections, 'compare', broken)
    monkeypatch.setattr(gpu_sections, 'require_peers', require)
    gpu_sections.compare_encoders(report, dataclasses.replace(scale, encoders=cases))
    assert [result['case'] for result in report.results['results']] == ['second, float32', 'fourth, float32']
    assert report.errors[:2] == ['first: DoesNotFit: too large', 'second, float16: RuntimeError: no kernel for Half']
    assert 'fourth, float32: toys: outputs of ours and theirs differ' in report.errors[2]
    assert report.left_out == ['third: not installed: torchvision']


def test_a_setting_that_does_not_fit_leaves_the_others_alone(report, scale, monkeypatch):
    def peak(setting, batch_size, dtype):
        if setting.model == 'AST' and dtype == torch.float32:
            raise DoesNotFit('AST does not fit')
        return Measured(batch_size * 10**9, 10**9, 9)

    monkeypatch.setattr('benchmarks.peer_memory._cpu_peak', peak)
    gpu_sections.compare_memory(report, scale)
    assert [r['name'] for r in report.results['bfloat16']] == ['MAT', 'AST, plain attention']
    assert [r['ratio_per_clip'] for r in report.results['bfloat16']] == [1.0, 1.0]
    assert [r['name'] for r in report.results['float32']] == ['MAT']
    assert report.errors == ['AST, plain attention, float32: DoesNotFit: AST does not fit']


def test_training_that_fails_keeps_what_was_logged(report, scale, monkeypatch):
    def train(config, data, work_dir, options):
        assert (data / 'train.csv').is_file() and 'train_dataloader.batch_size=2' in options
        raise torch.OutOfMemoryError('no memory')

    monkeypatch.setattr(gpu_sections, 'train', train)
    monkeypatch.setattr(gpu_sections, 'read_training', lambda work_dir: dict(iterations=1))
    monkeypatch.setattr(gpu_sections, 'planned_bytes', lambda config, scale: 1 // 0)
    gpu_sections.run_training(report, scale)
    assert [line[:17] for line in report.errors] == ['training: OutOfMe', 'plan: ZeroDivisio']
    assert report.results['iterations'] == 1
