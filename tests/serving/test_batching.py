import threading

import numpy as np
import pytest
import torch

from mmav.serving.batching import Batcher, Window


class Model:
    """Notes its batches; its scores are the first number of each input."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()

    def __call__(self, items):
        self.go.wait(5)
        numbers = [float(item['inputs']['video'].flatten()[0]) for item in items]
        self.batches.append(numbers)
        if -1.0 in numbers:
            raise RuntimeError('no such number')
        return [dict(label=np.array([number])) for number in numbers]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    found = Batcher(model, size=4, wait=0.3)
    found.start()
    yield found
    model.go.set()
    if found._thread.is_alive():
        found.stop()


def window(number, got, size=1, dropped=lambda: False):
    item = dict(inputs=dict(video=torch.full((size,), float(number))))
    return Window(item, lambda scores: got.append((number, scores)), dropped)


def test_windows_of_all_requests_share_batches_in_order(batcher, model):
    got = []
    model.go.set()
    for number in range(4):
        assert batcher.put(window(number, got))
    batcher.stop()
    assert model.batches == [[0, 1, 2, 3]] and [scores['label'][0] for _, scores in got] == [0, 1, 2, 3]


def test_dropped_windows_are_not_computed(batcher, model):
    got, gone = [], threading.Event()
    for number in range(3):
        batcher.put(window(number, got, dropped=gone.is_set if number == 1 else lambda: False))
    gone.set()
    model.go.set()
    assert not batcher.put(window(9, got, dropped=lambda: True))
    batcher.put(window(3, got))
    batcher.stop()
    assert [number for number, _ in got] == [0, 2, 3]


def test_a_failure_and_other_shapes_stay_apart(batcher, model):
    got = []
    model.go.set()
    for number, size in ((0, 1), (-1, 2), (2, 1)):
        batcher.put(window(number, got, size))
    batcher.stop()
    found = dict(got)
    assert isinstance(found[-1], RuntimeError) and found[0]['label'] == 0 and found[2]['label'] == 2
    assert sorted(model.batches) == [[-1], [0, 2]]


def test_a_failure_behind_the_model_costs_one_answer(batcher, model, caplog):
    got = []
    model.go.set()
    batcher.put(window(0, got)._replace(done=lambda scores: 1 / 0))
    batcher.put(window(1, got))
    batcher.stop()
    assert [number for number, _ in got] == [1] and 'an answer failed' in caplog.text


def test_readers_wait_while_the_model_is_busy(batcher, model):
    """So that what is read and waits does not fill the memory."""
    got, put = [], []
    threading.Thread(target=lambda: put.extend(batcher.put(window(k, got)) for k in range(20)), daemon=True).start()
    batcher._thread.join(0.6)
    assert len(put) <= 4 + 8  # a batch, and two that wait
    model.go.set()
    while len(got) < 20:
        batcher._thread.join(0.02)
    assert max(map(len, model.batches)) == 4
