from __future__ import annotations

import json

import pytest

from mmav.errors import ManifestError
from mmav.preparation.segment_lists import find_part, read_segment_list, read_video_labels

# one segment of each of two videos, in the forms of public lists
ACTIVITYNET = {
    'version': 'VERSION 1.3',
    'taxonomy': [{'nodeName': 'cutting grass', 'nodeId': 1}],
    'database': {
        'aaa': {
            'duration': 90.2, 'subset': 'training', 'url': 'https://example.org/aaa', 'resolution': '320x240',
            'annotations': [{'segment': [1.5, 20.0], 'label': 'cutting grass'}],
        },
        'bbb': {'subset': 'validation', 'annotations': [{'segment': [0, 5], 'label': 'swimming'}]},
        'ccc': {'subset': 'testing', 'annotations': []},
    },
}  # fmt: skip
YOUCOOK2 = {
    'database': {
        'aaa': {
            'duration': 90, 'subset': 'training', 'recipe_type': 'cutting grass', 'video_url': 'https://example.org/aaa',
            'annotations': [{'segment': [1.5, 20.0], 'id': 0, 'sentence': 'cut it'}],
        },
        'bbb': {
            'subset': 'validation', 'recipe_type': 'swimming',
            'annotations': [{'segment': [0, 5], 'id': 0, 'sentence': 'swim'}],
        },
    }
}  # fmt: skip
HOWTO100M = {
    'aaa': {'start': [1.5, 25.0], 'end': [20.0, 30.5], 'text': ['cut it', 'well']},
    'bbb': {'start': [0], 'end': [5], 'text': ['swim']},
}
CAPTIONS = {
    'aaa': {'duration': 90.2, 'timestamps': [[1.5, 20.0]], 'sentences': ['cut it']},
    'bbb': {'duration': 9, 'timestamps': [[0, 5]], 'sentences': ['swim']},
}
TRIPLES = {'aaa': [[1.5, 20.0, 'cutting grass']], 'bbb': [[0, 5, 'swimming']]}
DICTS = {
    'aaa': [{'start_time': 1.5, 'end_time': 20.0, 'class': 'cutting grass'}],
    'bbb': [{'start_time': 0, 'end_time': 5, 'class': 'swimming'}],
}
RECORDS = [
    {'video_id': 'aaa', 'start': 1.5, 'end': 20.0, 'label': 'cutting grass', 'split': 'training'},
    {'video_id': 'bbb', 'start': 0, 'end': 5, 'label': 'swimming', 'split': 'validation'},
]
NESTED = [
    {'video_id': 'aaa', 'subset': 'training', 'segments': [[1.5, 20.0, 'cutting grass']]},
    {'video_id': 'bbb', 'subset': 'validation', 'segments': [[0, 5, 'swimming']]},
]


@pytest.fixture
def write(tmp_path):
    def write_list(content, name='list.json'):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write_list


def read(path, **kwargs):
    return [tuple(segment) for segment in read_segment_list(path, **kwargs)]


WITH_LABELS = [(1, 'aaa', '1.5', '20.0', 'cutting grass', ''), (2, 'bbb', '0', '5', 'swimming', '')]
WITH_SUBSETS = [(*segment[:5], subset) for segment, subset in zip(WITH_LABELS, ('training', 'validation'), strict=True)]


@pytest.mark.parametrize(
    ('content', 'names', 'expected'),
    [
        (ACTIVITYNET, {}, WITH_SUBSETS),
        (YOUCOOK2, dict(label='recipe_type'), WITH_SUBSETS),
        (TRIPLES, {}, WITH_LABELS),
        (DICTS, {}, WITH_LABELS),
        (RECORDS, {}, WITH_SUBSETS),
        (NESTED, {}, WITH_SUBSETS),
    ],
    ids=['activitynet', 'youcook2', 'triples', 'dicts', 'records', 'nested'],
)
def test_forms_of_json(write, content, names, expected):
    assert read(write(content), names=names) == expected


def test_texts_in_place_of_labels(write):
    expected = [
        (1, 'aaa', '1.5', '20.0', 'cut it', ''),
        (2, 'aaa', '25.0', '30.5', 'well', ''),
        (3, 'bbb', '0', '5', 'swim', ''),
    ]
    assert read(write(HOWTO100M), names=dict(label='text')) == expected
    assert read(write(CAPTIONS), names=dict(label='sentences')) == [
        (1, *expected[0][1:]), (2, *expected[2][1:])
    ]  # fmt: skip
    # none, where videos have labels
    assert [segment[4] for segment in read(write(HOWTO100M), labelled=False)] == ['', '', '']
    for content, keys in ((HOWTO100M, "'text'"), (YOUCOOK2, "'sentence'.* 'recipe_type'")):
        with pytest.raises(
            ManifestError, match=f'list.json: aaa: none of .*{keys}.* is a name for the label; say which with'
        ):
            read(write(content))


TABLES = {
    'a.csv': """\
video_id,t_start,t_end,label,subset
aaa,1.5,20.0,cutting grass,training

bbb,0,5,swimming,validation
""",
    'a.tsv': """\
youtube_id\tstart_seconds\tend_seconds\tclass\tsplit
aaa\t1.5\t20.0\tcutting grass\ttraining
bbb\t0\t5\tswimming\tvalidation
""",
    'b.csv': """\
# YTID, end, start, category, phase
aaa, 20.0, 1.5, "cutting grass", training
bbb, 5, 0, swimming, validation
""",
}


