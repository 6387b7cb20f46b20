import json

import numpy as np
import pytest

from tests.analysis.evidence.test_dumps import write
from tests.toys import run_tool

TOOL = 'analysis_tools/compare_predictions.py'


@pytest.fixture
def dumps(tmp_path):
    """Three seeds of a model that gets 80 % right, and of one that gets 60 % of the same clips right."""
    hard = np.random.default_rng(0).permutation(120) / 120
    return {
        name: [
            write(tmp_path / f'{name}_seed{seed}.pkl', hard < share + 0.01 * seed, classes=('a', 'b'))
            for seed in range(3)
        ]
        for name, share in dict(mmt=0.8, concat=0.6).items()
    }


def test_several_seeds_give_a_verdict_and_a_report(dumps, tmp_path, capsys):
    table = tmp_path / 'evidence.csv'
    table.write_text('path,half\n' + ''.join(f'test/{place}.mp4,{place // 60}\n' for place in range(120)))
    rows = ['--row', 'MMT', *dumps['mmt'], '--row', 'concat', *dumps['concat']]
    out = tmp_path / 'out'
    assert run_tool(TOOL, *rows, '--split-by', f'{table}:half', '--margin', 1, '--out', out) == 0
    told = capsys.readouterr().out
    assert 'Holds: "MMT" is better than "concat", by 20.0 points' in told and '0 (60)' in told
    assert 'written to' in told and (out / 'report.png').is_file()
    content = json.loads((out / 'report.json').read_text())
    assert content['comparisons'][0]['verdict'] == 'holds' and content['margin'] == 0.01


def test_one_seed_tells_of_the_trained_models(dumps, capsys):
    one, two = dumps['mmt'][0], dumps['concat'][0]
    assert run_tool(TOOL, one, two) == 0
    told = capsys.readouterr().out
    assert 'Not concluded' in told and 'Of the trained models alone: +20.0' in told and 'McNemar: p < 0.001' in told


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['a.pkl'], 'give the dumps of two models at least'),
        (['a.pkl', 'a.pkl'], 'a file is given twice'),
        (['--row', 'MMT', '--row', 'concat', 'b.pkl'], '--row MMT: give its name and its dumps'),
        (['--row', 'MMT', 'a.pkl', '--row', 'MMT', 'b.pkl'], '--row MMT: two rows have this name'),
        (['a.pkl', 'b.pkl'], "no file 'a.pkl'"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, told, capsys):
    assert run_tool(TOOL, *arguments) == 2
    assert told in capsys.readouterr().err
