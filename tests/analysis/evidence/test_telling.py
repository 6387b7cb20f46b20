from dataclasses import replace

import pytest

from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.stated import Comparison, EvidenceRow
from mmav.analysis.evidence.telling import tell
from tests.analysis.evidence.made import made_row, made_stated


@pytest.fixture(scope='module')
def told():
    return tell(Evidence(made_stated()))


def only(lines, start):
    (line,) = (line for line in lines if line.startswith(start))
    return line


def test_each_comparison_is_told_with_its_source(told):
    assert 'Of 4 stated comparisons: 1 holds, 1 is reversed, 1 cannot be told' in told[2]
    assert told[3].startswith("Of the paper's 2: 1 holds, 1 cannot be told. Of the 2 others: 1 is reversed, 1 leads to")
    starts = [line.split(':')[0] for line in told[4:8]]
    assert starts == ['Holds', 'Reversed', 'Cannot be told', 'Not concluded']
    holds = only(told, 'Holds: ')
    assert '"concat" is better than "audio only" (paper, Table 3: 64.9 > 63.3), by 2' in holds
    assert only(told, 'Reversed: ').startswith('Reversed: "audio only" is worse than "twin", against what was stated')
    open_ = only(told, 'Cannot be told: ')
    assert 'whether "twin" is better than "concat" (paper' in open_ and 'A run like this one sees' in open_
    assert only(told, 'Not concluded: ').endswith('"late" is better than "MMT": no figures of late.')


def test_the_baseline_lines_and_missing_runs_are_told(told):
    assert '"audio only" -2' in only(told, 'Significantly worse than "concat"')
    assert 'oracle 90.0. The highest row, "MMT", has ' in only(told, 'Known otherwise')
    assert '"MMT" has 2 of 3 seeds: seed 2 killed after epoch 3: top1 0.04.' in told
    assert '"late" has no figures: seeds 0, 1, 2 not yet run.' in told


def test_one_seed_concludes_nothing_but_of_the_trained_models():
    rows = [made_row('concat', 0.7, seeds=1), made_row('MMT', 0.8, seeds=1)]
    told = tell(Evidence(made_stated(rows=rows, comparisons=[Comparison('MMT', 'concat')])))
    assert 'over other test clips, not other seeds: each row has one' in told[0]
    line = only(told, 'Not concluded: ')
    assert 'one seed: what another would give is not known' in line and 'McNemar: p < 0.001' in line
    assert only(told, 'Nothing is concluded on rows against "concat"')
    assert not any(line.startswith(('Holds', 'Significantly')) for line in told)


def test_rows_may_have_different_numbers_of_seeds():
    rows = [made_row('concat', 0.7), made_row('MMT', 0.8, seeds=2)]
    told = tell(Evidence(made_stated(rows=rows, comparisons=[Comparison('MMT', 'concat')])))
    assert ': 2 rows, 2 to 3 seeds, ' in told[0] and not any(' has 2 of 3 seeds' in line for line in told)
    assert ', on 2 of 3 seeds, corrected p' in only(told, 'Holds: ')


def test_rows_that_are_the_same_within_the_margin():
    told = tell(Evidence(made_stated(comparisons=[Comparison('twin', 'concat')], margin=0.05)))
    assert '"twin" and "concat" differ by less than 5.0 points, which was given' in only(told, 'The same: ')


def test_nothing_ran():
    told = tell(Evidence(made_stated(rows=[EvidenceRow('concat'), EvidenceRow('MMT')], comparisons=[])))
    assert told == [
        'No run has ended, so there is nothing to conclude.',
        '"concat", "MMT" have no figures.',
    ]


def test_the_widths_of_intervals_are_told(told):
    evidence = Evidence(made_stated())
    halves = sorted((100 * row.interval.half_width, row.row.title) for row in evidence.rows if row.interval)
    assert told[1].startswith(f'Rows are known to ±{halves[0][0]:.1f} to {halves[-1][0]:.1f} points, half of them to ±')
    assert told[1].endswith(f'or better; least "{halves[-1][1]}".')


def test_fewer_common_seeds_and_rows_that_lack_the_same_are_told():
    late = [EvidenceRow(name, None, {}, {0: 'not yet run'}) for name in ('a', 'b')]
    rows = [made_row('concat', 0.7), made_row('MMT', 0.8, seeds=2, lost={2: 'not yet run'}), *late]
    told = tell(Evidence(made_stated(rows=rows, comparisons=[Comparison('MMT', 'concat')])))
    assert ', on 2 of 3 seeds, corrected p' in only(told, 'Holds: ')
    assert told[-1] == '"a", "b" have no figures: seed 0 not yet run.'


def test_answers_that_are_missing_are_told():
    rows = [replace(made_row('concat', 0.7), unanswered={'no finite scores': 30}), made_row('MMT', 0.8)]
    told = tell(Evidence(made_stated(rows=rows, comparisons=[])))
    assert told[-1] == '"concat": 30 of 1,200 answers count as wrong, being no finite scores.'
