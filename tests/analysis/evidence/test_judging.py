import json

import numpy as np
import pytest

from mmav.analysis.evidence.judging import Evidence
from mmav.evaluation.comparing import interval_of
from tests.analysis.evidence.made import made_stated


@pytest.fixture(scope='module')
def evidence():
    places = np.arange(100)
    return Evidence(made_stated(splits={'first': places}))


def test_comparisons_are_judged_apart_from_rows_against_the_baseline(evidence):
    verdicts = [judged.verdict for _, judged in evidence.comparisons]
    assert verdicts == ['holds', 'reversed', 'cannot be told', 'no conclusion']
    assert evidence.verdicts()['holds'] == 1
    gains = {row.row.title: row.gain for row in evidence.rows}
    assert gains['concat'] is None and gains['late'].why_not == 'no figures of late'
    assert gains['audio only'].verdict == 'reversed' and gains['twin'].verdict == 'cannot be told'
    # the same pair in both families: alone alike, corrected by the number of its own
    stated = evidence.comparisons[0][1]
    assert gains['audio only'].p_value == pytest.approx(stated.p_value)


def test_rows_have_intervals_seeds_splits_and_seconds(evidence):
    row = evidence.rows[3]
    assert list(row.figures) == [0, 1] and row.seconds == 40
    assert row.interval.low < row.interval.mean < row.interval.high
    assert row.splits['first'] == interval_of(row.row.measured.of_clips(np.arange(100)))
    late = evidence.rows[4]
    assert late.interval is None and late.seconds is None and late.splits == {}
    assert evidence.seeds == [0, 1, 2] and evidence.clips == 400


def test_all_figures_are_json(evidence):
    content = json.loads(json.dumps(evidence.content()))
    assert content['rows'][3]['lost'] == {'2': 'killed after epoch 3: top1 0.04'}
    first = content['comparisons'][0]
    assert first['verdict'] == 'holds' and first['source'].startswith('paper') and first['mcnemar']['0']['won'] > 0
    assert content['rows'][0]['gain']['difference']['mean'] < 0 and content['lines'] == {'oracle': 0.9}
