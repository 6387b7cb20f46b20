"""What the test says: accuracies with intervals, classes, mistakes, and the advice that follows from them."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.analysis.folder.results import advice, read_results
from mmav.errors import MmavError
from mmav.evaluation.intervals import accuracy_interval
from mmav.evaluation.predictions import save_predictions

CLASSES = ['cat', 'dog', 'owl']


@pytest.fixture
def results(tmp_path):
    """Of dumps: name -> pairs of label and guess; ``files`` of the clips."""

    def make(files=None, **dumps):
        for name, pairs in dumps.items():
            rows = [
                dict(path=f'f{k if files is None else k % files}.mp4', start=0.0, end=1.0, label=label, sample_idx=k,
                     scores=np.eye(3, dtype=np.float32)[guess] * (0.5 + k / 1000) + 0.1, broken=None)
                for k, (label, guess) in enumerate(pairs)
            ]  # fmt: skip
            save_predictions(tmp_path / f'{name}.pkl', rows, CLASSES)
        return read_results({name: tmp_path / f'{name}.pkl' for name in dumps})

    return make


def test_figures(results):
    found = results(both=[(0, 0), (0, 1), (1, 1), (2, 2)], audio=[(0, 0), (0, 0), (1, 0), (2, 0)])
    both, audio = found.figures()
    assert (both.name, both.right, both.clips, both.accuracy) == ('both', 3, 4, 0.75)
    assert (both.low, both.high) == accuracy_interval(3, 4) and str(both).startswith('75.0% (95 % interval 30.1%')
    assert audio.accuracy == 0.5 == found.guessing


def test_windows_of_a_file_count_as_a_file(results):
    pairs = [(k % 3, k % 3 if k % 4 else 0) for k in range(60)]
    many, few = results(both=pairs).figures()[0], results(both=pairs, files=6).figures()[0]
    assert many.accuracy == few.accuracy and few.high - few.low > 2 * (many.high - many.low)
    assert (few.low, few.high) == pytest.approx(accuracy_interval(6 * few.accuracy, 6))


def test_classes_come_worst_first(results):
    rows = results(both=[(0, 0), (0, 0), (1, 1), (1, 2), (1, 2), (1, 0)]).classes()
    assert [(row['name'], row['right'], row['clips']) for row in rows] == [('dog', 1, 4), ('cat', 2, 2)]
    assert rows[0]['taken_for'] == [('owl', 2), ('cat', 1)]


def test_mistakes_are_the_surest_one_a_file(results):
    found = results(both=[(0, 0), (0, 1), (1, 0), (2, 2), (2, 1), (1, 0)], files=3)
    assert found.mistakes(9) == [5, 4] and found.mistakes(1) == [5]
    assert results(both=[(0, 0)]).mistakes(9) == []


def test_both_are_needed(tmp_path):
    with pytest.raises(MmavError, match='no predictions of both, only of audio'):
        read_results(dict(audio=tmp_path / 'a.pkl'))


def of(results, training=None, reached=5, epochs=10):
    return ' '.join(advice(results, training or dict.fromkeys(CLASSES, 50), reached=reached, epochs=epochs))


def test_advice_follows_from_the_results(results):
    good = [(k % 3, k % 3 if k % 20 else 1) for k in range(300)]
    assert of(results(both=good)) == ''
    assert 'training longer is likely to help' in of(results(both=good), reached=10)
    assert "'dog' has 2 training clips, the largest 50" in of(results(both=good), dict(cat=50, dog=2, owl=50))
    luck = [(k % 3, 0) for k in range(300)]
    assert 'has learned little yet' in of(results(both=luck)) and 'More clips of' not in of(results(both=luck))
    few = [(k % 3, k % 3 if k else 1) for k in range(12)]
    assert 'The test has 12 clips only' in of(results(both=few))
    weak = [(k % 3, k % 3 if k % 3 or k % 2 else 2) for k in range(300)]
    assert (
        "More clips of 'cat' would help most: it has 50 for training, and 50 of 100 are right in the test; it is "
        in of(results(both=weak))
    )
    assert 'Audio alone is better than both together: try --modalities audio' in of(results(both=weak, audio=good))
