import json

import numpy as np
import pytest

from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.report import (
    FILES,
    comparison_table,
    report_markdown,
    report_text,
    row_table,
    seed_table,
    tables_of,
    write_report,
)
from mmav.analysis.evidence.stated import EvidenceRow
from mmav.errors import OutputError
from tests.analysis.evidence.made import made_row, made_stated


@pytest.fixture(scope='module')
def evidence():
    return Evidence(made_stated(splits={'first half': np.arange(200)}))


def test_rows_tell_figure_interval_seeds_baseline_and_seconds(evidence):
    header, audio, concat, _, mmt, late = row_table(evidence)
    assert header[:5] == ('row', 'top1', '95 % interval', '±', 'seeds')
    assert header[5:] == ('against concat', '95 % interval', 'p', 'seconds of a run')
    assert audio[4] == '3' and audio[5].startswith('-') and audio[-1] == '40'
    low, high = map(float, audio[2].split(' to '))
    assert low < float(audio[1]) < high and float(audio[3]) == pytest.approx((high - low) / 2, abs=0.11)
    assert concat[5:8] == ('baseline', '', '') and mmt[4] == '2 of 3'
    assert late[1] == 'not yet run' and late[-1] == '-'


def test_comparisons_seeds_and_splits_have_tables(evidence):
    _, first, *_, last = comparison_table(evidence)
    assert first[0] == 'concat > audio only' and first[-2:] == ('holds', 'paper, Table 3: 64.9 > 63.3')
    assert last[1:7] == ('-', '-', '-', '-', '-', 'no conclusion')
    seeds = seed_table(evidence)
    assert seeds[0] == ('row', 'seed 0', 'seed 1', 'seed 2', 'spread', 'spread used')
    figures = list(evidence.rows[0].figures.values())
    assert seeds[1][4] == f'{100 * np.std(figures, ddof=1):.1f}'
    assert seeds[4][3] == '-' and seeds[5][1:] == ('-', '-', '-', '-', '-')
    assert tables_of(evidence)['Parts of the test clips'][0] == ('row', 'first half (200)')
    bare = Evidence(made_stated(comparisons=[], baseline=None))
    assert list(tables_of(bare)) == ['Rows', 'Seeds']
    assert 'p' not in row_table(bare)[0]


def test_what_intervals_are_over_is_told_where_rows_differ():
    rows = [made_row('concat', 0.7), made_row('MMT', 0.8, seeds=1), EvidenceRow('late')]
    header, concat, mmt, late = row_table(Evidence(made_stated(rows=rows, comparisons=[], baseline=None)))
    assert header[3:6] == ('±', 'over', 'seeds') and late[1:6] == ('not yet run', '-', '-', '-', '-')
    assert concat[4:6] == ('seeds and clips', '3') and mmt[4:6] == ('clips', '1')


def test_text_and_markdown_hold_conclusions_and_tables(evidence):
    text = report_text(evidence)
    assert 'Holds: "concat"' in text and 'Stated comparisons\n' in text
    assert 'McNemar' in text and 'source' not in text  # sources are in the sentences
    markdown = report_markdown(evidence, 'pictures/a.png')
    assert '](pictures/a.png)' in markdown and '| concat > audio only |' in markdown
    assert '![' not in report_markdown(evidence, None)


def test_files_are_written_and_never_over_a_users(evidence, tmp_path):
    assert write_report(evidence, tmp_path) == list(FILES)
    content = json.loads((tmp_path / 'report.json').read_text())
    assert content['told'][0].startswith('top1 on AVSynth') and len(content['rows']) == 5
    assert (tmp_path / 'report.png').read_bytes().startswith(b'\x89PNG')
    page = (tmp_path / 'report.html').read_text()
    assert 'data:image/png;base64' in page and 'Which differences stand' in page
    (tmp_path / 'report.md').write_text('mine')
    with pytest.raises(OutputError, match='report.md'):
        write_report(evidence, tmp_path)
