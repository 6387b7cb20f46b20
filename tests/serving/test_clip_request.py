from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmav.serving.clip_request import ClipRequest
from mmav.serving.limits import Refusal
from mmav.serving.reading import ClipJob


def message(start=0.0):
    sample = SimpleNamespace(start=start, end=start + 1)
    return dict(item=dict(masks=dict(video=torch.tensor(True)), data_samples=sample, inputs={}))


def scores(value=0.5):
    return dict(label=np.array([value, 1 - value]))


def test_scores_may_come_in_any_order():
    request = ClipRequest(ClipJob('a'), seconds=9)
    numbers = [request.expect() for _ in range(3)]
    assert not request.scored(numbers[2], message(2.0), scores()) and not request.scored(
        numbers[0], message(), scores()
    )
    assert not request.all_read() and request.scored(numbers[1], message(1.0), scores())
    assert [request.windows[k][0]['data_samples'].start for k in sorted(request.windows)] == [0.0, 1.0, 2.0]
    assert all('inputs' not in item for item, _ in request.windows.values())


def test_numbers_are_different_whatever_comes_first():
    request = ClipRequest(ClipJob('a'), seconds=9)
    first = request.expect()
    request.scored(first, message(), scores())
    assert request.expect() != first


@pytest.mark.parametrize('wrong', [RuntimeError('a secret'), scores(float('nan'))])
def test_failures_of_the_model(wrong):
    request = ClipRequest(ClipJob('a'), seconds=9)
    assert not request.scored(request.expect(), message(), wrong)
    with pytest.raises(Refusal, match='internal.*The model failed on this clip'):
        request.answer.result(0)


def test_the_first_answer_counts():
    request = ClipRequest(ClipJob('a'), seconds=9)
    assert not request.gone()
    request.drop()
    request.finish({})
    request.refuse('internal', 'x')
    assert request.gone() and request.answer.exception().code == 'timeout'
    assert ClipRequest(ClipJob('a'), seconds=-1).gone()
