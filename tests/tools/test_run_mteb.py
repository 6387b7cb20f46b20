"""The command on a stand-in for ``mteb``; where it is installed, test_mteb_encoder.py runs the real one."""

import sys
from types import SimpleNamespace

import pytest

from tests.inference.models import config, write_model
from tests.toys import run_tool

TOOL = 'analysis_tools/run_mteb.py'


def task(name, *modalities):
    return SimpleNamespace(metadata=SimpleNamespace(name=name, type='VideoClassification', modalities=list(modalities)))


@pytest.fixture
def runs(monkeypatch):
    """What is evaluated, as (model, tasks, folder, options)."""
    seen = []

    def evaluate(model, tasks, *, cache, encode_kwargs):
        seen.append((model, [each.metadata.name for each in tasks], cache, encode_kwargs))
        results = [SimpleNamespace(task_name=each.metadata.name, get_score=lambda: 0.25) for each in tasks]
        return SimpleNamespace(task_results=results)

    known = [task('AveVA', 'video', 'audio'), task('UcfV', 'video'), task('CaptionsT2V', 'video', 'text')]
    fake = SimpleNamespace(evaluate=evaluate, get_tasks=lambda modalities: known, ResultCache=str)
    monkeypatch.setitem(sys.modules, 'mteb', fake)
    return seen


def test_tasks_are_listed_and_run(runs, tmp_path, capsys):
    assert run_tool(TOOL, '--list') == 0
    listed = capsys.readouterr().out
    assert 'AveVA' in listed and 'UcfV' in listed and 'CaptionsT2V' not in listed
    files = write_model(tmp_path, config())
    options = ['--tasks', 'AveVA', 'UcfV', '--out', tmp_path / 'out', '--batch-size', 3, '--name', 'me/mine']
    assert run_tool(TOOL, *files, *options, '--trained-on', 'UcfV', '--device', 'cpu') == 0
    assert '0.2500' in capsys.readouterr().out
    ((model, names, cache, options),) = runs
    assert names == ['AveVA', 'UcfV'] and cache == str(tmp_path / 'out') and options == dict(batch_size=3)
    assert model.name == 'me/mine' and model.training_datasets == {'UcfV'}


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    files = write_model(tmp_path, config())
    for arguments, words in (
        ([*files], 'give CONFIG, CHECKPOINT and --tasks, or --list'),
        ([*files, '--tasks', 'AveAV'], "AveAV is unknown to mteb, did you mean 'AveVA'?"),
        ([*files, '--tasks', 'CaptionsT2V'], 'has text or images'),
        ([*files, '--tasks', 'UcfV', '--batch-size', '0'], '--batch-size 0 must be above 0'),
        ([files[0], tmp_path / 'no.pth', '--tasks', 'UcfV'], 'no.pth'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count('\n') == 1
    assert not runs


def test_without_mteb_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mteb', None)
    assert run_tool(TOOL, '--list') == 2
    assert 'pip install mteb' in capsys.readouterr().err
