from __future__ import annotations

import pytest

from mmav.errors import ManifestError
from mmav.preparation.annotations import Annotation, BadRow, Row, read_labels, whole_seconds, youtube_id

CLASSES = ('dog barking', 'people eating, noodle')


@pytest.fixture
def write(tmp_path):
    def write_text(text, name='list.csv', encoding='utf-8'):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write_text


def annotation():
    return Annotation('Toy', dict(label=CLASSES), patterns=['{id}'], fields=['id'])


def parser(toy, split='train'):
    def parse(row):
        name, label = row.cells[:2]
        if label == 'other':
            return None
        row.split = split
        return row.clip(name, 0, 10, toy.check_label('label', label))

    return parse


def read(toy, path, split='train', **kwargs):
    toy.read(path, parser(toy, split), **kwargs)
    return toy


def test_a_bad_row_spoils_no_other(write):
    text = '\ufeffa,dog barking\r\n"b,dog barking\r\n\r\nc,"people eating, noodle"\r\nd,dog braking\r\ne,dog "x" y\r\n'
    toy = read(annotation(), write(text))
    assert [(clip.id, clip.line, clip.labels) for clip in toy.clips] == [
        ('a', 1, ('dog barking',)),
        ('c', 4, ('people eating, noodle',)),
    ]
    assert toy.rows == dict(train=4, unknown=1) and toy.left_out == dict(train=2, unknown=1)
    assert [problem.kind for problem in toy.problems] == ['malformed row', 'unknown label', 'unknown label']
    assert toy.problems[0].text.startswith('list.csv: line 2: not CSV')
    assert toy.problems[1].text == (
        "list.csv: line 5: label 'dog braking' is not in the class list, did you mean 'dog barking'?"
    )


def test_columns_are_found_by_name(write):
    text = 'x,label, name\n1,dog barking,a\n2,dog barking\n3,dog barking,c,more\n'
    toy = read(annotation(), write(text), columns=('name', 'label'), optional=('split',))
    assert [(clip.id, clip.line) for clip in toy.clips] == [('a', 2), ('c', 4)]
    assert [problem.text for problem in toy.problems] == ['list.csv: line 3: 2 cells, at least 3 are needed']


def test_rows_of_other_classes_are_counted(write):
    toy = read(annotation(), write('a,dog barking\nb,other\n'))
    assert toy.rows == dict(train=1) and not toy.left_out
    assert toy.notes == ['list.csv: 1 rows of other classes are skipped']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'none of its 0 rows can be used for Toy; it is empty'),
        ('a,zebra\nb,zebra\n', "none of its 2 rows can be used for Toy; the first, line 1: label 'zebra' is not in"),
        ('a,other\n', 'none of its 1 rows can be used for Toy; 1 are of other classes'),
    ],
)
def test_a_list_without_a_usable_row(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read(annotation(), write(text))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', "line 1: no column 'name', only nothing"),
        ('name,lable\n', "line 1: no column 'label', only 'name', 'lable'; give the official file"),
        ('"name\n', 'line 1: not CSV'),
    ],
)
def test_a_header_that_is_none(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read(annotation(), write(text), columns=('name', 'label'))


def test_a_misspelt_optional_column_is_not_passed_over(write):
    text = 'name,label,Split\na,dog barking,train\n'
    with pytest.raises(ManifestError, match="line 1: column 'Split' is not read; rename it to 'split'"):
        read(annotation(), write(text), columns=('name', 'label'), optional=('split',))


def test_a_test_clip_is_not_trained_on(write):
    toy = annotation()
    read(toy, write('a,dog barking\nb,dog barking\nb,dog barking\nc,"people eating, noodle"\n', 'train.csv'))
    read(toy, write('c,dog barking\nd,dog barking\n', 'test.csv'), split='test')
    toy.remove_duplicates()
    assert [(clip.split, clip.id, clip.line) for clip in toy.clips] == [
        ('train', 'a', 1), ('train', 'b', 2), ('test', 'c', 1), ('test', 'd', 2)
    ]  # fmt: skip
    assert toy.left_out == dict(train=2)
    assert [problem.text for problem in toy.problems] == [
        'train.csv: line 3: b is there already in train.csv, line 2',
        (
            "train.csv: line 4: c is in the test split, too, in test.csv, line 1, labelled 'dog barking' and not "
            "'people eating, noodle'"
        ),
    ]


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(ManifestError, match=r'no annotation file at .*nowhere.csv; give the official file'):
        read(annotation(), str(tmp_path / 'nowhere.csv'))
    with pytest.raises(ManifestError, match='not UTF-8 text'):
        read(annotation(), write('\u00e4', encoding='latin-1'))
    with pytest.raises(ManifestError, match='cannot be read'):
        read(annotation(), str(tmp_path))


def test_a_clip_ends_after_its_start():
    assert Row('a.csv', 3, split='test').clip('n', 1, 2.5, 'cut', 'egg', video='v')[:7] == (
        'test', 'a.csv', 3, 'n', 'v', 1, 2.5
    )  # fmt: skip
    with pytest.raises(BadRow, match='end 1 s is not after start 1 s'):
        Row('a.csv', 3).clip('n', 1, 1, 'cut')


def test_class_lists_of_the_package():
    vggsound, kinetics = read_labels('vggsound'), read_labels('kinetics_sounds')
    assert (len(vggsound), len(kinetics)) == (309, 32)
    assert list(vggsound) == sorted(vggsound) and list(kinetics) == sorted(kinetics)
    assert sum(',' in name for name in vggsound) == 23


@pytest.mark.parametrize('cell', ['-0a_bcdefgh', '00000000000'])
def test_youtube_ids(cell):
    assert youtube_id(cell) == cell


@pytest.mark.parametrize('cell', ['#NAME?', '', 'abcdefghijkl', 'abc/efghijk', '\u00e4bcdefghijk'])
def test_what_is_no_youtube_id(cell):
    with pytest.raises(BadRow, match='is not a YouTube id'):
        youtube_id(cell)


def test_whole_seconds():
    assert [whole_seconds(cell) for cell in ('0', '000030', '417.0', '5.')] == [0, 30, 417, 5]
    for cell in ('', '-1', '1.5', '1:20', 'start', '\u0663'):
        with pytest.raises(BadRow, match='is not a time in whole seconds'):
            whole_seconds(cell)


def test_other_separators_and_a_header_that_only_some_copies_have(write):
    text = 'NAME&LABEL\na, 1&people eating, noodle\nb&dog barking\n'
    toy = read(annotation(), write(text), delimiter='&', header='NAME&LABEL')
    assert [(clip.id, clip.line, clip.label) for clip in toy.clips] == [
        ('a, 1', 2, 'people eating, noodle'),
        ('b', 3, 'dog barking'),
    ]
    toy = read(annotation(), write(text.partition('\n')[2]), delimiter='&', header='NAME&LABEL')
    assert [clip.line for clip in toy.clips] == [1, 2]


def test_of_a_clip_in_several_splits_the_last_one_stays(write):
    toy = Annotation('Toy', dict(label=CLASSES), patterns=['{id}'], fields=['id'], splits=('train', 'val', 'test'))
    for split, names in dict(test='a', val='ab', train='abc').items():
        read(toy, write(''.join(f'{name},dog barking\n' for name in names), f'{split}.csv'), split)
    toy.remove_duplicates()
    assert [(clip.split, clip.id) for clip in toy.clips] == [('test', 'a'), ('val', 'b'), ('train', 'c')]
    assert toy.problems[0].text == 'val.csv: line 1: a is in the test split, too, in test.csv, line 1'
