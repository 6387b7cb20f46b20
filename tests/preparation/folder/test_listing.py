"""Which clips a folder holds, by sub-folders or manifests; what is no folder to train on is refused in a line."""

from __future__ import annotations

import os
import shutil

import pytest

from mmav.errors import ManifestError, MmavError
from mmav.preparation.folder.listing import ListedClip, list_folder


@pytest.fixture
def tree(tmp_path):
    """Makes a folder with files; a name with ``=`` has the text behind it."""

    def make(*files):
        for each in files:
            name, _, text = each.partition('=')
            path = tmp_path / 'clips' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text or 'x')
        return tmp_path / 'clips'

    return make


def test_sub_folders_are_classes(tree):
    found = list_folder(tree('10/a.mp4', '9/b.WAV', '9/deep/c.mkv', 'loose.mp4', '9/notes.txt', '.hidden/d.mp4'))
    assert found.classes == ('9', '10') and found.class_file is None and not found.given
    assert found.clips == [
        ListedClip('10/a.mp4', '10', None), ListedClip('9/b.WAV', '9', None), ListedClip('9/deep/c.mkv', '9', None),
    ]  # fmt: skip
    assert found.notes == ['1 file (loose.mp4) in no sub-folder of a class was left out']


def test_sub_folders_without_media_are_told(tree):
    root = tree('dog/a.mp4', 'cat/b.mp4', 'cow/frame_1.jpg', '.hidden/c.txt')
    (root / 'bird').mkdir()
    (root / 'puppy').symlink_to(root / 'dog')  # a folder is walked once
    assert list_folder(root).notes == ['3 sub-folders (bird, cow, puppy) without media files left out']
    parted = tree('train/x/a.mp4', 'train/y/b.mp4', 'test/x/c.mp4')
    for name in ('dog', 'cat', 'cow', 'bird'):
        shutil.rmtree(root / name)
    (root / 'puppy').unlink()
    (root / 'test/y').mkdir()
    assert list_folder(parted).notes == ['1 sub-folder (test/y) without media files left out']


def test_folders_of_parts_are_respected(tree):
    found = list_folder(tree('train/dog/a.mp4', 'train/cat/b.mp4', 'Test/dog/c.mp4', 'valid/cat/d.mp4', 'test/e.mp4'))
    parts = {clip.path: (clip.label, clip.part) for clip in found.clips}
    assert parts == {
        'train/dog/a.mp4': ('dog', 'train'), 'train/cat/b.mp4': ('cat', 'train'), 'Test/dog/c.mp4': ('dog', 'test'),
        'valid/cat/d.mp4': ('cat', 'val'),
    }  # fmt: skip
    assert found.notes == ['1 file (test/e.mp4) in no sub-folder of a class was left out']


def test_a_class_may_be_called_train(tree):
    assert list_folder(tree('train/a.mp4', 'car/b.mp4')).classes == ('car', 'train')


def test_manifests_are_used_as_they_are(tree):
    rows = 'path,start,end,label\nx/1.mp4,0.5,2,dog\nx/2.mp4,,,1\n'
    root = tree(f'train.csv={rows}', 'test.csv=path,label\ny.mp4,cat\n', 'classes.txt=dog\ncat\n', 'x/1.mp4')
    found = list_folder(root)
    assert found.classes == ('dog', 'cat') and found.class_file == root / 'classes.txt'
    assert found.clips == [
        ListedClip('x/1.mp4', 'dog', 'train', 0.5, 2.0), ListedClip('x/2.mp4', 'cat', 'train'),
        ListedClip('y.mp4', 'cat', 'test'),
    ]  # fmt: skip
    assert found.given == {'train': root / 'train.csv', 'test': root / 'test.csv'}


def test_without_a_class_list_the_manifests_name_the_classes(tree):
    found = list_folder(tree('train.csv=path,label\na.mp4,10\nb.mp4,9\n', 'val.csv=path,label\nc.mp4,1\n'))
    assert found.classes == ('1', '9', '10') and found.layout == 'train.csv and val.csv'
    found = list_folder(tree('test.csv=path,label\nd.mp4,9\n'))
    assert found.layout == 'train.csv, val.csv and test.csv'


def test_two_spellings_of_a_class_are_told(tree):
    found = list_folder(tree('Dog bark/a.mp4', 'dog_bark/b.mp4', 'cat/c.mp4'))
    assert found.notes == ["the classes 'Dog bark' and 'dog_bark' differ only in how they are written: one class?"]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (['dog/a.txt'], r"no media files in '.*clips' \(1 \.txt, such as 'dog/a\.txt'\): put the clips of each class"),
        (['dog/a.mp4', 'dog/b.mp4'], r"has one class only, 'dog': a model needs two or more"),
        (['x/dog/a.mp4', 'x/cat/b.mp4'], r"'x'; if its sub-folders \(cat, dog\) are the classes, give '.*/x'"),
        (['a.mp4', 'b.mp4'], r'the 2 media files of .* are in no sub-folder of a class'),
        (['test/dog/a.mp4', 'test/cat/b.mp4'], r"has a folder 'test' but no 'train'"),
        (
            ['train/dog/a.mp4', 'test/dog/b.mp4', 'train/cat/c.mp4', 'extra/d.mp4'],
            r"has test and train with the same sub-folders, and 'extra' beside them: move that elsewhere",
        ),
        (['test.csv=path,label\na.mp4,x\n'], r'has test\.csv but no train\.csv: write one'),
        (['train.csv=path,label\na.mp4,x\n'], r"has one class only, 'x'"),
        (['train.csv=path,verb,noun\na.mp4,x,y\n'], r"no column 'label'"),
        (['dog/a.mp4', 'cat /b.mp4'], r"has a sub-folder 'cat ', with a space at one end, .*: rename it"),
        (['train.csv=path,label\na.mp4,dog|cat\nb.mp4,cat\n'], r"label 'dog\|cat' in train\.csv is several; give each"),
        (['train.csv=path,label\na.mp4,dog|cat\n', 'classes.txt=dog\ncat\n'], r"label 'dog\|cat' .* or train a config"),
        (['dogs/a.mp4', 'cat/b.mp4', 'classes.txt=dog\ncat\n'], r"'dogs' is not in the class list, did you mean 'dog'"),
        (['dog/a.mp4', 'cat/b.mp4', 'classes.txt=dog\ncat\ncow\n'], r"class 'cow' has no clip; remove the line"),
    ],
)
def test_refusals(tree, files, message):
    with pytest.raises(MmavError, match=message):
        list_folder(tree(*files))


def test_what_is_no_folder_is_refused(tmp_path, monkeypatch):
    with pytest.raises(MmavError, match=r"nowhere' does not exist: give a folder"):
        list_folder(tmp_path / 'nowhere')
    (tmp_path / 'a.mp4').touch()
    with pytest.raises(MmavError, match=r"a\.mp4' is a file: give a folder"):
        list_folder(tmp_path / 'a.mp4')

    def deny(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(os, 'listdir', deny)
    with pytest.raises(MmavError, match=r'cannot be read: Permission denied; change its permissions'):
        list_folder(tmp_path)


def test_a_wrong_row_is_named(tree):
    with pytest.raises(ManifestError, match=r"train\.csv: row 2: label 'dgo' is not in the class list"):
        list_folder(tree('train.csv=path,label\na.mp4,dgo\n', 'classes.txt=dog\ncat\n'))
