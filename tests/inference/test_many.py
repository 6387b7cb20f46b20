import json
import threading

import fsspec
import pytest

from mmav.apis import AVInferencer
from mmav.datasets.media.remote_file import Patience
from mmav.inference import many
from mmav.inference.many import classify_many, fetch_ahead, settings_of
from mmav.inference.row_files import open_rows
from tests.inference.models import config, write_model


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'), config())


@pytest.fixture(scope='module')
def inferencer(files):
    return AVInferencer(*files, device='cpu', show_progress=False)


@pytest.fixture
def clips(server, clip, silent, broken):
    """Addresses and paths, and which of them can be read."""
    server.files.update({'a.mp4': clip.read_bytes(), 'b.mp4': silent.read_bytes(), 'text.mp4': b'A page'})
    fsspec.filesystem('memory').pipe('/many/c.mp4', clip.read_bytes())
    good = [server.address('well', 'a.mp4'), 'memory://many/c.mp4', str(clip), server.address('slowly', 'b.mp4')]
    bad = [
        server.address('cut', 'a.mp4'),
        str(broken['missing']),
        str(broken['folder']),
        server.address('well', 'text.mp4'),
    ]
    return [clip for pair in zip(good, bad, strict=True) for clip in pair], good


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_those_of_the_inferencer(inferencer, clips, clip, silent, tmp_path):
    names, good = clips
    quick = Patience(tries=2, sleep=lambda seconds: None)
    with open_rows(tmp_path / 'a.jsonl', {}) as out:
        count = classify_many(inferencer, names, out, patience=quick, batch_size=3, workers=3, show_progress=False)
    assert count == (8, 0, 4)
    rows = rows_of(tmp_path / 'a.jsonl')
    assert [row['path'] for row in rows] == names
    assert [row['path'] for row in rows if row['error'] is None] == good
    seen, blind = inferencer([str(clip), str(silent)])
    for row in rows:
        if row['error'] is None:
            expected = blind if 'b.mp4' in row['path'] else seen
            assert row['predictions'][0]['label'] == expected['predictions'][0]['label']
            assert row['predictions'][0]['score'] == pytest.approx(expected['predictions'][0]['score'], abs=1e-6)
    reasons = {row['path']: row['error'] for row in rows}
    assert reasons[names[3]] == 'no such file' and reasons[names[5]] == 'is a folder, not a file'


@pytest.mark.parametrize('name', ['a.jsonl', 'a.parquet'])
def test_a_run_that_died_goes_on(inferencer, clip, tmp_path, monkeypatch, name):
    names = [str(clip)] * 1 + [f'gone{k}.mp4' for k in range(7)]
    monkeypatch.setattr('mmav.inference.row_files.PART_ROWS', 2)
    calls = []

    def die(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rows(*args)

    rows = many._rows
    monkeypatch.setattr(many, '_rows', die)
    settings = dict(show_progress=False, batch_size=2)
    with pytest.raises(KeyboardInterrupt), open_rows(tmp_path / name, {}) as out:
        classify_many(inferencer, names, out, **settings)
    with open_rows(tmp_path / name, {}) as out:
        assert [row['path'] for row in out.rows()] == names[:4]
        assert classify_many(inferencer, names, out, **settings) == (8, 4, 7)
    with open_rows(tmp_path / name, {}) as out:
        assert [row['path'] for row in out.rows()] == names
        assert classify_many(inferencer, names, out, retry_failed=True, **settings) == (8, 1, 7)
    with open_rows(tmp_path / name, {}) as out:
        assert sorted(row['path'] for row in out.rows()) == sorted(names)


def test_only_so_many_are_fetched_at_a_time(monkeypatch):
    lock, now, most = threading.Lock(), [0], [0]
    go_on = threading.Event()

    def read(self):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        go_on.wait(0.05)
        with lock:
            now[0] -= 1
        return b'x'

    monkeypatch.setattr(many.RemoteFile, 'read', read)
    fetched = fetch_ahead([f'http://h/{k}.mp4' for k in range(30)], workers=3)
    assert [each.name for each in fetched] == [f'http://h/{k}.mp4' for k in range(30)]
    assert most[0] <= 3


def test_settings_tell_models_apart(inferencer, files, tmp_path):
    one = settings_of(inferencer, str(files[1]), topk=5)
    assert one == settings_of(AVInferencer(*files, device='cpu', show_progress=False), str(files[1]), topk=5)
    other = write_model(tmp_path, config(views=2), seed=1)
    two = settings_of(AVInferencer(*other, device='cpu', show_progress=False), str(other[1]), topk=4)
    assert {name for name in one if one[name] != two[name]} == {'config', 'checkpoint', 'topk'}
