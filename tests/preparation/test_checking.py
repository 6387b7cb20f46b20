"""What is wrong with clips, per row and class; what an earlier run has found is not probed again."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time

import pytest

from mmav.datasets.media.probe import Probe
from mmav.errors import ManifestError
from mmav.journal import Journal
from mmav.preparation import checking
from mmav.preparation.checking import (
    DEFECTS,
    ClipSpan,
    check_clips,
    defects_of,
    manifests_left,
    read_rows,
    write_clean,
    write_report,
)

WHOLE = dict(
    promised=10.0,
    duration=10.0,
    seconds=10.0,
    frames=250,
    fps=25.0,
    picture_end=10.0,
    motion=100.0,
    sound_end=10.0,
    peak_db=-3.0,
)


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (dict(), ()),
        (dict(error='no such file', failure='missing'), ('missing',)),
        (dict(error='Invalid data', failure='unreadable'), ('unreadable',)),
        # the words do not decide
        (dict(error='no such file', failure='unreadable'), ('unreadable',)),
        (dict(error='decoding it takes longer than 60 s', failure='timed_out'), ('timed_out',)),
        (dict(duration=9.4), ('cut_off',)),
        (dict(duration=9.6), ()),
        (dict(damaged=1), ('damaged',)),
        (dict(frames=0), ('no_picture',)),
        (dict(motion=3.0), ('frozen',)),
        (dict(sound_end=0.0), ('no_sound',)),
        (dict(peak_db=-70.0), ('silent',)),
        (dict(sound_end=9.0), ('short_sound',)),
        (dict(sound_start=1.0), ('short_sound',)),
        (dict(frames=225, picture_end=9.0, sound_end=9.0), ()),
        (dict(picture_end=1.0), ('short_picture',)),
        (dict(picture_start=1.0), ('short_picture',)),
        (dict(picture_end=1.0, sound_end=0.0), ('no_sound',)),
        (dict(picture_start=1.0, sound_start=1.0), ()),
        (dict(motion=0.0, peak_db=-200.0), ('frozen', 'silent')),
    ],
)
def test_defects(change, found):
    assert defects_of(Probe(**{**WHOLE, **change})) == found


def test_a_part_must_be_there_to_its_end():
    assert defects_of(Probe(**WHOLE), end=9.9) == ()
    assert defects_of(Probe(**WHOLE), end=11.0) == ('cut_off',)


@pytest.fixture
def folder(tmp_path, clip, silent, broken):
    for name, source in dict(a=clip, b=silent, c=broken['text']).items():
        shutil.copy(source, tmp_path / f'{name}.mp4')
    (tmp_path / 'train.csv').write_text(
        'path,start,end,label,note\n'
        'a.mp4,,,dog,"one, two"\n'
        'a.mp4,0.5,1.5,dog,\n'
        'b.mp4,,,cat,\n'
        'c.mp4,,,cat,\n'
        'd.mp4,,,cat,\n'
    )
    return tmp_path


def check(folder, **options):
    with Journal(folder / 'j.jsonl', dict()) as journal:
        found = read_rows(str(folder / 'train.csv'))
        probes = check_clips(str(folder), found.clips, journal, jobs=1, **options)
    found.defects = [defects_of(probes[clip], clip.end) for clip in found.clips]
    return found, probes


def test_a_manifest(folder):
    found, probes = check(folder)
    assert found.clips[1] == ClipSpan('a.mp4', 0.5, 1.5)
    assert found.defects == [(), (), ('no_sound',), ('unreadable',), ('missing',)]
    assert found.count() == {**dict.fromkeys(DEFECTS, 0), 'missing': 1, 'unreadable': 1, 'no_sound': 1}
    assert found.share_of_classes(['missing', 'unreadable']) == {'cat': (2, 3), 'dog': (0, 2)}
    assert write_clean(found, folder / 'clean.csv', ['missing', 'unreadable']) == 3
    assert (folder / 'clean.csv').read_text() == (
        'path,start,end,label,note\na.mp4,,,dog,"one, two"\na.mp4,0.5,1.5,dog,\nb.mp4,,,cat,\n'
    )
    write_report(folder / 'report.csv', [found], probes)
    rows = list(csv.DictReader((folder / 'report.csv').open()))
    assert [row['defects'] for row in rows] == ['', '', 'no_sound', 'unreadable', 'missing']
    assert rows[1]['start'] == '0.5' and float(rows[1]['seconds']) == 1.0 and rows[0]['label'] == 'dog'
    assert rows[3]['error'].startswith('cannot be opened')


def test_a_clip_of_several_classes_counts_for_each(folder):
    text = 'path,label\na.mp4,cat|dog\nd.mp4,dog | owl\nd.mp4,a|b\n'
    (folder / 'train.csv').write_text(text)
    (folder / 'classes.txt').write_text('cat\ndog\nowl\na|b\n')
    found, _ = check(folder)
    # a name that the class list has is one class, with whatever sign
    assert found.share_of_classes(['missing']) == {'a|b': (1, 1), 'owl': (1, 1), 'dog': (1, 2), 'cat': (0, 1)}


def test_other_manifests_of_a_folder_are_told(folder):
    (folder / 'train_balanced.csv').write_text('path,label\na.mp4,dog\n')
    (folder / 'pairs.csv').write_text('\ufefflabel, video ,audio\ndog,a.mp4,a.wav\n')
    for name in ('train_clean.csv', 'test.csv'):
        (folder / name).write_text('path,label\na.mp4,dog\n')
    (folder / 'check_report.csv').write_text('manifest,path,start,end,label,defects\n')
    (folder / 'missing.csv').write_text('split,line,id,start,end,label,expected,reason\n')
    checked = [folder / 'train.csv', folder / 'test.csv']
    assert manifests_left(folder, checked) == ['pairs.csv', 'train_balanced.csv']


def test_verbs_and_nouns_are_classes(folder):
    (folder / 'train.csv').write_text('path,verb,noun\na.mp4,cut,onion\nd.mp4,cut,cup\n')
    found, _ = check(folder)
    assert found.share_of_classes(['missing']) == {'noun: cup': (1, 1), 'verb: cut': (1, 2), 'noun: onion': (0, 1)}


def test_only_what_is_new_or_changed_is_probed_again(folder, monkeypatch):
    first, probes = check(folder)
    note = folder / 'probed.txt'
    true_probe = checking.probe

    def noting(path, *span):
        with note.open('a') as file:
            file.write(f'{path}\n')
        return true_probe(path, *span)

    monkeypatch.setattr(checking, 'probe', noting)
    again, same = check(folder)
    assert not note.exists() and again.defects == first.defects
    assert {clip: found.to_dict() for clip, found in same.items()} == {c: p.to_dict() for c, p in probes.items()}
    shutil.copy(folder / 'a.mp4', folder / 'd.mp4')
    os.utime(folder / 'b.mp4', ns=(1, 1))
    third, _ = check(folder)
    assert sorted(note.read_text().split()) == [str(folder / 'b.mp4'), str(folder / 'd.mp4')]
    assert third.defects[4] == ()


def test_a_crash_and_a_hang_are_defects_of_their_files(folder, monkeypatch):
    true_probe = checking.probe

    def harmful(path, *span):
        if path.endswith('a.mp4'):
            os.kill(os.getpid(), signal.SIGSEGV)
        if path.endswith('b.mp4'):
            time.sleep(60)
        return true_probe(path, *span)

    monkeypatch.setattr(checking, 'probe', harmful)
    found, probes = check(folder, time_limit=1.0)
    assert found.defects == [('unreadable',), ('unreadable',), ('timed_out',), ('unreadable',), ('missing',)]
    errors = {clip.path: result.error for clip, result in probes.items()}
    assert errors['a.mp4'] == 'decoding it kills the process (SIGSEGV)'
    assert errors['b.mp4'] == 'decoding it takes longer than 1 s'
    monkeypatch.setattr(checking, 'probe', true_probe)
    # what took too long is tried again with more time, and with that only
    assert check(folder, time_limit=1.0)[0].defects[2] == ('timed_out',)
    again, _ = check(folder, time_limit=20.0)
    assert again.defects == [('unreadable',), ('unreadable',), ('no_sound',), ('unreadable',), ('missing',)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('video,label\na,b\n', "row 1: no column 'path'"),
        ('path,label\na,b,c\n', 'row 2: 3 cells under a header of 2'),
        ('path,start\na,soon\n', "row 2: start 'soon' is not a time in seconds"),
    ],
)
def test_wrong_manifests(tmp_path, text, message):
    (tmp_path / 'm.csv').write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_rows(str(tmp_path / 'm.csv'))


def test_clips_of_two_files(folder, blind, monkeypatch):
    shutil.copy(blind, folder / 'e.m4a')
    rows = ['a.mp4,e.m4a,dog', 'b.mp4,,dog', ',e.m4a,cat', 'a.mp4,gone.wav,cat']
    (folder / 'train.csv').write_text('\n'.join(['video,audio,label', *rows]))
    found, probes = check(folder)
    assert found.defects == [(), ('no_sound',), ('no_picture',), ('missing',)]
    assert write_clean(found, folder / 'clean.csv', ['missing']) == 3
    assert (folder / 'clean.csv').read_text().startswith('video,audio,label\na.mp4,e.m4a,dog\nb.mp4,,dog\n')
    write_report(folder / 'report.csv', [found], probes)
    assert 'train.csv,a.mp4 + e.m4a,' in (folder / 'report.csv').read_text()
    # Either file makes it another clip.
    monkeypatch.setattr(checking, 'probe', lambda *clip: Probe(error='again', failure='unreadable'))
    os.utime(folder / 'e.m4a', ns=(1, 1))
    again, _ = check(folder)
    assert again.defects == [('unreadable',), ('no_sound',), ('unreadable',), ('missing',)]
