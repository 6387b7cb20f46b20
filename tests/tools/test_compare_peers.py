import importlib.util
import json
from functools import partial

import pytest
import torch

from benchmarks import peer_memory, peers
from benchmarks.peer_memory import Measured, Setting
from benchmarks.peers import DoesNotFit
from mmav.models import AST, MAT
from tests.benchmarks.peer_cases import ARCH, CASES
from tests.toys import run_tool

TOOL = 'analysis_tools/compare_peers.py'
SETTINGS = (
    Setting('MAT', 'MAT', partial(MAT, ARCH, (64, 96), q_strides=[(2, 2)]), shape=(1, 64, 96)),
    Setting('AST', 'AST', partial(AST, (64, 96), embed_dims=32, num_layers=2, num_heads=2), shape=(1, 64, 96)),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Small models, and no processes; tests/benchmarks/test_peer_memory.py has those."""
    for name, build in CASES.items():
        monkeypatch.setitem(peers.CASES, name, build)
    monkeypatch.setattr(peer_memory, 'SETTINGS', SETTINGS)
    monkeypatch.setattr(peer_memory, '_cpu_peak', lambda s, batch_size, dtype: Measured(batch_size * 10**9, 10**9, 9))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def broken(monkeypatch):
    """The video case with one bias of ours off by a little."""

    def build():
        case = CASES['video']()
        with torch.no_grad():
            case.contenders['mmav'].encoder.blocks[2].mlp.fc2.bias[3] += 0.01
        return case

    monkeypatch.setitem(peers.CASES, 'video', build)


def test_tables_numbers_and_page(tmp_path, capsys):
    name = 'peers, cpu, cases: video ast mat memory, threads: 1, batch size: 2'
    page = tmp_path / 'page.md'
    start = f'<!-- {name}: start, written by tools/{TOOL} -->'
    page.write_text(f'before\n{start}\n<!-- {name}: end -->\nafter\n')
    options = ['--device', 'cpu', '--threads', 1, '--rounds', 2, '--batch-size', 2, '--page', page]
    out = tmp_path / 'out.json'
    assert run_tool(TOOL, '--cases', 'video', 'ast', 'mat', 'memory', *options, '--json', out) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith('CPU, ') and lines[0].endswith(', 1 threads, median of 2 rounds')
    assert lines[1].startswith('torch 2.') and 'timm 1.' in lines[1] and 'transformers 5.' in lines[1]
    assert [line.split()[:2] for line in lines[3:10]] == [
        ['video', 'forward'],
        ['video', 'backward'],
        *[['ast', 'forward']] * 2,
        *[['ast', 'backward']] * 2,
        ['mat', 'backward'],
    ]
    assert 'the paper: MAT' in printed.out and 'ast: AST, 64x96, float32, batch size 2' in printed.err
    found = json.loads(out.read_text())
    assert {'device', 'cpu', 'threads', 'rounds', 'versions', 'peers'} < set(found) and found['rounds'] == 2
    first = found['results'][0]
    assert (first['case'], first['dtype'], first['batch_size'], first['peer']) == ('video', 'float32', 2, 'torchvision')
    assert len(first['seconds']['mmav']) == len(first['seconds']['torchvision']) == 2
    assert first['ratio_of_medians'] == pytest.approx(first['median']['torchvision'] / first['median']['mmav'])
    assert first['differences']['output'] < 1e-5 and first['differences']['gradient'] < 1e-5
    assert [(m['batch_size'], m['peak']) for m in found['memory']] == [(4, 4 * 10**9), (2, 2 * 10**9)]
    text = page.read_text()
    assert text.startswith(f'before\n{start}\n\n| case | timed |') and text.endswith('after\n')
    assert '| the paper: AST | 8 |' in text


def test_all_cases_unless_some_are_named(capsys, monkeypatch):
    def too_large():
        raise DoesNotFit('MViTv2-B: too large')

    monkeypatch.setitem(peers.CASES, 'attention', too_large)
    assert run_tool(TOOL, '--device', 'cpu', '--rounds', 1, '--modes', 'forward') == 0
    printed = capsys.readouterr()
    assert {'video', 'image', 'ast', 'mat'} == {line.split()[0] for line in printed.out.splitlines()[3:8]}
    assert 'left out: MViTv2-B: too large' in printed.err
    assert run_tool(TOOL, '--device', 'cpu', '--cases', 'attention') == 2
    assert capsys.readouterr().err == 'error: MViTv2-B: too large\n'


def test_a_difference_is_told_and_the_timing_goes_on(capsys, tmp_path, broken):
    arguments = ['--device', 'cpu', '--rounds', 1, '--json', tmp_path / 'out.json']
    assert run_tool(TOOL, '--cases', 'image', 'video', 'ast', *arguments) == 1
    printed = capsys.readouterr()
    told = [line for line in printed.err.splitlines() if line.startswith('difference: ')]
    assert told[0].startswith('difference: MViTv2, 4x32x32: outputs of mmav and torchvision differ by')
    rows = printed.out.splitlines()[3:]
    assert [row.split()[0] for row in rows] == ['image'] * 2 + ['video'] * 2 + ['ast'] * 4
    assert ['(!)' in row for row in rows] == [False] * 2 + [True] * 2 + [False] * 4
    results = json.loads((tmp_path / 'out.json').read_text())['results']
    assert [bool(result['disagreements']) for result in results] == [False] * 2 + [True] * 2 + [False] * 4


def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    find = importlib.util.find_spec
    monkeypatch.setattr(peers.importlib.util, 'find_spec', lambda name: None if name == 'timm' else find(name))
    (tmp_path / 'page.md').write_text('nothing')
    for arguments, message in (
        (['--rounds', 0], '--rounds 0: give 1 or more'),
        (['--batch-size', 0], '--batch-size 0: give 1 or more'),
        (['--memory-batches', 4, 0], '--memory-batches 0: give 1 or more'),
        (['--device', 'cuda'], '--device cuda: PyTorch sees no GPU here'),
        ([], 'not installed: timm; pip install timm'),
        (['--cases', 'mat', '--page', tmp_path / 'page.md'], 'needs one line <!-- peers, cpu, cases: mat: start'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('error: ') and message in line
