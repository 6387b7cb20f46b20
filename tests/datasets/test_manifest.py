from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from mmav.class_names import read_classes
from mmav.datasets import manifest as module
from mmav.datasets.manifest import Columns, Indices, Manifest, ManifestRow, Sets, read_manifest
from mmav.errors import ManifestError

CLASSES = ('dog barking', 'people eating, noodle', '7')


@pytest.fixture
def write(tmp_path):
    def write_text(text, encoding='utf-8'):
        path = tmp_path / 'train.csv'
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write_text


def rows(path, classes=CLASSES):
    manifest = read_manifest(path, classes)
    return [manifest[i] for i in range(len(manifest))]


def test_reads_names_indices_and_spans(write):
    path = write('path,label,start,end\na.mp4,dog barking,,\nb.mp4,1,1.5,3\n\n"c,d.mp4","people eating, noodle",2,\n')
    assert rows(path) == [
        ManifestRow('a.mp4', dict(label=0), None, None, 2),
        ManifestRow('b.mp4', dict(label=1), 1.5, 3.0, 3),
        ManifestRow('c,d.mp4', dict(label=1), 2.0, None, 5),
    ]


def test_a_name_goes_before_an_index(write):
    assert rows(write('path,label\na.mp4,7\nb.mp4,2\n')) == [
        ManifestRow('a.mp4', dict(label=2), None, None, 2),
        ManifestRow('b.mp4', dict(label=2), None, None, 3),
    ]


def test_byte_order_mark_line_ends_order_of_columns_and_other_scripts(write):
    path = write('label,extra,path\r\n0,x,\u00e4\u4e2d.mp4\r\n1,y, b.mp4 \r\n', encoding='utf-8-sig')
    assert [row[:2] for row in rows(path)] == [('\u00e4\u4e2d.mp4', dict(label=0)), ('b.mp4', dict(label=1))]


def test_survives_pickling_in_a_few_arrays(write):
    path = write('path,label\n' + ''.join(f'clip{i}.mp4,0\n' for i in range(2000)))
    manifest = read_manifest(path, CLASSES)
    packed = pickle.dumps(manifest)
    assert pickle.loads(packed)[1234] == manifest[1234] == ManifestRow('clip1234.mp4', dict(label=0), None, None, 1236)
    assert len(packed) < 2000 * 60


def test_reading_keeps_no_row_as_objects(write):
    text = 'path,label\n' + ''.join(f'folder/of/clips/clip{i:06d}.mp4,dog barking|7\n' for i in range(20_000))
    path = write(text)
    tracemalloc.start()
    manifest = read_manifest(path, CLASSES, multi_label=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest[19_999].label == dict(label=(0, 2))
    # arrays that grow; rows as objects take 20 times the text
    assert peak < 3 * len(text)


def test_line_ends_within_a_cell_are_kept_and_counted(write):
    path = write('path,label\r\n"a\nb.mp4",0\r"c\u2028\x0b.mp4",1\nd.mp4,0')
    assert [(row.path, row.line) for row in rows(path)] == [('a\nb.mp4', 3), ('c\u2028\x0b.mp4', 4), ('d.mp4', 5)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r'train.csv: the manifest is empty; its first row must be path,label'),
        ('path,label\n', r'has a header but no clip'),
        ('path,lable\na.mp4,0\n', r"row 1: no column 'label', only 'path', 'lable'; rename column 'lable'"),
        ('a.mp4,dog barking\n', r"row 1: no column 'path', only 'a.mp4', 'dog barking'; the first row must name"),
        ('path;label\na.mp4;0\n', r"row 1: no column 'path', only 'path;label'"),
        ('path,label,label\na.mp4,0,0\n', r"row 1: column 'label' occurs twice"),
        ('path,label\na.mp4,0\nb.mp4,dog braking\n', r"row 3: label 'dog braking' .* did you mean 'dog barking'\?"),
        ('path,label\na.mp4,zebra\n', r"row 2: label 'zebra' is not in the class list; add it"),
        ('path,label\na.mp4,3\n', r'row 2: label 3 is out of range: the class list has 3 classes, 0 to 2'),
        ('path,label\na.mp4,-1\n', r"row 2: label '-1' is not in the class list"),
        ('path,label\na.mp4,\n', r'row 2: the label is empty'),
        ('path,label\n,0\n', r'row 2: the path is empty'),
        # Python 3.10's csv refuses it
        ('path,label\na.mp4,0\na\0b.mp4,0\n', r"row 3: (path 'a.x00b.mp4' has a zero byte|not CSV: line contains NUL)"),
        ('path,label\na.mp4,people eating, noodle\n', r'row 2: 3 cells under a header of 2; put a cell .* in double'),
        ('path,label\na.mp4\n', r'row 2: 1 cells under a header of 2'),
        ('path,label,start,end\na.mp4,0,3,2\n', r'row 2: end 2 s is not after start 3 s'),
        ('path,label,start,end\na.mp4,0,,0\n', r'row 2: end 0 s is not after start 0 s'),
        ('path,label,start\na.mp4,0,1:20\n', r"row 2: start '1:20' is not a time in seconds"),
        ('path,label,start\na.mp4,0,nan\n', r"row 2: start 'nan' is not a time"),
        ('path,label,start\na.mp4,0,-1\n', r"row 2: start '-1' is not a time"),
        ('path,label\n"a.mp4,0\n', r'row 2: not CSV'),
    ],
)
def test_errors_say_file_row_and_remedy(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(text), CLASSES)


