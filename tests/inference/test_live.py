import json
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from mmav.apis import AVInferencer
from mmav.datasets.media.live.reader import LiveReader
from mmav.errors import ConfigError, MediaError
from tests.inference.models import CLASSES, config, write_model


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    return AVInferencer(*write_model(tmp_path_factory.mktemp('model'), config()), device='cpu', show_progress=False)


@pytest.fixture
def film(make_clip):
    return make_clip('live_film.mkv', seconds=4.0, fps=30, events=(0.5, 1.7), audio='pcm_s16le', keyframes=15)


def test_the_model_gets_what_it_would_get_of_the_file(inferencer, film, monkeypatch):
    items, scores = [], inferencer.scores
    monkeypatch.setattr(inferencer, 'scores', lambda given: items.extend(given) or scores(given))
    results = list(inferencer.stream(film, window=1.5, stride=0.7, topk=None, skip=False))
    assert [result['start'] for result in results] == pytest.approx([0.0, 0.7, 1.4, 2.1, 2.5], abs=1e-3)
    for result, item in zip(results, items, strict=True):
        expected = inferencer.read(str(film), start=result['start'], end=result['end'])
        assert item['masks'] == expected['masks']
        for name, value in expected['inputs'].items():
            assert torch.equal(item['inputs'][name], value)
        (values,) = scores([expected])
        assert [
            each['score'] for each in sorted(result['predictions'], key=lambda each: each['index'])
        ] == pytest.approx(values['label'].tolist(), abs=1e-6)


def test_a_result_says_how_late_it_is(inferencer, film):
    (first, *_, last) = inferencer.stream(film, skip=False)
    assert json.loads(json.dumps(first)) == first
    assert {each['label'] for each in first['predictions']} == set(CLASSES)
    assert (first['start'], first['end'], first['missing'], first['late']) == (0.0, 2.0, [], [])
    assert first['latency'] > 0 and first['behind'] >= 0 and first['error'] is None and first['gap'] is None
    assert (last['skipped_windows'], last['dropped_frames'], last['end']) == (0, 0, pytest.approx(4.0, abs=0.01))


def test_a_slow_model_gets_the_newest_window(inferencer, clip):
    """The clock of the source goes on while the caller of the generator is busy."""
    found = []
    for result in inferencer.stream(clip, window=0.25, stride=0.125):
        found.append(result)
        time.sleep(0.5)
    assert sum(result['skipped_windows'] for result in found) + len(found) >= 13
    assert len(found) <= 8 and max(result['dropped_frames'] for result in found) > 0
    assert all(one['start'] < other['start'] for one, other in pairwise(found))


def test_missing_and_withheld_modalities(inferencer, silent, blind, clip):
    (result,) = inferencer.stream(silent, skip=False)
    assert (result['present'], result['missing']) == (['video'], ['audio'])
    (result, *_) = inferencer.stream(blind, skip=False)
    assert (result['present'], result['missing']) == (['audio'], ['video'])
    (result, *_) = inferencer.stream(clip, skip=False, drop=['audio'])
    assert (result['present'], result['missing'], result['withheld']) == (['video'], [], ['audio'])


def test_a_window_that_cannot_be_read_is_one_of_many(inferencer, film, monkeypatch):
    read = inferencer.read

    def fail(source, *, start, **options):
        if start == 1.0:
            raise MediaError('film', 'is damaged')
        return read(source, start=start, **options)

    monkeypatch.setattr(inferencer, 'read', fail)
    results = list(inferencer.stream(film, window=1.0, skip=False))
    assert [result['error'] for result in results] == [None, 'is damaged', None, None]
    assert results[1]['predictions'] == [] and results[1]['missing'] == ['video', 'audio']


def test_closing_it_ends_the_reading(inferencer, monkeypatch):
    closed, close = [], LiveReader.close
    monkeypatch.setattr(LiveReader, 'close', lambda self: (close(self), closed.append(self)))
    stream = inferencer.stream('test:', window=0.5)
    next(stream)
    stream.close()
    (reader,) = closed
    assert not any(thread.is_alive() for thread in reader._threads)
    stream = inferencer.stream('test:', window=0.5)
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        stream.throw(KeyboardInterrupt)
    assert len(closed) == 2


def test_arguments_are_checked_before_anything_is_opened(inferencer, film, tmp_path, monkeypatch):
    for options, message in (
        (dict(window=3.0), 'a window of 3 s is longer than the 2 s'),
        (dict(stride=2.5), 'stride=2.5 is longer than window=2.0: parts of the stream'),
        (dict(stride=0), 'stride=0 must be above 0 seconds'),
        (dict(timeout=0), 'timeout=0 must be above 0 seconds'),
        (dict(retries=-1), 'retries=-1 must be 0 or more'),
        (dict(drop=['smell']), "cannot withhold 'smell'"),
    ):
        with pytest.raises(ConfigError, match=message):
            inferencer.stream(film, **options)
    with pytest.raises(ConfigError, match="'camera:0' does not wait for a model: leave out skip=False"):
        inferencer.stream('camera:0', skip=False)
    with pytest.raises(ConfigError, match="'camera:0' has a pace of its own"):
        inferencer.stream('camera:0', pace=True)
    with pytest.raises(ConfigError, match="'microphone:a' gives no video, and the model reads nothing else"):
        inferencer.stream('microphone:a', drop=['audio'])
    monkeypatch.setattr(inferencer.pipeline, 'transforms', inferencer.pipeline.transforms[1:])
    with pytest.raises(ConfigError, match='this pipeline has no LoadClip'):
        inferencer.stream(film)


def test_a_device_that_is_not_there(inferencer):
    with pytest.raises(MediaError, match='^camera:97: cannot be opened: No such file'):
        next(inferencer.stream('camera:97'))


def test_frames_are_held_as_small_as_the_model_reads_them(inferencer, make_clip, monkeypatch):
    path, shapes = make_clip('live_wide.mp4', seconds=2.5, size=(96, 128)), []
    read = inferencer.read
    monkeypatch.setattr(
        inferencer,
        'read',
        lambda source, **options: shapes.append(source.reader._video[0].image.shape) or read(source, **options),
    )
    assert list(inferencer.stream(path, skip=False)) and np.array_equal(shapes[0], (36, 48, 3))