@pytest.mark.parametrize(('name', 'text'), TABLES.items(), ids=TABLES)
def test_tables(write, name, text):
    assert [segment[1:] for segment in read(write(text, name))] == [segment[1:] for segment in WITH_SUBSETS]


def test_two_columns_for_the_start_are_not_guessed_between(write):
    text = 'video,start,end,start_time,start_frame,label\naaa,0,1,3,90,x\n'
    with pytest.raises(ManifestError, match="'start', 'start_time' may all be the start; say which with --start"):
        read(write(text, 'a.csv'))
    assert read(write(text, 'a.csv'), names=dict(start='start_time')) == [(2, 'aaa', '3', '1', 'x', '')]
    text = 'video,start,end,start_frame,label\naaa,0,1,90,x\n'
    assert read(write(text, 'a.csv')) == [(2, 'aaa', '0', '1', 'x', '')]


def test_a_list_of_labels_in_json(write):
    content = [dict(video='aaa', start=0, end=1, labels=['x', 'y']), dict(video='aaa', start=2, end=3, labels=['x'])]
    assert [segment[4] for segment in read(write(content))] == ['x|y', 'x']


def test_an_empty_table(write):
    with pytest.raises(ManifestError, match='a.csv: it is empty'):
        read(write('', 'a.csv'))


def test_rows_have_their_line(write):
    text = 'video,start,end,label\naaa,0,1,"a, b"\n\nbbb,1,2,c\n'
    assert read(write(text, 'a.csv')) == [(2, 'aaa', '0', '1', 'a, b', ''), (4, 'bbb', '1', '2', 'c', '')]


@pytest.mark.parametrize(
    ('text', 'names', 'message'),
    [
        ('video_id,start_frame,end,label', {}, "line 1: 'start_frame' is not in seconds; divide it by the frame rate"),
        (
            'video_id,start_time,clip_start,end,label',
            {},
            "'start_time', 'clip_start' may all be the start; say which with --start",
        ),
        (
            'video_id,begin,end,what',
            {},
            "none of 'video_id', 'begin', 'end', 'what' is a name for the label; say which with --label",
        ),
        ('video_id,start,end,what', dict(label='whut'), r"no 'whut' \(--label\), only .*, did you mean 'what'\?"),
        ('video_id,start,end,label\na,1,2,b,c', {}, 'line 2: 5 cells under a header of 4; a cell that holds a comma'),
        ('video_id,start,end,label\n', {}, 'it has a header and nothing below'),
        ('a', {}, "line 1: 'a' are too few columns; needed are video, start, end, label"),
        ('video_id,start,end,label\na,1,2,"b', {}, 'not CSV'),
    ],
)
def test_tables_that_are_refused(write, text, names, message):
    with pytest.raises(ManifestError, match=message):
        read(write(text, 'a.csv'), names=names)


@pytest.mark.parametrize(
    ('content', 'names', 'message'),
    [
        ('{', {}, 'not JSON'),
        ('3', {}, 'list.json: it is none of the forms that are known'),
        ({'aaa': [[1, 2, 'a', 'b']]}, {}, 'aaa: it is none of the forms'),
        ({'aaa': 'b'}, {}, 'aaa: it is none of the forms'),
        ([['aaa', 1, 2]], {}, 'entry 1: it is none of the forms'),
        (
            [{'start': 1, 'end': 2, 'label': 'b'}],
            {},
            "entry 1: none of 'start', 'end', 'label' is a name for the video",
        ),
        (
            {'aaa': {'start': [1, 2], 'end': [3], 'text': ['a', 'b']}},
            dict(label='text'),
            'aaa: lists of different lengths: 2 start, 1 end, 2 text',
        ),
        (
            {'aaa': [{'segment': [1, 2], 'label': 'b'}]},
            dict(label='lable'),
            r"no 'lable' \(--label\), only 'segment', 'label', did you",
        ),
        ({'aaa': []}, {}, 'it has no segment'),
    ],
)
def test_json_that_is_refused(write, content, names, message):
    with pytest.raises(ManifestError, match=message):
        read(write(content), names=names)


def test_of_seconds_and_frames_seconds_are_taken():
    header = ['video_uid', 'clip_start_sec', 'clip_start_frame', 'clip_end_sec', 'clip_end_frame']
    assert [find_part('', part, header, {}) for part in ('video', 'start', 'end', 'label')] == [
        'video_uid', 'clip_start_sec', 'clip_end_sec', None
    ]  # fmt: skip


def test_labels_of_videos(write):
    table = 'video_id,category_1,rank\naaa,Food,1\nbbb,"Cars, Bikes",2\naaa,Food,3\n'
    path = write(table, 'videos.csv')
    assert read_video_labels(path, 'category_1') == {'aaa': 'Food', 'bbb': 'Cars, Bikes'}
    with pytest.raises(ManifestError, match="none of 'video_id', 'category_1', 'rank' is a name for the label"):
        read_video_labels(path)
    with pytest.raises(ManifestError, match="line 5: video 'aaa' is 'Home' here and 'Food' above"):
        read_video_labels(write(table + 'aaa,Home,4\n', 'videos.csv'), 'category_1')
