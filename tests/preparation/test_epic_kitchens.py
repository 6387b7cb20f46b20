from __future__ import annotations

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError
from mmav.outputs import RECORD
from mmav.preparation.annotations import BadRow
from mmav.preparation.epic_kitchens import (
    parse_timestamp,
    read_classes_by_id,
    read_epic_kitchens,
    read_epic_kitchens_test,
)
from mmav.preparation.manifests import prepare
from tests.clips import make_clip

HEADER = (
    'narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,'
    'narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n'
)
# the official form: a comma in a narration, lists as text, an empty narration_timestamp
VALIDATION = (
    HEADER
    + """\
P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]
P01_11_1,P01,P01_11,,00:00:00.50,00:00:01.25,93,147,"put down, plate",put-down,1,tap,0,"['tap', 'plate']","[0, 2]"
P18_107_3,P18,P18_107,00:00:48.500,00:01:00.25,01:00:00.5,2949,3057,take paper,take,0,box:paper,1,['paper'],[1]
"""
)
TRAIN = HEADER + 'P02_01_0,P02,P02_01,,00:00:00.14,00:00:01.37,8,202,put tap,put,1,tap,0,[],[]\n'
FILES = {
    'EPIC_100_validation.csv': VALIDATION,
    'EPIC_100_train.csv': TRAIN,
    'EPIC_100_verb_classes.csv': "id,key,instances,category\n0,take,\"['get', 'take']\",retrieve\n1,put,[],leave\n",
    'EPIC_100_noun_classes.csv': "id,key,instances,category\n0,tap,[],x\n2,plate,\"['a', 'b']\",x\n1,box:paper,[],x\n",
    'EPIC_100_tail_verbs.csv': 'verb\r\n1\r\n',
    'EPIC_100_tail_nouns.csv': 'noun\n0\n',
}


@pytest.fixture
def write(tmp_path):
    def write_lists(without=(), **changed):
        folder = tmp_path / 'annotations'
        folder.mkdir(exist_ok=True)
        for name, text in FILES.items():
            if name not in without:
                text = changed.get(name.removeprefix('EPIC_100_').removesuffix('.csv'), text)
                (folder / name).write_bytes(text.encode())
        return str(folder)

    return write_lists


def videos(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'x')
    return str(root)


def test_manifests(write, tmp_path):
    clips = videos(tmp_path / 'videos', 'P01/videos/P01_11.MP4', 'P18_107.mp4', 'P02_01.mkv')
    text = prepare(read_epic_kitchens(write()), clips, str(tmp_path))
    written = {path.name: path.read_bytes().decode() for path in tmp_path.iterdir() if path.is_file()}
    del written[RECORD]
    written.pop('prepare_report.json')
    assert written == {
        'train.csv': 'path,start,end,verb,noun,narration_id\nvideos/P02_01.mkv,0.14,1.37,put,tap,P02_01_0\n',
        'test.csv': (
            'path,start,end,verb,noun,narration_id\n'
            'videos/P01/videos/P01_11.MP4,0,1.89,take,plate,P01_11_0\n'
            'videos/P01/videos/P01_11.MP4,0.5,1.25,put,tap,P01_11_1\n'
            'videos/P18_107.mp4,60.25,3600.5,take,box:paper,P18_107_3\n'
        ),
        'verbs.txt': 'take\nput\n',
        'nouns.txt': 'tap\nbox:paper\nplate\n',
        'EPIC_100_tail_verbs.csv': 'verb\r\n1\r\n',
        'EPIC_100_tail_nouns.csv': 'noun\n0\n',
        'missing.csv': 'split,line,id,start,end,label,expected,reason\n',
    }
    assert 'test      3      3        0         0  100.00%' in text


def test_the_official_test_list_gives_a_manifest_without_labels(write, tmp_path):
    folder = write()
    listed = (
        'narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame\n'
        'P01_101_0,P01,P01_101,00:00:02.851,00:00:02.86,00:00:03.87,143,193\n'
        'P01_101_10,P01,P01_101,00:00:22.600,00:00:22.31,00:00:22.91,1115,1145\n'
        'P04_110_0,P04,P04_110,,00:00:00.5,00:00:01.25,25,62\n'
    )
    with pytest.raises(ManifestError, match=r'no EPIC_100_test_timestamps.csv in'):
        read_epic_kitchens_test(folder)
    (tmp_path / 'annotations' / 'EPIC_100_test_timestamps.csv').write_text(listed)
    clips = videos(tmp_path / 'videos', 'P01_101.MP4', 'P02_01.MP4')
    prepare(read_epic_kitchens(folder), clips, str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != RECORD}
    text = prepare(read_epic_kitchens_test(folder), clips, str(tmp_path))
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {name: after.pop(name) for name in before} == before  # those of training and validation stay
    assert after.pop('unlabelled.csv').decode() == (
        'path,start,end,narration_id\n'
        'videos/P01_101.MP4,2.86,3.87,P01_101_0\n'
        'videos/P01_101.MP4,22.31,22.91,P01_101_10\n'
    )
    assert after.pop('EPIC_100_test_timestamps.csv').decode() == listed
    assert (
        after.pop('missing_unlabelled.csv').decode().endswith('unlabelled,4,P04_110_0,0.5,1.25,,P04_110.MP4,no file\n')
    )
    copied = {f'EPIC_100_{part}_classes.csv' for part in ('verb', 'noun')}
    assert set(after) == {RECORD, 'prepare_report_unlabelled.json', *copied}
    assert 'unlabelled     3      2        1         0  66.66%' in text
    classes = dict(verb='verbs.txt', noun='nouns.txt')
    data = AVDataset('unlabelled.csv', [], data_root=str(tmp_path), classes=classes, test_mode=True, labelled=False)
    assert len(data) == 2 and data.get_data_info(0)['label'] == {}


