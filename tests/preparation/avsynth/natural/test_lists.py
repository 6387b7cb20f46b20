import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest

from mmav.evaluation.localization import read_events
from mmav.preparation.avsynth import NaturalSpec, generate
from mmav.preparation.avsynth.natural.lists import natural_examples, render_natural_clip

SMALL = {'task': 'natural', 'train': 64, 'val': 32, 'test': 32, 'size': 32, 'seconds': 1.0, 'progress': False}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('avsynth') / 'natural'
    assert generate(out, jobs=1, **SMALL)
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_lists_say_what_the_clips_are(dataset: Path) -> None:
    spec = NaturalSpec(**{key: value for key, value in SMALL.items() if key != 'progress'})
    classes = (dataset / 'classes.txt').read_text().split()
    events, evidence = ({row['path']: row for row in _rows(dataset / f'{name}.csv')} for name in ('events', 'evidence'))
    assert len(classes) == 32 and len(events) == len(evidence) == 128
    states = set()
    for index, row in enumerate(_rows(dataset / 'train.csv')):
        seen, heard = spec.evidence('train', index)
        assert row == dict(path=spec.clip_path('train', index), label=classes[spec.label('train', index)])
        given, names = evidence[row['path']], events[row['path']]
        assert (given['video'], given['audio']) == (seen.state, heard.state)
        assert (given['video_ambiguous'], given['audio_ambiguous']) == (
            str(int(seen.ambiguous)),
            str(int(heard.ambiguous)),
        )
        assert float(given['audio_tempo']) == pytest.approx(heard.tempo, abs=1e-4)
        for state, name, whole in zip(
            (seen, heard), (names['visual'], names['sound']), row['label'].split('+'), strict=True
        ):
            if state.state == 'on-class':
                assert name == (whole.split('_')[0] if state.ambiguous else whole)
            else:
                assert (name == '') == (state.event is None) and name != whole
        states |= {seen.state, heard.state}
    assert {'on-class', 'other', 'distractor'} <= states
    assert len(read_events(dataset)) == 128  # what Grad-CAM is judged by
    assert json.loads((dataset / 'meta.json').read_text())['best']['both'] == pytest.approx(0.9545)


def test_files_hold_the_clips(dataset: Path) -> None:
    spec = NaturalSpec(**{key: value for key, value in SMALL.items() if key != 'progress'})
    absent = 0
    for index, given in enumerate(_rows(dataset / 'evidence.csv')[:64]):
        with av.open(str(dataset / given['path'])) as container:
            assert bool(container.streams.audio) == (given['audio'] != 'absent')
            absent += given['audio'] == 'absent'
            if index == 3:
                frames = np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])
                error = np.abs(frames - render_natural_clip(spec, 'train', index)[0].frames.astype(float)).mean()
                assert frames.shape == (8, 32, 32, 3) and error < 15
    assert absent


def test_a_second_call_finds_it_complete_and_others_are_refused(dataset: Path) -> None:
    before = (dataset / 'evidence.csv').stat().st_mtime_ns
    assert not generate(dataset, **SMALL) and (dataset / 'evidence.csv').stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match=r'ambiguous is 0\.2 there and 0\.3 here'):
        generate(dataset, **SMALL, ambiguous=0.3)
    with pytest.raises(ValueError, match="the task 'natural' has no num_events: leave it out"):
        generate(dataset, **SMALL, num_events=4)


def test_examples_are_one_of_each_kind(dataset: Path) -> None:
    events, evidence = _rows(dataset / 'events.csv'), _rows(dataset / 'evidence.csv')
    examples = natural_examples(events, evidence)
    kinds = {row['path']: (row['video'], row['audio']) for row in evidence}
    assert next(kinds[row['path']] for row in examples) == ('on-class', 'on-class')
    assert 'distractor' in {row['visual'] for row in examples}
    assert any(row['visual'].endswith('\n(other)') for row in examples)