ACTIONS = dict(verb=('wash', 'cut'), noun=('onion', 'cup', 'pan'))


def test_verbs_and_nouns(write):
    path = write('noun,path,start,verb,label\npan,a.mp4,2,1,x\n0,b.mp4,,wash,y\n')
    expected = [
        ManifestRow('a.mp4', dict(verb=1, noun=2), 2.0, None, 2),
        ManifestRow('b.mp4', dict(verb=0, noun=0), None, None, 3),
    ]
    assert rows(path, ACTIONS) == expected
    assert pickle.loads(pickle.dumps(read_manifest(path, ACTIONS)))[1] == expected[1]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'its first row must be path,verb,noun'),
        ('path,label\na.mp4,0\n', r"no column 'verb', only 'path', 'label'; .*must name the columns: path,verb,noun"),
        ('path,verb,nuon\na.mp4,0,0\n', r"no column 'noun', only .*; rename column 'nuon'"),
        ('path,verb,verb,noun\na.mp4,0,0,0\n', r"column 'verb' occurs twice"),
        ('path,verb,noun\na.mp4,cut,cap\n', r"row 2: noun 'cap' is not in the class list, did you mean 'cup'\?"),
        ('path,verb,noun\na.mp4,2,0\n', r'row 2: verb 2 is out of range: the class list has 2 classes, 0 to 1'),
        ('path,verb,noun\na.mp4,,0\n', r'row 2: the verb is empty'),
    ],
)
def test_errors_name_the_column(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(text), ACTIONS)


def test_verbs_and_nouns_without_their_lists(write):
    with pytest.raises(ManifestError, match=r"no column 'label', .*give the dataset classes=dict\(verb='verbs.txt'"):
        read_manifest(write('path,verb,noun\na.mp4,0,0\n'), CLASSES)


def test_missing_manifest_tells_what_to_give(tmp_path):
    with pytest.raises(ManifestError, match=r'no manifest at .*train.csv; give the folder .* with --data-root'):
        read_manifest(str(tmp_path / 'train.csv'), CLASSES)
    with pytest.raises(ManifestError, match=r'there is no folder .*nowhere'):
        read_manifest(str(tmp_path / 'nowhere' / 'train.csv'), CLASSES)


def test_text_in_another_encoding_and_a_folder(write, tmp_path):
    with pytest.raises(ManifestError, match='not UTF-8'):
        read_manifest(write('path,label\n\u00e4.mp4,0\n', encoding='latin-1'), CLASSES)
    with pytest.raises(ManifestError, match='cannot be read'):
        read_manifest(str(tmp_path), CLASSES)


