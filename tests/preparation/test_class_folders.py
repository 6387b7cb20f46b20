from __future__ import annotations

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError, MmavError
from mmav.preparation.class_folders import read_class_folders, read_class_numbers, read_ucf101, why_silent
from mmav.preparation.manifests import prepare
from tests.clips import make_clip

# in the form of the official lists, where the folder and the files of a class may differ in case
CLASSES = '1 Archery\r\n2 HandstandPushups\r\n3 YoYo\r\n'
TRAIN = (
    'Archery/v_Archery_g08_c01.avi 1\r\nArchery/v_Archery_g08_c02.avi 1\r\n'
    'HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\nYoYo/v_YoYo_g08_c01.avi 3\r\n'
)
TEST = 'Archery/v_Archery_g01_c01.avi\r\nYoYo/v_YoYo_g01_c01.avi\r\n'


@pytest.fixture
def lists(tmp_path):
    root = tmp_path / 'ucfTrainTestlist'
    root.mkdir()
    for name, text in (('classInd', CLASSES), ('trainlist02', TRAIN), ('testlist02', TEST)):
        (root / f'{name}.txt').write_bytes(text.encode())
    return root


@pytest.fixture
def clips(tmp_path):
    """Two classes with sound, but for one clip, and one without."""
    root = tmp_path / 'UCF-101'
    for line in (TRAIN + TEST).split():
        if line.endswith('.avi'):
            (root / line).parent.mkdir(parents=True, exist_ok=True)
            silent = 'YoYo' in line or line.endswith('g08_c02.avi')
            make_clip(root / line, seconds=0.5, video='mpeg4', audio=None if silent else 'pcm_s16le', b_frames=0)
    return root


def rows(annotation):
    return [(clip.split, clip.video, clip.label) for clip in annotation.clips]


def test_official_split(lists):
    annotation = read_ucf101(str(lists), number=2)
    assert rows(annotation) == [
        ('train', 'v_Archery_g08_c01', 'Archery'),
        ('train', 'v_Archery_g08_c02', 'Archery'),
        ('train', 'v_HandStandPushups_g08_c01', 'HandstandPushups'),
        ('train', 'v_YoYo_g08_c01', 'YoYo'),
        ('test', 'v_Archery_g01_c01', 'Archery'),
        ('test', 'v_YoYo_g01_c01', 'YoYo'),
    ]
    assert annotation.classes == dict(label=('Archery', 'HandstandPushups', 'YoYo')) and not annotation.problems


def test_lists_that_are_not_there(lists):
    with pytest.raises(
        ManifestError, match=r'trainlist01.txt and testlist01.txt are not in .*; give the official lists'
    ):
        read_ucf101(str(lists))
    with pytest.raises(MmavError, match='there are splits 1 to 3'):
        read_ucf101(str(lists), number=4)


def test_rows_that_cannot_be_right(lists):
    (lists / 'trainlist02.txt').write_text(
        TRAIN + 'YoYo/v_YoYo_g08_c02.avi 1\nJoYo/v_YoYo_g08_c02.avi\nx.avi 4\n' + TEST
    )
    assert [problem.text for problem in read_ucf101(str(lists), number=2).problems] == [
        "trainlist02.txt: line 5: class 1, but 'YoYo' has number 3",
        "trainlist02.txt: line 6: label 'JoYo' is not in the class list, did you mean 'YoYo'?",
        'trainlist02.txt: line 7: class 4 is not one of 1 to 3',
        'trainlist02.txt: line 8: Archery/v_Archery_g01_c01 is in the test split, too, in testlist02.txt, line 1',
        'trainlist02.txt: line 9: YoYo/v_YoYo_g01_c01 is in the test split, too, in testlist02.txt, line 2',
    ]


