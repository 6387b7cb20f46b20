from __future__ import annotations

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from mmav.errors import MmavError
from mmav.preparation.annotations import AnnotatedClip
from mmav.preparation.clip_files import ClipFolder, check_pattern, folder_key, names_of

FIELDS = ('id', 'start', 'end', 'label')


@pytest.fixture
def tree(tmp_path):
    def make(*paths):
        for path in paths:
            file = tmp_path / 'clips' / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b'x')
        return tmp_path / 'clips'

    return make


def test_finds_media_files_in_any_subfolder(tree):
    root = tree('b/x.MP4', 'a/deep/x.webm', 'x.mkv', '-y.mp4', 'x.txt', 'x.wav', 'README')
    folder = ClipFolder(str(root))
    assert folder.find('x') == ['x.mkv', 'a/deep/x.webm', 'b/x.MP4']
    assert folder.find('-y') == ['-y.mp4'] and folder.find('X') == [] and folder.find('') == []
    assert folder.find('deep/x') == ['a/deep/x.webm'] and folder.find('eep/x') == []
    assert folder.find('a/deep/x') == ['a/deep/x.webm'] and folder.find('a/x') == []
    assert folder.media == 4
    assert folder.size('x.mkv') == 1 and folder.size('z.mp4') is None
    assert folder.suffixes == {'.mp4': 2, '.webm': 1, '.mkv': 1, '.txt': 1, '.wav': 1, 'without suffix': 1}
    assert folder.describe() == ("2 .mp4, 1 without suffix, 1 .mkv, 1 .txt, such as '-y.mp4', 'README', 'x.mkv'")


def test_hidden_and_temporary_files_are_passed_over(tree):
    folder = ClipFolder(str(tree('.x.mp4', '.cache/x.mp4', 'x.temp.mp4', 'x.mp4.part', 'x~.mp4', 'y.mp4')))
    assert folder.media == 1 and folder.find('x') == [] and folder.find('x.temp') == [] and folder.find('x~') == []


def test_links_are_followed_and_circles_end(tree, tmp_path):
    root = tree('a/x.mp4')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'y.mp4').write_bytes(b'yy')
    (root / 'link').symlink_to(tmp_path / 'elsewhere')
    (root / 'a' / 'up').symlink_to(root)
    (root / 'a' / 'self').symlink_to(root / 'a' / 'self')
    (root / 'lost.mp4').symlink_to(root / 'nowhere.mp4')
    folder = ClipFolder(str(root))
    assert folder.find('x') == ['a/x.mp4'] and folder.find('y') == ['link/y.mp4'] and folder.size('link/y.mp4') == 2
    assert folder.find('lost') == ['lost.mp4'] and folder.size('lost.mp4') is None


def test_order_does_not_depend_on_the_file_system(tree, monkeypatch):
    root = tree(*(f'{folder}/x.mp4' for folder in 'cab'))
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    expected = ClipFolder(str(root)).find('x')
    monkeypatch.setattr(os, 'scandir', Backwards)
    assert ClipFolder(str(root)).find('x') == expected == ['a/x.mp4', 'b/x.mp4', 'c/x.mp4']


def test_what_cannot_be_used_is_told(tree, monkeypatch):
    root = tree('a/x.mp4', 'b/x.mp4', 'locked/x.mp4')
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied')
        if str(path).endswith('b'):  # bytes that are not UTF-8, as Python shows them; not every file system has them
            return nullcontext([SimpleNamespace(name='x\udcff.mp4', is_dir=lambda: False)])
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    folder = ClipFolder(str(root))
    assert folder.find('x') == ['a/x.mp4'] and folder.media == 1
    assert folder.unusable == [
        ("'b/x\\udcff.mp4'", 'the name is not UTF-8 text and cannot be written to a manifest'),
        ('locked', 'the folder cannot be read: Permission denied'),
    ]


def test_an_empty_folder_and_none(tmp_path):
    assert ClipFolder(str(tmp_path)).describe() == 'no file at all'
    with pytest.raises(MmavError, match="no folder '.*nowhere'; give the folder of the clips with --clips"):
        ClipFolder(str(tmp_path / 'nowhere'))


def test_names():
    clip = AnnotatedClip('test', 'a.csv', 1, 'n', '-abc', 30, 40, ('dog barking',))
    patterns = ['{id}_{start:06d}', '{id}_{start}_{end}', '{id}_{start_ms}_{end_ms}', '{id}_{start:d}_{end:d}']
    assert names_of(clip, patterns) == ['-abc_000030', '-abc_30_40', '-abc_30000_40000']
    assert names_of(clip, ['{label}/{id}']) == ['dog barking/-abc', 'dog_barking/-abc']


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [('{id}', '{id}'), ('v_{id}.MP4', 'v_{id}'), ('/{label}/{id}.{start}', '{label}/{id}.{start}')],
)
def test_patterns(pattern, expected):
    assert check_pattern(pattern, FIELDS) == expected


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('{id}_{strat}', r"--pattern '{id}_{strat}': no field 'strat', did you mean 'start'\?; use {id}, {start}"),
        ('{id}_{start', r"--pattern '{id}_{start': .*; write it as '{id}_{start:06d}'"),
        ('{id:06d}', r"--pattern '{id:06d}': .*; write it as"),
        ('{}_{id}', r"no field ''"),
        ('{id.__class__}', r"no field 'id.__class__'"),
        ('{start:06d}', r'has no {id}, so it cannot tell clips apart'),
    ],
)
def test_patterns_that_are_none(pattern, message):
    with pytest.raises(MmavError, match=message):
        check_pattern(pattern, FIELDS)


def test_folder_key():
    assert {folder_key(name) for name in ("massaging person's head", 'massaging_person_s_head')} == {
        'massaging_person_s_head'
    }
    assert folder_key('hurling (sport)') == 'hurling_sport'


def test_what_is_wrong_with_a_file_seen_from_outside(tmp_path):
    pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:10dc\nsize 265922\n'
    for name, content in dict(good=b'x' * 2000, small=b'x', empty=b'', pointer=pointer).items():
        (tmp_path / f'{name}.mp4').write_bytes(content)
    (tmp_path / 'lost.mp4').symlink_to(tmp_path / 'nowhere.mp4')
    folder = ClipFolder(str(tmp_path))
    assert {path: folder.defect(path).partition(',')[0] for path in folder.paths} == {
        'good.mp4': '',
        'small.mp4': '',
        'empty.mp4': '0 bytes',
        'pointer.mp4': 'a pointer of Git LFS',
        'lost.mp4': 'link to nothing',
    }
