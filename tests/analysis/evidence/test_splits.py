import pytest

from mmav.analysis.evidence.splits import read_splits
from mmav.errors import MmavError


def test_a_column_splits_the_clips(tmp_path):
    clips = [(place, f'{place}.mp4') for place in range(4)]
    table = tmp_path / 'evidence.csv'
    table.write_text('path,state\ntest/3.mp4,off\ntest/0.mp4,on\ntest/1.mp4,off\ntest/2.mp4,on\ntest/9.mp4,on\n')
    found = read_splits(f'{table}:state', clips)
    assert {name: places.tolist() for name, places in found.items()} == {'off': [1, 3], 'on': [0, 2]}
    for text, told in (
        ('state', 'give FILE:COLUMN'),
        (f'{table}:stat', "no column 'stat', did you mean 'state'"),
        (f'{tmp_path}/no.csv:state', 'cannot read'),
    ):
        with pytest.raises(MmavError, match=told):
            read_splits(text, clips)
    with pytest.raises(MmavError, match=r'has no row of 7\.mp4'):
        read_splits(f'{table}:state', [*clips, (7, '7.mp4')])
    table.write_text('path,state\na/0.mp4,off\nb/0.mp4,on\n')
    with pytest.raises(MmavError, match='two clips'):
        read_splits(f'{table}:state', clips)
