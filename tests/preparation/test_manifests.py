from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import pytest

from mmav.errors import MmavError
from mmav.outputs import RECORD
from mmav.preparation.annotations import AnnotatedClip, Annotation, Problem
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES
from mmav.preparation.manifests import dry_run, prepare

CLASSES = ('b, c', 'a')


def annotation(*, segments=False):
    toy = Annotation('Toy', dict(label=CLASSES), patterns=['{id}'], fields=['id', 'start'], segments=segments)
    toy.sources.append('lists/a.csv')
    for line, (split, name) in enumerate([('train', 'z'), ('test', 'y'), ('train', 'x'), ('train', 'w')], start=1):
        toy.clips.append(
            AnnotatedClip(split, 'a.csv', line, f'n{line}', name, 1.5, 12.25, ('b, c' if line < 3 else 'a',))
        )
        toy.rows[split] += 1
    toy.rows['train'] += 1
    toy.left_out['train'] += 1
    toy.problems.append(Problem('malformed row', 'a.csv: line 5: bad'))
    toy.copies['more.csv'] = b'1\n'
    toy.notes.append('a note')
    return toy


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'clips' / 'deep').mkdir(parents=True)
    for name in ('z.mp4', 'y.mp4', 'deep/w.mp4'):
        (tmp_path / 'clips' / name).write_bytes(b'x')
    return tmp_path


def test_writes_manifests_and_report(root):
    text = prepare(annotation(), str(root / 'clips'), str(root))
    content = {path.name: path.read_bytes().decode() for path in root.iterdir() if path.is_file()}
    del content[RECORD]
    report = json.loads(content.pop('prepare_report.json'))
    assert content == {
        'train.csv': 'path,label\nclips/z.mp4,"b, c"\nclips/deep/w.mp4,a\n',
        'test.csv': 'path,label\nclips/y.mp4,"b, c"\n',
        'classes.txt': 'b, c\na\n',
        'more.csv': '1\n',
        'missing.csv': 'split,line,id,start,end,label,expected,reason\ntrain,3,n3,1.5,12.25,a,x.mp4,no file\n',
    }
    assert report['splits'] == dict(
        train=dict(rows=4, found=2, missing=1, left_out=1, share=0.5),
        test=dict(rows=1, found=1, missing=0, left_out=0, share=1.0),
    )
    assert report['problems'] == {'malformed row': dict(count=1, first=['a.csv: line 5: bad'])}
    assert report['most_missing'] == [dict(name='a', missing=1, rows=2)]
    assert (report['dataset'], report['media_files'], report['notes']) == ('Toy', 3, ['a note'])
    assert f'Toy: 3 media files in {root / "clips"}' in text
    assert 'split  rows  found  missing  left out    share\ntrain     4      2        1         1   50.00%\n' in text
    assert 'malformed row: 1, left out\n  a.csv: line 5: bad' in text and 'a note' in text
    assert text.count('new') == 6


def test_the_same_again_gives_the_same_bytes_and_says_what_it_replaced(root):
    prepare(annotation(), str(root / 'clips'), str(root))
    before = {path: path.read_bytes() for path in root.iterdir() if path.is_file()}
    text = prepare(annotation(), str(root / 'clips'), str(root))
    assert {path: path.read_bytes() for path in root.iterdir() if path.is_file()} == before
    assert text.count('replaced') == 6 and 'new' not in text
    assert [path.name for path in root.iterdir() if path.name.startswith('.')] == [RECORD]


def test_paths(root, tmp_path, monkeypatch):
    def paths(clips, out):
        prepare(annotation(), clips, out)
        return (root / out / 'test.csv').read_text().split('\n')[1].partition(',')[0]

    monkeypatch.chdir(root)
    assert paths('clips', 'clips') == 'y.mp4'
    assert paths('clips', '.') == 'clips/y.mp4'
    assert paths('clips', 'elsewhere') == (root / 'clips' / 'y.mp4').as_posix()
    (root / 'data').mkdir()
    (root / 'data' / 'linked').symlink_to(root / 'clips')
    assert paths('data/linked', 'data') == 'linked/y.mp4'
    (root / 'other').symlink_to(root)
    assert paths('clips', 'other') == 'clips/y.mp4'
    monkeypatch.setenv('HOME', str(root))
    prepare(annotation(), '~/clips', '~/data')
    assert (root / 'data' / 'classes.txt').exists() and not (root / '~').exists()


def test_a_folder_whose_name_is_not_text(root, tmp_path):
    odd = tmp_path / os.fsdecode(b'caf\xe9')
    shutil.copytree(root / 'clips', odd)
    with pytest.raises(
        MmavError, match=r"the folder '.*/caf\\udce9/' is not UTF-8 text and cannot be written to a manifest"
    ):
        prepare(annotation(), str(odd), str(root / 'out'))
    # A dataset that is named from inside holds no such path.
    shutil.move(odd, tmp_path / os.fsdecode(b'data_\xe9') / 'clips')
    odd = tmp_path / os.fsdecode(b'data_\xe9')
    prepare(annotation(), str(odd / 'clips'), str(odd))
    assert json.loads((odd / 'prepare_report.json').read_text())['clips'] == str(odd / 'clips')


def test_segments(root):
    prepare(annotation(segments=True), str(root / 'clips'), str(root))
    assert (root / 'test.csv').read_text() == 'path,start,end,label,narration_id\nclips/y.mp4,1.5,12.25,"b, c",n2\n'


