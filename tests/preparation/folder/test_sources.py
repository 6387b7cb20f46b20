"""What was cut from one recording is found by content and names, and told; series of names are no recordings."""

from __future__ import annotations

import pytest

from mmav.errors import MmavError
from mmav.preparation.folder.listing import ListedClip
from mmav.preparation.folder.sources import equal_files, group_sources


def clips(*paths, part=None):
    return [ListedClip(path, path.split('/')[0], part) for path in paths]


def test_equal_files_are_found_by_content(tmp_path):
    for name, text in dict(a='same', b='same', c='else', d='same', e='', f='').items():
        (tmp_path / name).write_text(text)
    assert equal_files(tmp_path, [*'abcdef', 'missing', 'a']) == [['a', 'b', 'd']]


def test_names_of_vggsound():
    sources, told = group_sources(clips('x/AbCdEfGhIj1_000010.mp4', 'y/AbCdEfGhIj1_000020.mp4', 'x/-bCdEfGhIj1_1.mp4'))
    assert list(sources.values()) == ['AbCdEfGhIj1', 'AbCdEfGhIj1', '-bCdEfGhIj1']
    assert told == ['3 files named <id>_<start> come from 2 recordings']


@pytest.mark.parametrize('name', ['a_part{}', 'a-Scene {}', 'a.seg{}', 'a chunk_0{}', 'apart{}'])
def test_marked_parts(name):
    sources, told = group_sources(clips(*(f'x/{name.format(k)}.mp4' for k in (1, 2, 3)), 'x/b.mp4'))
    assert len({*sources.values()}) == 2 and len(told) == 1
    assert 'come from 1 recording' in told[0]


def test_a_mark_alone_is_no_recording():
    sources, told = group_sources(clips('x/part1.mp4', 'x/part2.mp4'))
    assert len({*sources.values()}) == 2 and told == []


def test_counters_tell_recordings_if_there_are_enough():
    people = [f'x/{name}_{k}.mp4' for name in ('anna', 'ben', 'cem', 'dora', 'eve') for k in (1, 2)]
    assert len({*group_sources(clips(*people))[0].values()}) == 5
    # of four, they are more likely cameras
    assert len({*group_sources(clips(*people[:8]))[0].values()}) == 8


@pytest.mark.parametrize('name', ['dog_{:03d}', 'Dog-{}', 'IMG_{:04d}', '{}'])
def test_a_series_of_names_is_no_recording(name):
    sources, told = group_sources(clips(*(f'dog/{name.format(k)}.mp4' for k in range(12))))
    assert len({*sources.values()}) == 12 and told == []


def test_sub_folders_of_a_class_are_recordings():
    paths = [f'dog/day{day}/{k}.mp4' for day in range(5) for k in range(2)]
    assert {*group_sources(clips(*paths))[0].values()} == {f'day{day}' for day in range(5)}


def test_the_users_own_lists_overrule_counters():
    """A name that the user has in training and test is no recording for the user."""
    people = [f'x/{name}_{k}.mp4' for name in ('anna', 'ben', 'cem', 'dora', 'eve') for k in (1, 2)]
    listed = [*clips(*people, part='train'), ListedClip('x/anna_3.mp4', 'x', 'test')]
    assert len({*group_sources(listed)[0].values()}) == 11


def test_copies_join_recordings():
    sources, told = group_sources(
        clips('x/a_part1.mp4', 'x/a_part2.mp4', 'y/b_part1.mp4', 'y/c.mp4'), [['x/a_part2.mp4', 'y/b_part1.mp4']]
    )
    assert sources['x/a_part1.mp4'] == sources['y/b_part1.mp4'] != sources['y/c.mp4']
    assert told[-1] == '2 files are copies of each other and count as 1'


def test_a_pattern_replaces_the_rules():
    sources, told = group_sources(clips('x/s1_a.mp4', 'x/s2_a.mp4', 'y/s1_b.mp4'), pattern=r'(s\d)_')
    assert sources == {'x/s1_a.mp4': 's1', 'x/s2_a.mp4': 's2', 'y/s1_b.mp4': 's1'}
    assert told == ["3 files by the pattern '(s\\\\d)_' come from 2 recordings"]
    with pytest.raises(MmavError, match=r"--source '\(' is not a regular expression"):
        group_sources(clips('x/a.mp4'), pattern='(')
    with pytest.raises(MmavError, match=r"finds nothing in 'x/a\.mp4' \(nor in 0 other paths\)"):
        group_sources(clips('x/a.mp4'), pattern='b')