def test_missing_videos(write, tmp_path):
    clips = videos(tmp_path / 'videos', 'P18_107.MP4')
    text = prepare(read_epic_kitchens(write()), clips, str(tmp_path))
    assert 'video with most missing  missing  rows\nP01_11                         2     2\n' in text
    assert (tmp_path / 'missing.csv').read_text().split('\n')[1:3] == [
        'train,2,P02_01_0,0.14,1.37,put tap,P02_01.MP4,no file',
        'test,2,P01_11_0,0,1.89,take plate,P01_11.MP4,no file',
    ]


def test_bad_rows_are_left_out(write):
    bad = """\
P01_11_2,P01,P01_11,,00:00:00.00,00:00:01.89,1,113,x,x,2,x,2,[],[]
P01_11_3,P01,P01_11,,00:00:00.00,00:00:01.89,1,113,x,x,0,x,-1,[],[]
P01_11_4,P01,P01_11,,00:00:02.00,00:00:02.00,1,113,x,x,0,x,2,[],[]
P01_11_5,P01,P01_11,,2.00,00:00:03.00,1,113,x,x,0,x,2,[],[]
P01_11_6,P01,,,00:00:02.00,00:00:03.00,1,113,x,x,0,x,2,[],[]
P01_11_7,P01,P01_11,,00:00:02.00
P01_11_0,P01,P01_11,,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,[],[]
"""
    annotation = read_epic_kitchens(write(validation=VALIDATION + bad))
    assert [clip.id for clip in annotation.clips] == ['P02_01_0', 'P01_11_0', 'P01_11_1', 'P18_107_3']
    assert [problem.text.removeprefix('EPIC_100_validation.csv: ') for problem in annotation.problems] == [
        "line 5: verb_class '2' is not one of 0 to 1",
        "line 6: noun_class '-1' is not one of 0 to 2",
        'line 7: end 2 s is not after start 2 s',
        "line 8: '2.00' is not a time of the form HH:MM:SS.ss",
        'line 9: no narration_id or video_id',
        'line 10: 5 cells, at least 13 are needed',
        'line 11: P01_11_0 is there already in EPIC_100_validation.csv, line 2',
    ]


def test_a_list_that_is_absent_is_told(write):
    folder = write(without=['EPIC_100_train.csv', 'EPIC_100_tail_nouns.csv'])
    annotation = read_epic_kitchens(folder)
    assert annotation.rows == dict(test=3) and set(annotation.copies) == {'EPIC_100_tail_verbs.csv'}
    assert annotation.notes == [
        f'EPIC_100_train.csv is not in {folder}: there is no train split',
        f'EPIC_100_tail_nouns.csv is not in {folder}: configs need it to report tail classes',
    ]


@pytest.mark.parametrize(
    ('without', 'message'),
    [
        (['EPIC_100_train.csv', 'EPIC_100_validation.csv'], 'neither EPIC_100_train.csv nor EPIC_100_validation.csv'),
        (['EPIC_100_verb_classes.csv'], 'no annotation file .*EPIC_100_verb_classes.csv'),
    ],
)
def test_lists_that_are_needed(write, without, message):
    with pytest.raises(ManifestError, match=message):
        read_epic_kitchens(write(without=without))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"no folder '.*nowhere'; give a copy of epic-kitchens-100-annotations"):
        read_epic_kitchens(str(tmp_path / 'nowhere'))


def test_the_test_list_has_no_labels(write):
    with pytest.raises(ManifestError, match="line 1: no column 'verb_class'"):
        read_epic_kitchens(write(validation='narration_id,video_id,start_timestamp,stop_timestamp\n'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('id,key\n0,take\n2,put\n', 'the 2 ids are not 0 to 1'),
        ('id,key\n0,take\n0,put\n', "line 3: id 0 or name 'put' is already above"),
        ('id,key\n0,take\n1,take\n', "line 3: id 1 or name 'take' is already above"),
        ('id,key\n', 'none of its 0 rows'),
    ],
)
def test_class_lists_that_are_none(tmp_path, text, message):
    (tmp_path / 'classes.csv').write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_classes_by_id(tmp_path / 'classes.csv')


def test_timestamps():
    assert [parse_timestamp(text) for text in ('00:00:00.00', '1:59:59.999', '10:00:07')] == [0, 7199.999, 36007]
    for text in ('', '00:60:00', '00:00:60', '-0:00:01', '00:00:01,5', '01:02'):
        with pytest.raises(BadRow, match='is not a time of the form HH:MM:SS.ss'):
            parse_timestamp(text)


def test_segments_are_read_from_the_manifest(write, tmp_path):
    (tmp_path / 'P01' / 'videos').mkdir(parents=True)
    make_clip(tmp_path / 'P01' / 'videos' / 'P01_11.mp4', seconds=2, events=(0.75,))
    prepare(read_epic_kitchens(write()), str(tmp_path), str(tmp_path))
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    classes = dict(verb='verbs.txt', noun='nouns.txt')
    dataset = AVDataset('test.csv', pipeline, data_root=str(tmp_path), classes=classes, test_mode=True)
    assert len(dataset) == 2 and dataset.num_classes == dict(verb=2, noun=3)
    item = dataset[1]
    assert item['broken'] is None and item['label'] == dict(verb=1, noun=0)
    assert (item['start'], item['end']) == (0.5, 1.25)
