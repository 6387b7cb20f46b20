import pytest

from mmav.analysis.evidence.splits import read_splits
from mmav.errors import MmavError


def test_a_column_splits_the_clips(tmp_path):
    clips = [f'/data/test/{place}.mp4' for place in range(4)]
    table = tmp_path / 'evidence.csv'
    table.write_text('path,state\ntest/3.mp4,off\ntest/0.mp4,on\ntest/1.mp4,off\ntest/2.mp4,on\ntest/9.mp4,on\n')
    found = read_splits(f'{table}:state', clips)
    assert {name: places.tolist() for name, places in found.items()} == {'off': [1, 3], 'on': [0, 2]}
    assert read_splits(f'{table}:state', []) == {}
    for text, told in (
        ('state', 'give FILE:COLUMN'),
        (f'{table}:stat', "no column 'stat', did you mean 'state'"),
        (f'{tmp_path}/no.csv:state', 'cannot read'),
    ):
        with pytest.raises(MmavError, match=told):
            read_splits(text, [])
    with pytest.raises(MmavError, match=r'has no row of /data/test/7\.mp4'):
        read_splits(f'{table}:state', [*clips, '/data/test/7.mp4'])
    table.write_text('path,state\ntest/0.mp4\n')
    with pytest.raises(MmavError, match='row 1 has no state'):
        read_splits(f'{table}:state', [])


def test_clips_of_one_name_are_told_apart_by_their_folders(tmp_path):
    table = tmp_path / 'evidence.csv'  # as of AVSynth natural: of all lists
    table.write_text('path,state\nclips/train/0.mp4,off\nclips/test/0.mp4,on\nclips/test/1.mp4,off\n')
    places = read_splits(f'{table}:state', ['/moved/clips/test/0.mp4', 'clips/test/1.mp4'])
    assert {name: found.tolist() for name, found in places.items()} == {'off': [1], 'on': [0]}
    with pytest.raises(MmavError, match=r'several rows of 0\.mp4, with off and on'):
        read_splits(f'{table}:state', ['0.mp4'])
    with pytest.raises(MmavError, match=r'no row of clips/val/0\.mp4'):  # never the value of another list's clip
        read_splits(f'{table}:state', ['clips/val/0.mp4'])