def test_class_numbers(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('2 b\n1 a c\n')
    assert read_class_numbers(str(path)) == ('a c', 'b')
    path.write_text('plain\n2 b\n')
    assert read_class_numbers(str(path)) == ('plain', '2 b')
    for text, message in (('1 a\n3 b\n', 'numbers are not 1 to 2'), ('1 a\n2 a\n', "class 'a' occurs twice")):
        path.write_text(text)
        with pytest.raises(ManifestError, match=message):
            read_class_numbers(str(path))


def test_clips_are_read_from_the_manifest(lists, clips, tmp_path):
    (clips / 'YoYo' / 'more.avi').write_bytes(b'x')
    text = prepare(read_ucf101(str(lists), number=2), str(clips), str(tmp_path))
    assert (tmp_path / 'test.csv').read_text() == (
        'path,label\nUCF-101/Archery/v_Archery_g01_c01.avi,Archery\nUCF-101/YoYo/v_YoYo_g01_c01.avi,YoYo\n'
    )
    assert 'file that no row names: 1, not used\n  YoYo/more.avi' in text and 'folder of another class' not in text
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    dataset = AVDataset('test.csv', pipeline, data_root=str(tmp_path), test_mode=True)
    assert [dataset[k]['masks']['audio'] for k in range(2)] == [True, False] and dataset[1]['label'] == dict(label=2)


def test_only_clips_with_sound(lists, clips, tmp_path):
    text = prepare(read_ucf101(str(lists), number=2, with_sound='clips'), str(clips), str(tmp_path))
    assert (tmp_path / 'test.csv').read_text() == 'path,label\nUCF-101/Archery/v_Archery_g01_c01.avi,Archery\n'
    assert (tmp_path / 'classes.txt').read_text() == 'Archery\nHandstandPushups\nYoYo\n'
    assert 'clip without sound: 3, left out\n  Archery/v_Archery_g08_c02.avi: no audio track' in text
    assert 'train     4      2        0         2  50.00%' in text


def test_only_classes_with_sound(lists, clips, tmp_path):
    (clips / 'YoYo' / 'v_YoYo_g01_c01.avi').unlink()
    text = prepare(read_ucf101(str(lists), number=2, with_sound='classes'), str(clips), str(tmp_path))
    assert (tmp_path / 'classes.txt').read_text() == 'Archery\nHandstandPushups\n'
    assert (
        '2 of 3 classes have sound in at least half of their clips' in text
        and 'clip without sound: 1, left out' in text
    )
    assert (
        'train     4      2        0         2  50.00%' in text
        and 'test      2      1        0         1  50.00%' in text
    )
    for path in clips.rglob('*.avi'):
        if 'YoYo' not in path.name:
            path.unlink()
    with pytest.raises(MmavError, match='none of the 1 clips in .* has an audio track: leave out --with-sound'):
        prepare(read_ucf101(str(lists), number=2, with_sound='classes'), str(clips), str(tmp_path))
    with pytest.raises(MmavError, match="with_sound='all' is none of clips, classes"):
        read_ucf101(str(lists), number=2, with_sound='all')


def test_why_a_file_is_silent(clips, tmp_path):
    (tmp_path / 'torn.avi').write_bytes(b'torn')
    assert why_silent(str(clips / 'Archery' / 'v_Archery_g01_c01.avi')) == ''
    assert why_silent(str(clips / 'YoYo' / 'v_YoYo_g01_c01.avi')) == 'no audio track'
    assert why_silent(str(tmp_path / 'torn.avi')) not in ('', 'no audio track')


def test_hmdb51(tmp_path):
    for name, text in (
        ('brush_hair_test_split1', 'Brush_my_hair_0.avi 1 \nBrush_my_hair_1.avi 2 \nBrush #2 (!).avi 0 \n'),
        ('wave_test_split1', 'a_wave_0.avi 2\na_wave_1.avi 3\n'),
        ('wave_test_split2', 'a_wave_0.avi 1\n'),
    ):
        (tmp_path / f'{name}.txt').write_text(text)
    annotation = read_ucf101(str(tmp_path))
    assert annotation.dataset == 'HMDB51' and annotation.classes == dict(label=('brush_hair', 'wave'))
    assert rows(annotation) == [
        ('train', 'Brush_my_hair_0', 'brush_hair'),
        ('test', 'Brush_my_hair_1', 'brush_hair'),
        ('test', 'a_wave_0', 'wave'),
    ]
    assert annotation.notes == ['rows with 0 are for neither training nor testing: they are skipped']
    assert [problem.text for problem in annotation.problems] == [
        "wave_test_split1.txt: line 2: 'a_wave_1.avi 3' does not end in 0, 1 or 2"
    ]
    assert rows(read_ucf101(str(tmp_path), number=2)) == [('train', 'a_wave_0', 'wave')]


def test_own_lists(tmp_path):
    (tmp_path / 'a.txt').write_text('videos/dog/my clip 12.mp4\nvideos/cat/1.mp4\n')
    (tmp_path / 'b.txt').write_text('cat/2\n')
    (tmp_path / 'numbers.txt').write_text('some/1.mp4 2\nsome/2.mp4 1\n')
    (tmp_path / 'classes.txt').write_text('dog\ncat\n')
    given = dict(train=[str(tmp_path / 'a.txt')], val=[str(tmp_path / 'b.txt')])
    annotation = read_class_folders(given)
    assert rows(annotation) == [('train', 'my clip 12', 'dog'), ('train', '1', 'cat'), ('val', '2', 'cat')]
    assert annotation.classes == dict(label=('cat', 'dog')) and annotation.splits == ('train', 'val')
    numbers = dict(test=[str(tmp_path / 'numbers.txt')])
    assert rows(read_class_folders(numbers, classes=str(tmp_path / 'classes.txt'))) == [
        ('test', '1', 'cat'),
        ('test', '2', 'dog'),
    ]
    with pytest.raises(
        ManifestError, match="one class, 'some': rows are CLASS/FILE or CLASS/FILE NUMBER; give --classes"
    ):
        read_class_folders(numbers)
