"""A row that averages two runs of one row, of different seeds: what two trainings of the same model reach together."""

from dataclasses import replace

import numpy as np
import pytest

from mmav.analysis.ablation.measuring import state
from mmav.analysis.ablation.results import NOT_RUN, PREDICTIONS, Gathered, Result
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.evaluation.comparing import SharedRuns
from mmav.evaluation.predictions import save_predictions

ONE = Row('one', 'one.py')
TWO = Row('two of it', 'two', parts=('one', 'one'))
ABLATION = Ablation('toys', (ONE, TWO), seeds=(3, 5, 8))
SCORES = {3: (0.9, 0.2), 5: (0.3, 0.6), 8: (0.8, 0.1)}


def write(folder, seed):
    place = ONE.folder(folder, seed)
    place.mkdir(parents=True)
    Result(dict(top1=0.5), 'd', seed=seed).write(place)
    rows = [
        dict(path=f'{clip}.mp4', start=0.0, end=1.0, sample_idx=clip, broken=None, label=dict(label=clip))
        | dict(scores=dict(label=np.float32([score, 1 - score])))
        for clip, score in enumerate(SCORES[seed])
    ]
    save_predictions(place / PREDICTIONS, rows)


def test_a_row_named_twice_is_averaged_over_pairs_of_seeds(tmp_path):
    for seed in ABLATION.seeds:
        write(tmp_path, seed)
    gathered = Gathered(ABLATION, [tmp_path])
    for seed, following in ((3, 5), (5, 8), (8, 3)):
        found = [row['scores']['label'][0] for row in gathered.predictions(TWO, seed)]
        np.testing.assert_allclose(found, np.mean([SCORES[seed], SCORES[following]], axis=0), rtol=1e-6)
        expected = np.mean([found[0] > 0.5, found[1] < 0.5])
        assert gathered.result(TWO, seed).figures['top1'] == pytest.approx(expected)
    one, two = state(gathered, 'top1').rows
    assert one.measured.shared is None and two.measured.shared == SharedRuns('one', ((3, 5), (5, 8), (8, 3)))


def test_both_runs_have_to_be_there(tmp_path):
    write(tmp_path, 3)
    gathered = Gathered(ABLATION, [tmp_path])
    assert gathered.why_lost(TWO, 3) == NOT_RUN
    gathered = Gathered(replace(ABLATION, seeds=(3,)), [tmp_path])  # of one seed there are no two
    assert gathered.why_lost(TWO, 3) == 'it averages runs of more seeds than 1' and gathered.result(TWO, 3) is None
    assert gathered.result(ONE, 3) is not None
