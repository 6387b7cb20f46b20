import json

import pytest

from benchmarks.gpu import run as gpu_run
from benchmarks.gpu.processes import Outcome
from benchmarks.gpu.report import TABLES
from benchmarks.gpu.run import FILES, LIMITS, SECTIONS, earlier_sections, read_results, run_check
from mmav.errors import MmavError

ABOUT = dict(device='cpu', where='1 threads of the CPU', python='3.11', versions=dict(torch='2.14.1'))
OLD = dict(status='done', seconds=1.0, results=dict(passed=1, skipped=0, failed=[]), errors=[], left_out=[])


@pytest.fixture
def runs(monkeypatch):
    """Outcomes by name in the place of processes; returns the commands that were to be run."""
    commands = []

    def run_sections(names, start, *, scratch, begun, tick, ended, **options):
        for name in names:
            start(name, scratch / f'{name}.log')
            begun(name, 10.0, 20.0)
            tick(name, 1.0)
            log = scratch / f'{name}.log'
            log.write_text(f'printed by {name}\n')
            failed = name == 'memory'
            errors = ['MAT: OutOfMemoryError: no'] if failed else []
            ended(name, Outcome('failed' if failed else 'done', 2.0, errors=errors), log)

    monkeypatch.setattr(gpu_run, 'run_sections', run_sections)
    monkeypatch.setattr(gpu_run, 'Child', lambda command, log: commands.append(command))
    return commands


def test_every_section_has_a_limit_and_a_table():
    assert list(SECTIONS) == list(LIMITS) and set(TABLES) == set(SECTIONS)


def test_files_of_a_run_and_what_it_says(tmp_path, runs, capsys):
    content = dict(scale='miniature', about=ABOUT, sections=dict(tests=OLD))
    run_check(['memory', 'machine'], content, tmp_path, budget=60.0, command=['tool', '--child'])
    assert runs == [['tool', '--child', 'machine'], ['tool', '--child', 'memory']]
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, '.mmav_written'}
    found = json.loads((tmp_path / 'gpu.json').read_text())
    assert list(found['sections']) == ['machine', 'tests', 'memory'] and found['sections']['tests'] == OLD
    assert found['sections']['memory']['errors'] == ['MAT: OutOfMemoryError: no']
    assert {v['verdict'] for v in found['verdicts']} == {'not measured'}
    log = (tmp_path / 'gpu.log').read_text()
    assert log == '==== machine: done\nprinted by machine\n==== memory: failed\nprinted by memory\n'
    assert '## memory (failed)' in (tmp_path / 'gpu.md').read_text()
    assert capsys.readouterr().out.splitlines() == [
        '[1/2] machine: at most 10 s, 20 s left of 60',
        '[1/2] machine: done in 2 s',
        '[2/2] memory: at most 10 s, 20 s left of 60',
        '[2/2] memory: failed in 2 s',
        '    MAT: OutOfMemoryError: no',
    ]
    assert read_results(tmp_path / 'gpu.json')['sections'] == content['sections']


def test_results_of_other_sections_are_kept_on_the_same_machine_only(tmp_path):
    content = dict(scale='full', about=ABOUT)
    assert earlier_sections(tmp_path, content) == {}
    (tmp_path / 'gpu.json').write_text(json.dumps(content | dict(sections=dict(tests=OLD))))
    assert earlier_sections(tmp_path, content) == dict(tests=OLD)
    for other, text in (
        (dict(scale='miniature'), r'scale \(full there, miniature here\)'),
        (dict(about=ABOUT | dict(where='NVIDIA A100')), r'where \(1 threads of the CPU there, NVIDIA A100 here\)'),
    ):
        with pytest.raises(MmavError, match=f'is of another {text}.*: give another --out'):
            earlier_sections(tmp_path, content | other)


@pytest.mark.parametrize('text', ['{', '[]', '{"scale": "full"}', None])
def test_another_file_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / 'x.json').write_text(text)
    with pytest.raises(MmavError, match=r'x.json.*(is no gpu.json of this tool|No such file).*give'):
        read_results(tmp_path / 'x.json')
