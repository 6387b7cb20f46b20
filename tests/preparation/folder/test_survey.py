"""What is said of a folder's files: which can be used, for which modalities, and what is doubtful about which."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmav.datasets.media.probe import Probe
from mmav.errors import MmavError
from mmav.journal import Journal
from mmav.preparation.folder.listing import ListedClip, Listing, list_folder
from mmav.preparation.folder.survey import Problem, Survey, look

WHOLE = Probe(
    promised=2.0, duration=2.0, seconds=2.0, height=48, width=64, fps=10.0, frames=20, picture_end=2.0, motion=99.0,
    sample_rate=16000, channels=1, sound_end=2.0, peak_db=-3.0,
)  # fmt: skip
BROKEN = Probe(error='Invalid data', failure='unreadable')
SILENT = replace(WHOLE, peak_db=-90.0)
BLIND = replace(WHOLE, frames=0, height=0, width=0, motion=0.0, picture_end=0.0)
MUTE = replace(WHOLE, sound_end=0.0, sample_rate=0, channels=0, peak_db=-200.0)


def survey_of(probes, copies=(), label='x'):
    clips = [ListedClip(path, path.split('/')[0], None) for path in probes]
    return Survey(Listing(Path('root'), '', clips, ('x', 'y')), dict(probes), [*map(list, copies)])


def several(**kinds):
    """Paths of so many files of each kind."""
    found = dict(whole=WHOLE, broken=BROKEN, silent=SILENT, blind=BLIND, mute=MUTE)
    return survey_of({f'x/{kind}{k}': found[kind] for kind, number in kinds.items() for k in range(number)})


@pytest.mark.parametrize(
    ('kinds', 'expected'),
    [
        (dict(whole=5), ('video', 'audio')),
        (dict(whole=1, mute=3), ('video', 'audio')),
        # one in ten is not enough to learn from
        (dict(whole=1, mute=9), ('video',)),
        (dict(blind=5, broken=1), ('audio',)),
        (dict(mute=4), ('video',)),
        (dict(whole=1, silent=9), ('video', 'audio')),
    ],
)
def test_modalities_are_those_that_enough_files_have(kinds, expected):
    names, why = several(**kinds).modalities()
    assert names == expected and 'files have audio' in why


def test_modalities_can_be_asked_for():
    assert several(whole=3).modalities(['audio']) == (('audio',), 'as asked for with --modalities')
    assert several(silent=3).modalities(['video'])[0] == ('video',)
    with pytest.raises(MmavError, match=r"--modalities audio: no file in 'root' has audio"):
        several(mute=3).modalities(['audio'])


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(MmavError, match=r"none of the 3 media files in 'root' can be read, such as x/broken0: Invalid"):
        several(broken=3).modalities()
    with pytest.raises(MmavError, match=r'all 4 files in .* are silent .*-60 dB\): train on video alone with --modal'):
        several(silent=4, mute=1).modalities()
    sounds = survey_of({'x/a': replace(BLIND, peak_db=-99.0)})
    with pytest.raises(MmavError, match=r'are silent .*: record them again'):
        sounds.modalities()


def test_problems_are_named_the_worst_first():
    high, long = replace(WHOLE, height=64, width=48), replace(WHOLE, duration=600.0, promised=600.0, seconds=600.0)
    probes = {'x/a': WHOLE, 'x/b': high, 'x/c': WHOLE, 'y/d': WHOLE, 'y/e': BROKEN, 'x/f': SILENT, 'y/g': WHOLE}
    survey = survey_of({**probes, 'y/h': replace(long, picture_end=600.0, sound_end=600.0)}, [['x/a', 'x/c', 'y/d']])
    assert survey.problems() == [
        Problem('unreadable', 'y/e', 'Invalid data'),
        Problem('silent', 'x/f'),
        Problem('two_classes', 'x/c', 'as x/a'),
        Problem('two_classes', 'y/d', 'as x/a'),
        Problem('vertical', 'x/b', '48 x 64'),
        Problem('long', 'y/h', '600 s'),
    ]
    assert [problem.kind for problem in survey.problems(['video'])].count('silent') == 0
    assert {problem.kind for problem in survey.problems(['audio'])} == {'unreadable', 'silent', 'two_classes', 'long'}


def test_what_becomes_of_a_defect():
    survey = several(whole=2)
    assert [survey.is_left_out(kind) for kind in ('unreadable', 'copy', 'silent')] == [True, True, False]
    survey.listing.given['train'] = Path('train.csv')
    assert not survey.is_left_out('copy')


def test_ranges_are_words():
    probes = {f'x/{k}': replace(WHOLE, duration=float(k), fps=25.0) for k in (1, 2, 9)}
    assert dict(survey_of({**probes, 'x/e': MUTE}).ranges()) == {
        'length': '1 to 9 s, half below 2',
        'frame rate': '10 to 25 fps, half below 25',
        'size': '64 x 48',
        'sample rate': '16 kHz',
        'channels': '1',
    }


def test_a_length_is_that_of_the_span():
    survey = several(whole=1)
    spans = [(None, None), (0.5, None), (None, 1.5), (0.5, 9.0), (3.0, 4.0)]
    assert [survey.length('x/whole0', *span) for span in spans] == [2.0, 1.5, 1.5, 1.5, 0.0]


def test_real_files_are_decoded_once(tmp_path, clip, silent, broken, monkeypatch):
    for name, source in {
        'a/1.mp4': clip,
        'a/2.mp4': silent,
        'b/3.mp4': broken['text'],
        'b/4.mp4': clip,
        'b/5.mp4': broken['text'],
    }.items():
        (tmp_path / 'clips' / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / 'clips' / name)
    listing = list_folder(tmp_path / 'clips')
    with Journal(tmp_path / 'j', {}) as journal:
        survey = look(listing, journal, jobs=1)
    assert survey.readable == ['a/1.mp4', 'a/2.mp4', 'b/4.mp4'] and survey.copies == [['a/1.mp4', 'b/4.mp4']]
    assert survey.probes['a/1.mp4'].has_audio and not survey.probes['a/2.mp4'].has_audio

    def never(*_, **__):
        raise AssertionError('decoded again')

    monkeypatch.setattr('mmav.preparation.checking._probe', never)
    with Journal(tmp_path / 'j', {}) as journal:
        assert look(listing, journal, jobs=1).probes == survey.probes