def test_class_list(write):
    assert read_classes(write('\ufeffcat\r\n dog \r\n\r\nhorse, running\r\n')) == ('cat', 'dog', 'horse, running')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('\n \n', 'the class list is empty'),
        ('cat\ndog\ncat\n', r"row 3: class 'cat' stands already in row 1"),
        ('class\ncat\ndog\n', r"row 1: 'class' looks like the header of a table; .* remove the line"),
        ('index,display_name\n0,cat\n1,dog\n', r"row 1: 'index,display_name' looks like the header"),
        ('cat,\ndog,\n', r"row 1: 'cat,' has a ',' that parts cells; write one class name a line"),
        ('cat\ndog\t1\n', r"row 2: 'dog\\t1' has a '\\t' that parts cells"),
        ('0 cat\n1 dog\n', r"row 1: '0 cat' is an index and a name, as is every row; write the names alone"),
        ('1,cat\n0,dog\n', r"row 1: '1,cat' is an index and a name"),
        ('cat;1\ndog;2\n', r"row 1: 'cat;1' is an index and a name"),
        ('cat 0\ndog 1\n', r"row 1: 'cat 0' is an index and a name"),
    ],
)
def test_class_list_errors(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_classes(write(text))


def test_missing_class_list(tmp_path):
    with pytest.raises(ManifestError, match=r'no class list at .*classes.txt; give the folder'):
        read_classes(str(tmp_path / 'classes.txt'))


def test_class_lists_with_commas_and_numbers_in_names(write):
    for text in (
        'child speech, kid speaking\ndog\n',
        'speaker 1\nspeaker 2\n',
        '2 step\nwaltz\n',
        '3 cats\n',
        '1\n2\n',
    ):
        assert read_classes(write(text)) == tuple(text.splitlines())


def test_numbers_as_names(write, monkeypatch):
    """Where a name is the index of another class, a number is a name, which is said, or it is refused."""
    lines = []
    monkeypatch.setattr('mmav.datasets.columns.print_log', lambda line, *args, **kwargs: lines.append(line))
    path = write('path,label\na.mp4,1\nb.mp4,3\n')
    assert [row.label['label'] for row in rows(path, ('1', '2', '3'))] == [0, 2]
    assert len(lines) == 1 and lines[0].endswith('so the label 1 means the class of this name, which has the index 0')
    with pytest.raises(
        ManifestError, match=r"row 2: label 0 is not in the class list; .* such as '1', it is not an index"
    ):
        rows(write('path,label\na.mp4,0\n'), ('1', '2', '3'))
    assert [row.label['label'] for row in rows(write('path,label\na.mp4,0\n'), ('0', '1'))] == [0]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('path,label,start_time,end_time\na.mp4,0,1,2\n', "column 'start_time' is not read; rename it to 'start'"),
        ('path,label,video\na.mp4,0,b.mp4\n', "column 'video' is not read; it is almost 'path'"),
        ('path,label\na.mp4,1.0\n', "row 2: label '1.0' is not in the class list; if it is an index, write 1"),
    ],
)
def test_what_was_read_for_something_else(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(text), CLASSES)


def test_pairs_of_files(write):
    path = write('video,audio,label,start,fps,sample_rate\na.mp4,a.wav,cat,,,\nf/1,,cat,0.5,25,\n,b.npy,cat,,,8000\n')
    read = pickle.loads(pickle.dumps(read_manifest(path, ['cat'])))
    rows = [read[k] for k in range(len(read))]
    assert [row.path for row in rows] == ['a.mp4 + a.wav', 'f/1 at 25 fps + no audio', 'no video + b.npy at 8000 Hz']
    files = [(row.path.video, row.path.audio, row.path.fps, row.path.sample_rate) for row in rows]
    assert files == [('a.mp4', 'a.wav', None, None), ('f/1', '', 25.0, None), ('', 'b.npy', None, 8000.0)]
    assert [row.start for row in rows] == [None, 0.5, None]


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (',,cat,', 'row 2: video and audio are both empty; name a file for one of them'),
        ('a,b\0.wav,cat,', "row 2: (audio 'b.x00.wav' has a zero byte|not CSV: line contains NUL)"),
        ('a,b.wav,cat,fast', "row 2: fps 'fast' is not a number above 0; leave it empty for media files"),
        ('a,b.wav,cat,0', "row 2: fps '0' is not a number above 0"),
    ],
)
def test_pairs_that_are_wrong(write, row, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(f'video,audio,label,fps\n{row}\n'), ['cat'])


@pytest.mark.parametrize('text', ['path\na.mp4\nb.mp4\n', 'path,label,narration_id\na.mp4,no such class,1\nb.mp4,,2\n'])
def test_a_list_without_labels_reads_none(tmp_path, text):
    (tmp_path / 'list.csv').write_text(text)
    rows = read_manifest(str(tmp_path / 'list.csv'), ['dog', 'cat'], labelled=False)
    assert [(row.path, row.label, row.line) for row in rows] == [('a.mp4', {}, 2), ('b.mp4', {}, 3)]
    with pytest.raises(ManifestError):
        read_manifest(str(tmp_path / 'list.csv'), ['dog', 'cat'])


@pytest.mark.parametrize('several', [False, True])
def test_labels_come_back_and_move(several):
    labels = [(0, 2), (), (1,), (1, 2)] if several else [2, 0, 1, 1]
    packed = Sets(np.array([0, 2, 1, 1, 2]), np.array([2, 2, 3, 5])) if several else Indices(np.array(labels))
    assert [packed[index] for index in range(4)] == labels
    classes, ends = packed.flat()
    assert [classes[begin:end].tolist() for begin, end in zip([0, *ends], ends, strict=False)] == [
        list(label) if several else [label] for label in labels
    ]
    # classes 0 and 2 become one
    places = np.array([5, 3, 5])
    moved = [packed.moved(places)[index] for index in range(4)]
    assert moved == ([(5,), (), (3,), (3, 5)] if several else [5, 5, 3, 3])
    assert [packed[index] for index in range(4)] == labels


