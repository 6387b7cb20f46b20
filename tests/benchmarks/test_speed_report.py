"""Figures and tables from known times."""

from __future__ import annotations

import mmap

import pytest

from benchmarks.speed_report import (
    PARTS,
    ClipTimes,
    Measurement,
    loader_lines,
    machine,
    resident_memory,
    text_table,
)


def test_figures_of_known_times():
    clips = [
        ClipTimes(dict(LoadClip=4.0, RandomFlip=1.0, LogMel=1.0, Slow=1.0, PackAVInputs=1.0, collate=2.0), 5.0),
        ClipTimes(dict(LoadClip=6.0, RandomFlip=3.0, LogMel=2.0, Slow=3.0, PackAVInputs=3.0, collate=3.0), 5.0),
        ClipTimes(dict(LoadClip=5.0, RandomFlip=2.0, LogMel=3.0, Slow=2.0, PackAVInputs=2.0, collate=1.0), 10.0),
    ]
    result = Measurement(clips, broken=1, memory=(2**20, 3 * 2**20)).summary()
    assert result['total_ms'] == dict(median=15e3, mean=pytest.approx(15e3))
    assert result['steps_ms']['RandomFlip'] == dict(median=2e3, mean=2e3)
    assert list(result['parts_ms']) == list(PARTS)
    assert sum(figures['mean'] for figures in result['parts_ms'].values()) == pytest.approx(result['total_ms']['mean'])
    assert (result['data_path_to_bare'], result['load_clip_to_bare']) == (2.0, 0.8)
    assert result['audio_front_end_share'] == pytest.approx(2 / 15)
    assert result['clips_per_second_per_worker'] == pytest.approx(1 / 15)
    table = text_table(result)
    assert table.splitlines()[2].split() == ['RandomFlip', 'video', 'transforms', '2000.00', '2000.00', '13.3%']
    assert 'clips                      3 measured, 1 broken' in table
    assert '1 MiB after the warm-up, 3 MiB at the end' in table


def test_a_loader_in_words():
    memory = dict(after_warm_up=dict(main=2**20, workers=None), at_end=dict(main=2**21, workers=None))
    lines = loader_lines(
        dict(clips=8, batch_size=2, broken=1, clips_per_second=2.5, workers=3, memory_bytes=memory)
    ).splitlines()
    assert '2.50 clips/s with 3 workers; 8 clips in batches of 2, 1 broken' in lines[0]
    assert lines[1].endswith('1 MiB after the warm-up, 2 MiB at the end')
    assert lines[2].endswith('not known on this system')


def test_the_machine_in_words():
    told = machine()
    assert told['cpu'] and {'av', 'numpy', 'torch', 'libavcodec'} <= set(told['versions'])
    assert resident_memory(2**30) is None
    if resident_memory():
        block = mmap.mmap(-1, 200 * 2**20)  # memory that is certainly given back
        for start in range(0, len(block), 2**20):
            block[start : start + 2**20] = b'1' * 2**20
        with_block = resident_memory()
        block.close()
        assert resident_memory(peak=True) >= with_block - 2**20 > resident_memory()
