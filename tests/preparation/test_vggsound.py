from __future__ import annotations

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError
from mmav.preparation.annotations import read_labels
from mmav.preparation.manifests import prepare
from mmav.preparation.vggsound import read_class_order, read_vggsound
from tests.clips import make_clip

# the official form, some rows of the official list among them
LIST = """\
---g-f_I2yQ,1,people marching,test
glLQrEijrKg,300,playing hammond organ,test
LDoXsip0BEQ,177,parrot talking,train
-0BIyqJj9ZU,30,"bird chirping, tweeting",train
cRlp5v9BHeE,11,car passing by,train
cRlp5v9BHeE,12,car passing by,train
"""
TEST = 'glLQrEijrKg_000300.mp4,playing hammond organ\n-0BIyqJj9ZU_000030.mp4,"bird chirping, tweeting"\n'


@pytest.fixture
def write(tmp_path):
    def write_text(text, name='vggsound.csv'):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_text


def rows(annotation):
    return [(clip.split, clip.line, clip.id, clip.start, clip.end, clip.label) for clip in annotation.clips]


def test_list_of_four_columns(write):
    annotation = read_vggsound([write(LIST)])
    assert rows(annotation)[1] == ('test', 2, 'glLQrEijrKg', 300, 310, 'playing hammond organ')
    assert rows(annotation)[3] == ('train', 4, '-0BIyqJj9ZU', 30, 40, 'bird chirping, tweeting')
    assert annotation.rows == dict(train=4, test=2) and not annotation.problems
    assert annotation.classes['label'] == tuple(sorted(read_labels('vggsound')))


def test_list_of_two_columns(write):
    annotation = read_vggsound([write(TEST, 'test.csv'), write('cRlp5v9BHeE_000011,car passing by\n', 'train.csv')])
    assert rows(annotation) == [
        ('test', 1, 'glLQrEijrKg', 300, 310, 'playing hammond organ'),
        ('test', 2, '-0BIyqJj9ZU', 30, 40, 'bird chirping, tweeting'),
        ('train', 1, 'cRlp5v9BHeE', 11, 21, 'car passing by'),
    ]
    path = write(TEST, 'mine.csv')
    assert [row[0] for row in rows(read_vggsound([path], split='train'))] == ['train', 'train']
    with pytest.raises(
        ManifestError, match=r'mine.csv: line 1 names .* call it train.csv or test.csv, or give --split'
    ):
        read_vggsound([path])


def test_bad_rows_are_left_out(write):
    bad = """\
-0BIyqJj9ZU,30,bird chirping, tweeting,train
#NAME?,30,car passing by,train
cRlp5v9BHeE,0:11,car passing by,train
cRlp5v9BHeE,13,car passing bye,train
cRlp5v9BHeE,14,car passing by,validation
cRlp5v9BHeE.mp4,car passing by
"""
    annotation = read_vggsound([write(LIST + bad, 'train.csv')])
    assert len(annotation.clips) == 6 and annotation.rows == dict(train=8, test=2, unknown=2)
    assert [(problem.kind, problem.text) for problem in annotation.problems] == [
        ('malformed row', 'train.csv: line 7: 5 cells, 4 or 2 are right; a label with a comma is in quotes'),
        ('malformed row', "train.csv: line 8: '#NAME?' is not a YouTube id (11 letters, digits, - and _)"),
        ('malformed row', "train.csv: line 9: '0:11' is not a time in whole seconds"),
        (
            'unknown label',
            "train.csv: line 10: label 'car passing bye' is not in the class list, did you mean 'car passing by'?",
        ),
        ('malformed row', "train.csv: line 11: split 'validation' is neither train nor test"),
        ('malformed row', "train.csv: line 12: 'cRlp5v9BHeE.mp4' is not of the form <YouTube id>_<start>.mp4"),
    ]


def test_class_order(write):
    stat = write('car passing by,900,vehicle\n"bird chirping, tweeting",1050,animals\n', 'stat.csv')
    annotation = read_vggsound([write(LIST)], classes=stat)
    assert annotation.classes['label'] == ('car passing by', 'bird chirping, tweeting')
    assert [clip.line for clip in annotation.clips] == [4, 5, 6] and annotation.left_out == dict(test=2, train=1)
    assert annotation.notes == [f'{stat}: 2 of the 309 classes, rows of others are left out']

    official = read_labels('vggsound')
    backwards = write('\n'.join(reversed(official)) + '\n', 'classes.txt')
    assert read_vggsound([write(LIST)], classes=backwards).classes['label'] == official[::-1]
    assert read_class_order(write('"bird chirping, tweeting"\nyodelling\n'), official) == (
        'bird chirping, tweeting', 'yodelling'
    )  # fmt: skip


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('car passing by\nyodeling\n', r"line 2: VGGSound has no class 'yodeling', did you mean 'yodelling'\?"),
        ('yodelling\n\nyodelling\n', "line 3: class 'yodelling' is already in line 1"),
        ('\n', 'no class; write one name a line'),
    ],
)
def test_class_order_that_is_none(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_class_order(write(text), read_labels('vggsound'))


@pytest.mark.parametrize(
    'name',
    ['{id}_000030.mp4', '{id}_30.MP4', '{id}_30_40.mkv', '{id}_000030_000040.webm', '{id}_30000_40000.mp4'],
)
def test_customary_names(write, tmp_path, name):
    (tmp_path / 'clips' / 'deep').mkdir(parents=True)
    name = name.format(id='-0BIyqJj9ZU')
    (tmp_path / 'clips' / 'deep' / name).write_bytes(b'x')
    prepare(read_vggsound([write(LIST)]), str(tmp_path / 'clips'), str(tmp_path))
    assert (tmp_path / 'train.csv').read_text() == f'path,label\nclips/deep/{name},"bird chirping, tweeting"\n'


def test_clips_are_read_from_the_manifest(write, tmp_path):
    (tmp_path / 'clips').mkdir()
    make_clip(tmp_path / 'clips' / '-0BIyqJj9ZU_000030.mp4', seconds=1)
    (tmp_path / 'clips' / 'cRlp5v9BHeE_000011.mp4').write_bytes(b'')
    make_clip(tmp_path / 'clips' / '---g-f_I2yQ_000001.mp4', seconds=1)
    prepare(read_vggsound([write(LIST)]), str(tmp_path / 'clips'), str(tmp_path))
    for split, label in (('train', 'bird chirping, tweeting'), ('test', 'people marching')):
        pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
        dataset = AVDataset(f'{split}.csv', pipeline, data_root=str(tmp_path), test_mode=True)
        assert len(dataset) == 1 and dataset.num_classes == 309
        item = dataset[0]
        assert item['broken'] is None and item['label'] == dict(label=sorted(read_labels('vggsound')).index(label))
