import json
from dataclasses import replace

import numpy as np
import pytest

from mmav.analysis.ablation.measuring import outcomes_of, state
from mmav.analysis.ablation.outcomes import Outcome, Outcomes, fingerprint, read_outcomes, write_outcomes
from mmav.analysis.ablation.results import PREDICTIONS, Gathered, Result
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.errors import MmavError
from mmav.evaluation.predictions import save_predictions

ONE, OTHER = Row('one', 'one.py'), Row('other', 'other.py')
BOTH = Row('both', 'both', parts=('one', 'other'))
ABLATION = Ablation('toys', (ONE, OTHER, BOTH), seeds=(0, 1))
PARTS = (('one', 7), ('one', 8))
LABELS = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0]  # more than a byte of clips


def write(folder, row, seed, *, digest='', count=10, broken=None):
    place = row.folder(folder, seed)
    place.mkdir(parents=True)
    Result(dict(top1=0.5, ari=float('nan')), digest or row.title, cpu_seconds=3.0, seed=seed).write(place)
    scores = np.random.default_rng([seed, len(row.title)]).random(count)
    rows = [
        dict(path=f'{clip}.mp4', start=0.0, end=1.0, sample_idx=clip, broken=broken, label=dict(label=LABELS[clip]))
        | dict(scores=dict(label=np.float32([score, 1 - score])))
        for clip, score in enumerate(scores)
    ]
    save_predictions(place / PREDICTIONS, rows)


@pytest.fixture
def kept(tmp_path):
    """Outcomes of two rows, two seeds, and their average, with what they were made from."""
    for row in (ONE, OTHER):
        for seed in (0, 1):
            write(tmp_path / 'runs', row, seed)
    gathered = Gathered(ABLATION, [tmp_path / 'runs'])
    file = tmp_path / 'outcomes.json'
    write_outcomes(outcomes_of(gathered, 'top1'), file)
    return file, state(gathered, 'top1')


def test_what_is_written_is_read(tmp_path):
    right = np.random.default_rng(0).random(1985) < 0.5
    runs = {
        ('one', 7): Outcome(right, 'd', dict(top1=0.25), 1.5),
        ('both', 7): Outcome(~right, '', dict(top1=1.0), parts=PARTS),
    }
    write_outcomes(Outcomes('top1', 'abc', 1985, dict(one='a.py', both='b'), runs), tmp_path / 'o.json')
    found = read_outcomes(tmp_path / 'o.json')
    assert (found.metric, found.clips, found.number, found.configs) == ('top1', 'abc', 1985, dict(one='a.py', both='b'))
    for key, run in runs.items():
        np.testing.assert_array_equal(found.runs[key].right, run.right)
        assert (found.runs[key].digest, found.runs[key].cpu_seconds) == (run.digest, run.cpu_seconds)
        assert found.runs[key].parts == run.parts
    assert (tmp_path / 'o.json').stat().st_size < 1500


def test_a_report_is_the_same_from_outcomes_alone(tmp_path, kept):
    file, whole = kept
    found = state(Gathered(ABLATION, [tmp_path / 'empty'], known=read_outcomes(file)), 'top1')
    for row, wanted in zip(found.rows, whole.rows, strict=True):
        np.testing.assert_array_equal(row.measured.values, wanted.measured.values)
        assert (row.measured.seeds, row.seconds, row.lost) == (wanted.measured.seeds, wanted.seconds, wanted.lost)


def test_seeds_that_are_new_are_compared_beside_known_ones(tmp_path, kept):
    file, whole = kept
    write(tmp_path / 'more', ONE, 2)
    gathered = Gathered(replace(ABLATION, seeds=(0, 1, 2)), [tmp_path / 'more'], known=read_outcomes(file))
    one, other, both = state(gathered, 'top1').rows
    assert (one.measured.seeds, other.measured.seeds, both.measured.seeds) == ((0, 1, 2), (0, 1), (0, 1))
    np.testing.assert_array_equal(one.measured.values[:2], whole.rows[0].measured.values)
    again = outcomes_of(gathered, 'top1')  # and are kept with them
    assert {seed for title, seed in again.runs if title == 'one'} == {0, 1, 2}


def test_unanswered_clips_are_told_only_where_all_seeds_tell_of_them(tmp_path, kept):
    write(tmp_path / 'more', ONE, 2, broken='cut off')
    wanted = {'of clips that could not be read': 10}
    alone = Gathered(Ablation('toys', (ONE,), seeds=(2,)), [tmp_path / 'more'])
    assert state(alone, 'top1').rows[0].unanswered == wanted
    beside = Gathered(replace(ABLATION, seeds=(0, 2)), [tmp_path / 'more'], known=read_outcomes(kept[0]))
    assert state(beside, 'top1').rows[0].unanswered == {}


def test_a_row_with_more_seeds_than_the_others(tmp_path, kept):
    more = replace(ONE, seeds=(0, 1, 2))
    write(tmp_path / 'more', more, 2)
    gathered = Gathered(replace(ABLATION, rows=(more, OTHER, BOTH)), [tmp_path / 'more'], known=read_outcomes(kept[0]))
    one, other, both = state(gathered, 'top1').rows
    assert (one.measured.seeds, other.measured.seeds, both.measured.seeds) == ((0, 1, 2), (0, 1), (0, 1))
    assert not one.lost and not other.lost  # no row lacks a seed
    assert [figures is None for figures in gathered.figures()[OTHER]] == [False, False, True]


def test_a_row_is_found_by_its_settings_whatever_it_is_called(tmp_path, kept):
    mine = Row('theirs', '../elsewhere/one.py')
    gathered = Gathered(
        Ablation('toys', (mine,), seeds=(0,)), [tmp_path / 'empty'], {mine: 'one'}, read_outcomes(kept[0])
    )
    assert gathered.result(mine, 0).figures == dict(top1=0.5)


def test_other_settings_are_refused(tmp_path, kept):
    with pytest.raises(MmavError, match=r"outcomes.json' has runs of row 'one' with another config .*: leave --known"):
        Gathered(replace(ABLATION, seeds=(0,)), [tmp_path / 'empty'], {ONE: 'changed'}, read_outcomes(kept[0]))


def test_another_metric_or_test_list_is_refused(tmp_path, kept):
    gathered = Gathered(ABLATION, [tmp_path / 'empty'], known=read_outcomes(kept[0]))
    with pytest.raises(MmavError, match=r"knows which clips are right by 'top1', not by 'top5'"):
        state(gathered, 'top5')
    write(tmp_path / 'fewer', ONE, 2, count=9)
    gathered = Gathered(replace(ABLATION, seeds=(0, 2)), [tmp_path / 'fewer'], known=read_outcomes(kept[0]))
    with pytest.raises(MmavError, match='of another test list'):
        state(gathered, 'top1')
    assert fingerprint([(0, 'a')]) != fingerprint([(0, 'b')])


@pytest.mark.parametrize('change', [dict(what='else'), dict(rows={'one': {}}), dict(clips={'number': 3, 'list': ''})])
def test_what_is_no_file_of_outcomes(kept, change):
    file, _ = kept
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(
        MmavError, match=r"outcomes.json' has no outcomes of an ablation that can be read: write it anew"
    ):
        read_outcomes(file)
    with pytest.raises(MmavError, match=r'is not there: give a file that --keep has written'):
        read_outcomes(file.with_name('none.json'))
