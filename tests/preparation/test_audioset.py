from __future__ import annotations

import csv
import json
import re

import pytest

from mmav.class_names import read_classes
from mmav.errors import ManifestError
from mmav.preparation.annotations import read_labels
from mmav.preparation.audioset import find_lists, read_audioset, read_class_order, read_ontology
from mmav.preparation.manifests import dry_run, prepare

# the official form, rows of the official lists among them
HEADER = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882
# YTID, start_seconds, end_seconds, positive_labels
"""
BALANCED = (
    HEADER
    + """\
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
--ZhevVpy1s, 50.000, 60.000, "/m/012xff"
AE5oZzfu2-E, 239.800, 249.800, "/m/0326g"
"""
)
UNBALANCED = (
    HEADER
    + """\
---1_cCGK4M, 0.000, 10.000, "/m/01g50p,/m/0284vy3,/m/06d_3,/m/07jdr,/m/07rwm0c"
--ZhevVpy1s, 50.000, 60.000, "/m/012xff"
"""
)
EVAL = (
    HEADER
    + """\
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"
--i-y1v8Hy8, 0.000, 9.000, "/m/04rlf,/m/09x0r,/t/dd00004,/t/dd00005"
"""
)
OFFICIAL = dict(zip(read_labels('audioset_ids'), read_labels('audioset'), strict=True))


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / 'lists'
    folder.mkdir()
    for name, text in (('balanced_train', BALANCED), ('unbalanced_train', UNBALANCED), ('eval', EVAL)):
        (folder / f'{name}_segments.csv').write_text(text)
    return folder


def names(*identities):
    return '|'.join(sorted((OFFICIAL[each] for each in identities), key=list(OFFICIAL.values()).index))


def test_the_official_classes(tmp_path):
    assert len(OFFICIAL) == len(set(OFFICIAL.values())) == 527
    assert not any('|' in name for name in OFFICIAL.values()) and sum(',' in name for name in OFFICIAL.values()) == 75
    # published models share the order, see class_labels_indices.csv
    assert [list(OFFICIAL.values())[i] for i in (0, 72, 137, 526)] == ['Speech', 'Animal', 'Music', 'Field recording']
    (tmp_path / 'classes.txt').write_text('\n'.join(OFFICIAL.values()))
    assert read_classes(str(tmp_path / 'classes.txt')) == read_labels('audioset')


def test_rows_of_the_three_lists(lists):
    annotation = read_audioset([str(lists)])
    found = {clip.id: clip for clip in annotation.clips}
    assert found['--PJHxphWEs'][:7] == (
        'train_balanced', 'balanced_train_segments.csv', 4, '--PJHxphWEs', '--PJHxphWEs', 30, 40
    )  # fmt: skip
    assert found['--PJHxphWEs'].labels == (names('/m/09x0r', '/t/dd00088'),)
    assert found['AE5oZzfu2-E'][5:7] == (239.8, 249.8)
    # the order of a cell is that of the indices, whatever that of the list
    assert found['--i-y1v8Hy8'].label.split('|')[0] == 'Speech' and found['--i-y1v8Hy8'].split == 'test'
    # of a clip in two lists, one row stays
    assert annotation.left_out == dict(train_unbalanced=1)
    assert 'is in the train_balanced split, too' in annotation.problems[0].text
    assert annotation.classes['label'] == read_labels('audioset')
    assert re.search('train_balanced +3 +0 +3 ', dry_run(annotation))


def test_lists_are_told_by_their_names(lists, tmp_path):
    with pytest.raises(ManifestError, match=r"no list in '.*', none of unbalanced_train_segments.csv"):
        find_lists([str(tmp_path)])
    mine = tmp_path / 'mine.csv'
    with pytest.raises(ManifestError, match=r"no list or folder '.*mine\.csv'"):
        find_lists([str(mine)])
    mine.write_text(EVAL)
    with pytest.raises(ManifestError, match=r'mine.csv: its name does not tell its split; call it .* or give --split'):
        read_audioset([str(mine)])
    assert {clip.split for clip in read_audioset([str(mine)], split='test').clips} == {'test'}
    with pytest.raises(ManifestError, match='--split test, but by its name it is train_balanced'):
        read_audioset([str(lists / 'balanced_train_segments.csv')], split='test')


@pytest.mark.parametrize(
    ('row', 'kind', 'message'),
    [
        ('--PJHxphWE, 0.000, 1.000, "/m/09x0r"', 'malformed row', "'--PJHxphWE' is not a YouTube id"),
        ('bbbbbbbbbbb, 0.000, 1.000, /m/09x0r,/m/012xff', 'malformed row', '5 cells, 4 are right; the labels are in'),
        ('bbbbbbbbbbb, 5.000, 5.000, "/m/09x0r"', 'malformed row', 'end 5 s is not after start 5 s'),
        ('bbbbbbbbbbb, start, 5.000, "/m/09x0r"', 'malformed row', "'start' is not a time in seconds"),
        ('bbbbbbbbbbb, 0.000, 5.000, ""', 'malformed row', 'it has no label'),
        ('bbbbbbbbbbb, 0.000, 5.000, "/m/09x0r,/m/0dgw9r"', 'unknown label', r"'/m/0dgw9r', 'Human sounds' of the"),
        ('bbbbbbbbbbb, 0.000, 5.000, "Speech"', 'unknown label', "'Speech' is not one of the 527 classes"),
    ],
)
def test_rows_that_are_left_out(lists, tmp_path, row, kind, message):
    path = lists / 'eval_segments.csv'
    path.write_text(EVAL + row + '\n')
    entries = [dict(id=identity, name=name) for identity, name in {**OFFICIAL, '/m/0dgw9r': 'Human sounds'}.items()]
    (tmp_path / 'ontology.json').write_text(json.dumps(entries))
    annotation = read_audioset([str(path)], ontology=str(tmp_path / 'ontology.json'))
    assert annotation.rows == dict(test=3) and annotation.left_out == dict(test=1) and len(annotation.clips) == 2
    assert [problem.kind for problem in annotation.problems] == [kind]
    assert message in annotation.problems[0].text and 'line 6' in annotation.problems[0].text


def test_some_of_the_classes(lists, tmp_path):
    (tmp_path / 'some.txt').write_text('Music\n/m/09x0r\n"Male speech, man speaking"\n')
    (lists / 'unbalanced_train_segments.csv').unlink()
    annotation = read_audioset([str(lists)], classes=str(tmp_path / 'some.txt'))
    assert annotation.classes['label'] == ('Music', 'Speech', 'Male speech, man speaking')
    assert {clip.id: clip.label for clip in annotation.clips} == {
        '--PJHxphWEs': 'Speech', '--i-y1v8Hy8': 'Music|Speech'
    }  # fmt: skip
    (note,) = (note for note in annotation.notes if 'some.txt' in note)
    listed = [cells[3].split(',') for text in (BALANCED, EVAL) for cells in rows(text)]
    assert f'3 of the 527 classes; {sum(map(len, listed)) - 3} other labels are left out' in note


def rows(text):
    return [cells for cells in csv.reader(text.splitlines(), skipinitialspace=True) if cells[0][0] != '#']


def test_class_order(tmp_path):
    path = tmp_path / 'class_labels_indices.csv'
    table = ['index,mid,display_name', *(f'{i},{each},"{OFFICIAL[each]}"' for i, each in enumerate(OFFICIAL))]
    path.write_text('\n'.join(table))
    assert list(read_class_order(str(path), OFFICIAL).items()) == list(OFFICIAL.items())
    for text, message in (
        ('\n'.join([table[0], *table[2:]]), r"line 2: '1,/m/05zppz,.*' is not 0,id,name; give the official file"),
        ('Musik\n', r"line 1: AudioSet has no class 'Musik', did you mean 'Music'\?"),
        ('Music\n/m/04rlf\n', "line 2: class 'Music' is already in line 1"),
        ('\n', 'no class; write one name a line'),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=message):
            read_class_order(str(path), OFFICIAL)


def test_ontology(tmp_path):
    path = tmp_path / 'ontology.json'
    entries = [dict(id=identity, name=name) for identity, name in OFFICIAL.items()]
    path.write_text(json.dumps([*entries, dict(id='/m/0dgw9r', name='Human sounds')]))
    assert read_ontology(str(path), OFFICIAL) == {**OFFICIAL, '/m/0dgw9r': 'Human sounds'}
    for content, message in (
        (entries[1:], "1 classes are not in it, such as 'Speech'"),
        ([dict(id='/m/09x0r', name='Talk'), *entries[1:]], "/m/09x0r is 'Talk' there and 'Speech' in the class list"),
        ({'a': 1}, 'it is not a list of entries with id and name'),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ManifestError, match=message):
            read_ontology(str(path), OFFICIAL)


@pytest.mark.parametrize(
    'name',
    [
        '--PJHxphWEs.mp4', 'Y--PJHxphWEs.wav', '--PJHxphWEs_30.mkv', '--PJHxphWEs_000030.mp4',
        '--PJHxphWEs_30.000.flac', '--PJHxphWEs_30_40.webm', 'Y--PJHxphWEs_30.000_40.000.wav',
        '--PJHxphWEs_30000_40000.flac', '--PJHxphWEs_000030_000040.mp4', '--PJHxphWEs_30-40.wav',
        '--PJHxphWEs_30000.wav',
    ],
)  # fmt: skip
def test_customary_names(lists, tmp_path, name):
    (tmp_path / 'clips' / 'Speech').mkdir(parents=True)
    (tmp_path / 'clips' / 'Speech' / name).write_bytes(b'x')
    text = prepare(read_audioset([str(lists)]), str(tmp_path / 'clips'), str(tmp_path))
    assert (tmp_path / 'train_balanced.csv').read_text() == (
        f'path,label\nclips/Speech/{name},{names("/m/09x0r", "/t/dd00088")}\n'
    )
    assert ('have the name of their video' in text) == (name in ('--PJHxphWEs.mp4', 'Y--PJHxphWEs.wav'))


def test_manifests_of_20k_and_2m(lists, tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    for name in ('--PJHxphWEs.wav', '--PJHxphWEs_30.mp4', '---1_cCGK4M.mp4', 'AE5oZzfu2-E_239800_249800.mp4'):
        (clips / name).write_bytes(b'x')
    (clips / 'Y--4gqARaEJE.wav').write_bytes(b'x')
    text = prepare(read_audioset([str(lists)]), str(clips), str(tmp_path))
    balanced, unbalanced, both = (
        list(csv.DictReader((tmp_path / f'{name}.csv').open(newline='')))
        for name in ('train_balanced', 'train_unbalanced', 'train')
    )
    # of two files, the one with a picture
    assert [row['path'] for row in balanced] == ['clips/--PJHxphWEs_30.mp4', 'clips/AE5oZzfu2-E_239800_249800.mp4']
    assert both == balanced + unbalanced and len(unbalanced) == 1
    assert '1 of 4 files are audio alone' in text
    assert len((tmp_path / 'classes.txt').read_text().splitlines()) == 527
    report = json.loads((tmp_path / 'prepare_report.json').read_text())
    # a class at a time, though clips have several
    assert dict(name='Music', missing=1, rows=1) in report['most_missing']


def test_whole_videos(lists, tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    (clips / 'Y--PJHxphWEs.mp4').write_bytes(b'x')
    (clips / '--ZhevVpy1s_50.mp4').write_bytes(b'x')  # a part is no whole video
    text = prepare(read_audioset([str(lists)], untrimmed=True), str(clips), str(tmp_path))
    assert (tmp_path / 'train_balanced.csv').read_text() == (
        f'path,start,end,label\nclips/Y--PJHxphWEs.mp4,30,40,{names("/m/09x0r", "/t/dd00088")}\n'
    )
    assert 'train.csv is not written, as it joins train_balanced.csv and train_unbalanced.csv' in text
