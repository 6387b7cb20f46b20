from __future__ import annotations

import pytest
import torch

from mmav.datasets import AVDataset, broken_clips, seldom
from mmav.datasets.broken_clips import BROKEN, DAMAGED, UNSEEN, WHOLE, Judge, judge, require_files
from mmav.errors import TooManyBrokenClips


def states(unseen=0, whole=0, broken=0, damaged=0):
    kinds = ((UNSEEN, unseen), (WHOLE, whole), (BROKEN, broken), (DAMAGED, damaged))
    return torch.tensor([kind for kind, number in kinds for _ in range(number)], dtype=torch.uint8)


def test_the_share_of_what_was_seen_or_of_all():
    judge('m.csv', states(), 0.0)
    judge('m.csv', states(whole=9, broken=1), 0.1)
    judge('m.csv', states(unseen=60, whole=20, broken=20), 0.1)  # seen too few of many
    judge('m.csv', states(unseen=60, whole=50, broken=10), 0.1, of_all=True)  # what comes may be whole
    for seen, of_all in ((states(whole=8, broken=2), False), (states(unseen=40, whole=48, broken=12), True)):
        with pytest.raises(
            TooManyBrokenClips, match='clips seen of m.csv cannot be read, more than max_broken_share=0.1'
        ):
            judge('m.csv', seen, 0.1, of_all=of_all)
    with pytest.raises(TooManyBrokenClips, match='none of the 3 clips of m.csv can be read'):
        judge('m.csv', states(broken=3), 1.0)


@pytest.mark.parametrize('share', [0.1, 1.0])
def test_among_many_clips_counting_is_rare_and_the_end_is_the_same(monkeypatch, share):
    """Broken and whole clips in any order: the run ends with the same clip as if all were counted each time."""
    monkeypatch.setattr(seldom, 'COUNTED_ALWAYS', 100)
    counted = []
    monkeypatch.setattr(broken_clips, 'judge', lambda *args: counted.append(1) or judge(*args))
    draw = torch.Generator().manual_seed(0)
    found = torch.full((4000,), UNSEEN, dtype=torch.uint8)
    often, rare = Judge('m.csv', found), 0
    for k, point in enumerate(torch.rand(4000, generator=draw).tolist()):
        broken = point < (0.05 if share < 1 and k < 2000 else 0.5 if share < 1 else 1.0)
        found[k] = BROKEN if broken else WHOLE
        try:
            judge('m.csv', found, share)
            ends = False
        except TooManyBrokenClips as error:
            ends = str(error)
        if ends:
            with pytest.raises(TooManyBrokenClips) as raised:
                often(share, new=True)
            assert str(raised.value) == ends and broken
            break
        if broken:
            rare += 1
            often(share, new=True)
            often(share, new=False)  # met again
    assert ends and len(counted) < 0.5 * rare


@pytest.fixture
def listed(tmp_path):
    """A dataset of 200 rows, of which so many name a file that is there."""

    def make(there, **options):
        (tmp_path / 'there.mp4').touch()
        rows = [f'{"there" if i < there else f"{i}/gone"}.mp4,0\n' for i in range(200)]
        (tmp_path / 'm.csv').write_text('path,label\n' + ''.join(rows))
        return AVDataset('m.csv', [], data_root=str(tmp_path), classes=['x'], **options)

    return make


def test_missing_files_end_a_run_at_its_start(listed):
    require_files(listed(200))
    require_files(listed(180))
    require_files(listed(1, max_broken_share=1.0))
    with pytest.raises(
        TooManyBrokenClips, match=r'none of the 200 clips of .*m.csv can be read: .*0/gone.mp4; give .*--data'
    ):
        require_files(listed(0, max_broken_share=1.0))
    with pytest.raises(
        TooManyBrokenClips, match=r'21 of the 200 clips .*there is no .*179/gone.mp4.*max_broken_share=0.1'
    ):
        require_files(listed(179))


def test_of_packed_clips_the_shards_are_named(listed, tmp_path):
    (tmp_path / 'shards').mkdir()
    (tmp_path / 'shards/shards.index').touch()
    with pytest.raises(TooManyBrokenClips, match=r"are packed: give --shards shards, or the dataset shards='shards'"):
        require_files(listed(0))


def test_a_pair_needs_both_its_files(tmp_path):
    (tmp_path / 'a.mp4').touch()
    (tmp_path / 'a.wav').touch()
    rows = ['a.mp4,a.wav,0'] * 8 + ['a.mp4,,0', 'a.mp4,gone.wav,0']
    (tmp_path / 'm.csv').write_text('\n'.join(['video,audio,label', *rows]))
    data = AVDataset('m.csv', [], data_root=str(tmp_path), classes=['x'])
    require_files(data)
    data.max_broken_share = 0.05
    with pytest.raises(TooManyBrokenClips, match=r'1 of the 10 clips .*there is no .*/gone.wav, for one'):
        require_files(data)