# what is read many rows at a time, and what is not: spaces, empty rows, both forms of names, times of all kinds
CELLS = dict(
    path=['a.mp4', ' b.mp4 ', '"c,d.mp4"', 'ä/中.mp4', '"e\nf.mp4"'],
    video=['a.mp4', '', 'ä.mp4'],
    audio=['b.wav', ' c.wav'],
    fps=['', '25', '12.5'],
    label=['dog barking', '1', ' 7', '"people eating, noodle"', '02'],
    several=['dog barking', '', '7|dog barking', '1 | 0|1', '"people eating, noodle|7"'],
    start=['', '0', ' 1.5', '1e0', '0.1'],
    end=['', '2', '40.25'],
)


@pytest.mark.parametrize('columns', ['path,label', 'path,several,start,end', 'video,audio,fps,label', 'end,label,path'])
@pytest.mark.parametrize('empty', [0, 7])
def test_many_rows_at_a_time_are_those_one_by_one(write, monkeypatch, columns, empty):
    names = columns.split(',')
    draw = np.random.default_rng(0)
    lines = [','.join(str(draw.choice(CELLS[name])) for name in names) for _ in range(1200)]
    if empty:
        lines[empty::empty] = ['' if k % 2 else ', ' * (len(names) - 1) for k in range(len(lines[empty::empty]))]
    path = write('\n'.join([columns.replace('several', 'label'), *lines]))
    several = 'several' in names
    fast = read_manifest(path, CLASSES, multi_label=several)
    monkeypatch.setattr(module, 'plain_columns', lambda table, chunk: None)
    slow = read_manifest(path, CLASSES, multi_label=several)
    read = [[each[k] for k in range(len(each))] for each in (fast, slow)]
    assert read[0] == read[1] and len(fast) == len(lines) - len(lines[empty::empty] if empty else [])
    assert [type(value) for value in read[0][0].label.values()] == [tuple if several else int]
    for name in ('video', 'audio', 'fps') if 'video' in names else ():
        assert [getattr(row.path, name) for row in read[0]] == [getattr(row.path, name) for row in read[1]]
    again = Manifest(iter(read[0]))
    assert [again[k] for k in range(len(again))] == read[0] and again[-1] == read[0][-1]
    with pytest.raises(IndexError, match='row'):
        again[len(again)]


@pytest.mark.parametrize('row', [1, 499, 500, 501, 1200])
@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('a.mp4,zebra,,', "label 'zebra' is not in the class list"),
        ('a.mp4,0,3,2', 'end 2 s is not after start 3 s'),
        ('a.mp4,0,nan,', "start 'nan' is not a time in seconds"),
        (' ,0,,', 'the path is empty'),
        ('a.mp4,0,', '3 cells under a header of 4'),
        ('"a.mp4"x,0,,', 'not CSV'),
    ],
)
def test_the_first_error_names_its_row_among_many(write, row, line, message):
    lines = ['b.mp4,1,0.5,2'] * 1300
    lines[row - 1], lines[row + 20] = line, 'c.mp4,another,,'
    with pytest.raises(ManifestError, match=f'train.csv: row {row + 1}: {message}'):
        read_manifest(write('\n'.join(['path,label,start,end', *lines])), CLASSES)


def test_text_in_another_encoding_is_told_before_its_rows(write):
    lines = ['a.mp4,zebra', *['b.mp4,0'] * 3000, '\u00e4.mp4,0']
    with pytest.raises(ManifestError, match='train.csv: the manifest is not UTF-8 text'):
        read_manifest(write('\n'.join(['path,label', *lines]), encoding='latin-1'), CLASSES)


def test_columns_keep_what_is_needed(write):
    plain = read_manifest(write('path,label\n' + 'a.mp4,1\n' * 700), CLASSES)
    assert plain._spans is None and plain._lines is None and plain._labels[0].flat()[0].dtype == np.int16
    late = read_manifest(write('path,label,end\n' + 'a.mp4,1,\n' * 700 + '\nb.mp4,2,0.1'), CLASSES)
    assert late[700] == ManifestRow('b.mp4', dict(label=2), None, 0.1, 703)
    assert len(Columns()) == 0 and len(Manifest([])) == 0
