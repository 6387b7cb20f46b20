import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from mmav.datasets import AVDataset
from mmav.evaluation.localization import read_events
from mmav.preparation.avsynth import SOUND_EVENTS, SPLITS, VISUAL_EVENTS, AVSynthSpec, generate
from mmav.preparation.avsynth.generate import render_clip
from tests.toys import tool_environment

SMALL = {'train': 32, 'val': 16, 'test': 16, 'size': 32, 'seconds': 1.0, 'progress': False}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('avsynth') / 'pair'
    assert generate(out, jobs=1, **SMALL)
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_lists_and_files(dataset: Path) -> None:
    classes = (dataset / 'classes.txt').read_text().splitlines()
    assert len(classes) == 16
    events = {row['path']: row for row in _rows(dataset / 'events.csv')}
    boxes = _rows(dataset / 'boxes.csv')
    assert len(boxes) == 64 * 12
    for split in SPLITS:
        rows = _rows(dataset / f'{split}.csv')
        assert len(rows) == SMALL[split]
        assert Counter(row['label'] for row in rows) == dict.fromkeys(classes, SMALL[split] // 16)
        for row in rows:
            assert (dataset / row['path']).stat().st_size > 1000
            event = events[row['path']]
            assert row['label'] == f'{event["visual"]}+{event["sound"]}'
    meta = json.loads((dataset / 'meta.json').read_text())
    assert (meta['generator'], meta['task'], meta['train'], meta['fps']) == ('avsynth', 'pair', 32, 12)
    assert not [path for path in dataset.rglob('*') if path.name.endswith('.part') or path.name == 'unfinished.json']


def test_lists_describe_the_clips(dataset: Path) -> None:
    spec = AVSynthSpec(**{key: value for key, value in SMALL.items() if key != 'progress'})
    video, audio = render_clip(spec, 'val', 3)
    path = spec.clip_path('val', 3)
    with av.open(str(dataset / path)) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert np.abs(np.stack(frames) - video.frames.astype(float)).mean() < 12
    row = next(row for row in _rows(dataset / 'events.csv') if row['path'] == path)
    assert float(row['onset']) == pytest.approx(audio.onset, abs=1e-4)
    boxes = [row for row in _rows(dataset / 'boxes.csv') if row['path'] == path]
    written = np.array([[float(row[corner]) for corner in ('x0', 'y0', 'x1', 'y1')] for row in boxes])
    np.testing.assert_allclose(written, video.boxes, atol=1e-4)
    union = np.array([float(row[corner]) for corner in ('x0', 'y0', 'x1', 'y1')])
    np.testing.assert_allclose(union, [*written[:, :2].min(axis=0), *written[:, 2:].max(axis=0)], atol=1e-6)


def test_number_of_jobs_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path / 'two', jobs=2, **SMALL)
    assert _bytes(tmp_path / 'two') == _bytes(dataset)


def test_parity_has_the_same_clips(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path, task='parity', **SMALL)
    assert (tmp_path / 'classes.txt').read_text().split() == ['sum0', 'sum1', 'sum2', 'sum3']
    assert Counter(row['label'] for row in _rows(tmp_path / 'train.csv')) == {f'sum{i}': 8 for i in range(4)}
    for name in ('clips/train/00005.mp4', 'events.csv', 'boxes.csv'):
        assert (tmp_path / name).read_bytes() == (dataset / name).read_bytes()


def test_action_has_the_same_clips_and_two_labels(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path, task='action', **SMALL)
    assert not (tmp_path / 'classes.txt').exists()
    assert (tmp_path / 'verbs.txt').read_text().split() == list(VISUAL_EVENTS[:4])
    assert (tmp_path / 'nouns.txt').read_text().split() == list(SOUND_EVENTS[:4])
    events = {row['path']: row for row in _rows(tmp_path / 'events.csv')}
    rows = _rows(tmp_path / 'train.csv')
    assert all(
        (row['verb'], row['noun']) == (events[row['path']]['visual'], events[row['path']]['sound']) for row in rows
    )
    assert len({(row['verb'], row['noun']) for row in rows}) == 16
    for name in ('clips/train/00005.mp4', 'events.csv', 'boxes.csv'):
        assert (tmp_path / name).read_bytes() == (dataset / name).read_bytes()
    (tmp_path / 'nouns.txt').unlink()
    assert generate(tmp_path, task='action', **SMALL)  # it is not complete without
    assert (tmp_path / 'nouns.txt').exists()