def test_a_split_without_a_list_is_not_written(root):
    toy = annotation()
    toy.clips, toy.rows = [clip for clip in toy.clips if clip.split == 'train'], Counter(train=4)
    assert 'test.csv is not written, as no list is given for it' in prepare(toy, str(root / 'clips'), str(root))


def test_a_split_without_clips_is_not_written(root):
    (root / 'clips' / 'y.mp4').unlink()
    text = prepare(annotation(), str(root / 'clips'), str(root))
    assert 'test.csv is not written, as no clip was found for it\n' in text and not (root / 'test.csv').exists()
    (root / 'test.csv').write_text('old')
    text = prepare(annotation(), str(root / 'clips'), str(root))
    assert 'no clip was found for it, and the one that is there is an older one' in text
    assert (root / 'test.csv').read_text() == 'old'


def test_a_pattern_replaces_the_customary_names(root):
    (root / 'clips' / 'v_x_1.mp4').write_bytes(b'x')
    prepare(annotation(), str(root / 'clips'), str(root), pattern='v_{id}_{start}')
    assert (root / 'train.csv').read_text() == 'path,label\nclips/v_x_1.mp4,a\n'
    with pytest.raises(MmavError, match=r"no field 'end'"):
        prepare(annotation(), str(root / 'clips'), str(root), pattern='{id}_{end}')


def test_many_problems_are_cut_short(root):
    toy = annotation()
    toy.problems = [Problem('malformed row', f'row {i}') for i in range(1200)]
    text = prepare(toy, str(root / 'clips'), str(root))
    assert 'malformed row: 1,200, left out\n  row 0\n  row 1\n  row 2\n  ... and 1,197 more' in text
    report = json.loads((root / 'prepare_report.json').read_text())
    assert report['problems']['malformed row']['count'] == 1200
    assert len(report['problems']['malformed row']['first']) == 1000


def test_nothing_is_written_where_nothing_is_found(root):
    with pytest.raises(MmavError, match='none of the 4 clips has a file'):
        prepare(annotation(), str(root / 'clips' / 'deep'), str(root / 'out'), pattern='no_{id}')
    assert not (root / 'out').exists()


def test_a_share_is_not_rounded_to_all(root):
    toy = annotation(segments=True)
    there = toy.clips[1]
    toy.clips = [there._replace(line=line) for line in range(30_000)] + [there._replace(video='lost')]
    toy.rows, toy.left_out = Counter(test=30_001), Counter()
    assert 'test   30,001  30,000        1         0  99.99%' in prepare(toy, str(root / 'clips'), str(root))


def test_dry_run():
    text = dry_run(annotation())
    assert 'split  rows  left out  clips  classes\ntrain     4         1      3        2\n' in text
    assert "classes.txt: 2 names, 'b, c' to 'a'" in text and 'a.csv: line 5: bad' in text and 'a note' in text
    assert text.endswith('Nothing was written (--dry-run).')


def test_audio_in_a_folder_of_its_own(root):
    (root / 'sounds').mkdir()
    for name in ('z.wav', 'y.wav'):
        (root / 'sounds' / name).write_bytes(b'x')
    toy = annotation(segments=True)
    toy.id_column = None
    prepare(toy, str(root / 'clips'), str(root), audio=str(root / 'sounds'))
    files = 'clips/y.mp4,sounds/y.wav'
    assert (root / 'test.csv').read_text() == f'video,audio,start,end,label\n{files},1.5,12.25,"b, c"\n'
    assert ',w.mp4,no audio file\n' in (root / 'missing.csv').read_text()
    assert json.loads((root / 'prepare_report.json').read_text())['audio'] == str(root / 'sounds')


def test_beside_files_of_the_audio_sound_alone_is_no_picture(root):
    (root / 'clips' / 'x.wav').write_bytes(b'x')
    (root / 'clips' / 'z.wav').write_bytes(b'x')
    toy = annotation()
    toy.media = SUFFIXES | AUDIO_SUFFIXES
    prepare(toy, str(root / 'clips'), str(root / 'out'), audio=str(root / 'clips'))
    text = (root / 'out' / 'train.csv').read_text()
    assert 'clips/z.mp4,' in text and 'clips/z.wav,' in text and 'x.wav' not in text


def test_a_manifest_of_another_run_with_a_split_that_this_one_has_not_is_told(root):
    (root / 'out').mkdir()
    (root / 'out' / 'val.csv').write_text('path,label\n')
    for _ in range(2):
        text = prepare(annotation(), str(root / 'clips'), str(root / 'out'))
        assert 'val.csv is there from an earlier run and is none of these splits' in text and 'train.csv is' not in text


def test_clips_may_be_changed_before_they_are_written(root):
    toy = annotation(segments=True)

    def cut(matched, folder):
        assert folder.root == str(root / 'clips')
        matched.found = [(clip._replace(end=clip.start + k), path) for clip, path in matched.found for k in (1, 2)]
        toy.classes['label'] = ('b, c', 'a', 'd')

    toy.refine = cut
    prepare(toy, str(root / 'clips'), str(root))
    assert (root / 'test.csv').read_text().count('clips/y.mp4') == 2
    assert (root / 'classes.txt').read_text() == 'b, c\na\nd\n'
    # rows are counted, not what they became
    assert json.loads((root / 'prepare_report.json').read_text())['splits']['test']['found'] == 1
