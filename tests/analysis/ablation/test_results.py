import json
from dataclasses import replace

import numpy as np
import pytest

from mmav.analysis.ablation.results import FAILED, PREDICTIONS, Gathered, Result, read_result, require_folders
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.errors import MmavError
from mmav.evaluation.predictions import save_predictions

SOUND, SIGHT = Row('sound', 'a.py'), Row('sight', 'b.py')
AVERAGE = Row('average', 'avg', parts=('sound', 'sight'))
ABLATION = Ablation('toys', (SOUND, SIGHT, AVERAGE), seeds=(0, 1))
SCORES = {SOUND: [[0.9, 0.1], [0.8, 0.2]], SIGHT: [[0.2, 0.8], [0.1, 0.9]]}
LABELS = [0, 1]


def clips(scores, labels=LABELS, names='ab'):
    return [
        dict(
            path=f'{name}.mp4',
            start=0.0,
            end=1.0,
            label=dict(label=label),
            scores=dict(label=np.float32(each)),
            broken=None,
            sample_idx=place,
        )
        for place, (name, label, each) in enumerate(zip(names, labels, scores, strict=True))
    ]


def write(folder, row, seed, *, digest='d', scores=None, **more):
    place = row.folder(folder, seed)
    place.mkdir(parents=True)
    figures = {} if more.get('killed') else dict(top1=0.5)
    Result(figures, digest, seed=seed, **more).write(place)
    save_predictions(place / PREDICTIONS, clips(SCORES[row] if scores is None else scores))


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = Result(dict(top1=0.5, ari=float('nan')), 'd', None, 1.5, 2.5, 4, True, 'a.py', ('a=1',), 3)
    result.write(tmp_path)
    found = read_result(tmp_path / 'result.json')
    assert np.isnan(found.figures['ari']) and found.figures['top1'] == 0.5  # JSON has no NaN
    assert (found.cpu_seconds, found.epochs, found.resumed, found.options, found.seed) == (1.5, 4, True, ('a=1',), 3)
    assert read_result(tmp_path / 'nothing.json') is None


@pytest.mark.parametrize('text', ['', '{', '[]', '{"top1": 0.5}', '{"figures": {"top1": "x"}, "digest": ""}'])
def test_a_broken_result(tmp_path, text):
    (tmp_path / 'result.json').write_text(text)
    with pytest.raises(MmavError, match=r"result.json' is not the result of a run: remove the file"):
        read_result(tmp_path / 'result.json')


def test_gathered_from_two_machines(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    write(one, SOUND, 0)
    write(two, SIGHT, 0)
    write(two, SOUND, 1, killed='killed after epoch 1: top1 0 < 1')
    (one / 'b_seed1').mkdir()
    (one / 'b_seed1' / FAILED).write_text('no room\n')
    found = Gathered(ABLATION, [one, two], {SOUND: 'd'})
    # probabilities are averaged: 0.55 and 0.45 for the first clip, likewise for the second
    assert found.figures() == {
        SOUND: [dict(top1=0.5), None],
        SIGHT: [dict(top1=0.5), None],
        AVERAGE: [dict(top1=1.0, top5=1.0), None],
    }
    scores = [row['scores']['label'] for row in found.predictions(AVERAGE, 0)]
    assert np.allclose(scores, np.mean([SCORES[SOUND], SCORES[SIGHT]], axis=0))
    assert found.why_lost(SOUND, 1) == 'killed after epoch 1: top1 0 < 1'
    assert found.why_lost(SIGHT, 1) == 'failed: no room'
    assert found.why_lost(AVERAGE, 1) == 'sound: killed after epoch 1: top1 0 < 1'


def test_the_same_run_twice_has_to_be_of_the_same_settings(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    write(one, SOUND, 0)
    write(two, SOUND, 0)
    found = Gathered(replace(ABLATION, seeds=(0,)), [two, one])
    assert [place for _, place in found.found.values()] == [two / 'a_seed0'] and not found.notes
    result = json.loads((two / 'a_seed0/result.json').read_text())
    (one / 'a_seed0/result.json').write_text(json.dumps(result | dict(figures=dict(top1=0.25))))
    (note,) = Gathered(replace(ABLATION, seeds=(0,)), [two, one]).notes
    assert note.endswith("one/a_seed0' has other figures than '" + f"{two}/a_seed0', which are taken")
    (two / 'a_seed0/result.json').write_text(json.dumps(result | dict(digest='e')))
    with pytest.raises(MmavError, match=r"two/a_seed0' is a run of another config .* than '.*one/a_seed0'"):
        Gathered(replace(ABLATION, seeds=(0,)), [one, two])
    with pytest.raises(MmavError, match=r"one/a_seed0' is a run .* than the config as it is now \(row 'sound'\)"):
        Gathered(replace(ABLATION, seeds=(0,)), [one], {SOUND: 'f'})


def test_seeds_of_a_row_have_to_be_of_the_same_settings(tmp_path):
    write(tmp_path, SOUND, 0)
    write(tmp_path, SOUND, 1, digest='e')
    with pytest.raises(MmavError, match='a_seed1'):
        Gathered(ABLATION, [tmp_path])


def test_a_run_without_its_predictions_says_what_to_do(tmp_path):
    write(tmp_path, SOUND, 0)
    write(tmp_path, SIGHT, 0)
    dump = tmp_path / 'a_seed0' / PREDICTIONS
    found = Gathered(replace(ABLATION, seeds=(0,)), [tmp_path])
    for spoil in (lambda: dump.write_bytes(dump.read_bytes()[:50]), dump.unlink):
        spoil()
        for row in (SOUND, AVERAGE):
            with pytest.raises(
                MmavError, match=r"a_seed0/predictions.pkl'.*; remove '.*a_seed0/result.json'.*tested again"
            ):
                found.predictions(row, 0)


def test_figures_that_are_no_numbers_do_not_differ(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    for folder in (one, two):
        write(folder, SOUND, 0)
        Result(dict(top1=0.5, ari=float('nan')), 'd').write(folder / 'a_seed0')
    assert not Gathered(replace(ABLATION, seeds=(0,)), [one, two]).notes


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(MmavError, match="--results: there is no folder '.*/typo'"):
        require_folders([tmp_path, tmp_path / 'typo'])