def test_several_events_at_once(tmp_path: Path) -> None:
    small = SMALL | {'train': 10, 'val': 3, 'test': 1}
    generate(tmp_path, task='events', jobs=1, **small)
    classes = (tmp_path / 'classes.txt').read_text().split()
    assert classes == [f'{v}+{s}' for v, s in zip(VISUAL_EVENTS, SOUND_EVENTS, strict=True)]
    events = {row['path']: row for row in _rows(tmp_path / 'events.csv')}
    sounds: dict[str, list[dict[str, str]]] = {path: [] for path in events}
    for row in _rows(tmp_path / 'sounds.csv'):
        sounds[row['path']].append(row)
    for row in _rows(tmp_path / 'train.csv'):
        event = events[row['path']]
        seen, heard = ([name for name in event[key].split('|') if name] for key in ('visual', 'sound'))
        there = {VISUAL_EVENTS.index(name) for name in seen} | {SOUND_EVENTS.index(name) for name in heard}
        assert [classes.index(name) for name in row['label'].split('|')] == sorted(there)
        assert [sound['sound'] for sound in sounds[row['path']]] == heard
        if heard:
            assert event['onset'] == min(sound['onset'] for sound in sounds[row['path']])
            assert event['offset'] == max(sound['offset'] for sound in sounds[row['path']])
        else:
            assert float(event['onset']) == float(event['offset']) == 0
    data = AVDataset('train.csv', [], data_root=str(tmp_path), multi_label=True)
    assert len(data) == 10 and all(1 <= len(data.get_data_info(k)['label']['label']) <= 4 for k in range(10))
    assert len(read_events(tmp_path)) == 14
    assert not generate(tmp_path, task='events', **small)
    (tmp_path / 'sounds.csv').unlink()
    assert generate(tmp_path, task='events', jobs=1, **small)  # it is not complete without
    assert (tmp_path / 'sounds.csv').exists()
    generate(tmp_path, task='match', jobs=1, force=True, **SMALL)
    assert not (tmp_path / 'sounds.csv').exists()


def test_complete_dataset_is_left_alone(dataset: Path) -> None:
    before = (dataset / 'clips/train/00000.mp4').stat().st_mtime_ns
    assert not generate(dataset, **SMALL)
    assert (dataset / 'clips/train/00000.mp4').stat().st_mtime_ns == before


def test_missing_clip_is_made_again(tmp_path: Path) -> None:
    generate(tmp_path, **SMALL)
    lost = tmp_path / 'clips/val/00002.mp4'
    content = lost.read_bytes()
    lost.unlink()
    assert generate(tmp_path, **SMALL)
    assert lost.read_bytes() == content


def test_a_list_that_was_changed_is_kept(tmp_path: Path) -> None:
    out = tmp_path / 'd'
    small = SMALL | {'train': 16}
    generate(out, jobs=1, **small)
    (out / 'train.csv').write_text('path,label\nmine.mp4,0\n')
    assert not generate(out, jobs=1, **small)
    (out / 'clips' / 'val' / '00003.mp4').unlink()
    with pytest.raises(FileExistsError, match=r'train\.csv was changed since .* move the file away'):
        generate(out, jobs=1, **small)
    assert 'mine.mp4' in (out / 'train.csv').read_text()
    (out / 'train.csv').unlink()
    assert generate(out, jobs=1, **small) and len(_rows(out / 'train.csv')) == 16
    # nor does a dataset built anew take a file of another name with it
    (out / 'clips' / 'val' / 'mine.mp4').write_bytes(b'mine')
    assert generate(out, jobs=1, force=True, **small | {'test': 32})
    assert (out / 'clips' / 'val' / 'mine.mp4').read_bytes() == b'mine' and len(_rows(out / 'test.csv')) == 32


def test_other_parameters_are_refused_unless_forced(tmp_path: Path) -> None:
    generate(tmp_path, **SMALL)
    with pytest.raises(FileExistsError, match=r'task is .pair. there and .parity. here; seed is 0 there and 1 here'):
        generate(tmp_path, task='parity', seed=1, **SMALL)
    assert generate(tmp_path, task='parity', seed=1, force=True, **SMALL)
    assert json.loads((tmp_path / 'meta.json').read_text())['seed'] == 1


@pytest.mark.parametrize('force', [False, True])
def test_foreign_folder_is_never_touched(tmp_path: Path, force: bool) -> None:
    (tmp_path / 'clips').mkdir()
    (tmp_path / 'clips' / 'holiday.mp4').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='not an AVSynth dataset'):
        generate(tmp_path, force=force, **SMALL)
    assert _bytes(tmp_path) == {'clips/holiday.mp4': b'mine'}


def test_killed_run_is_incomplete_and_continues(tmp_path: Path) -> None:
    out, whole = tmp_path / 'killed', tmp_path / 'whole'
    counts = SMALL
    code = f'from mmav.preparation.avsynth import generate; generate({str(out)!r}, jobs=1, **{counts!r})'
    process = subprocess.Popen([sys.executable, '-c', code], env=tool_environment())
    deadline = time.monotonic() + 60
    while process.poll() is None and len(list(out.glob('clips/train/*.mp4'))) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    made = sorted(out.glob('clips/*/*.mp4'))
    assert 4 <= len(made) < 64
    assert not (out / 'meta.json').exists()
    assert not (out / 'train.csv').exists()

    times = [path.stat().st_mtime_ns for path in made]
    with pytest.raises(FileExistsError, match='fps is 12 there and 24 here'):
        generate(out, fps=24, **counts)
    assert generate(out, **counts)
    assert [path.stat().st_mtime_ns for path in made] == times
    generate(whole, **counts)
    assert _bytes(out) == _bytes(whole)


def test_jobs_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='jobs is 0'):
        generate(tmp_path, jobs=0, **SMALL)
