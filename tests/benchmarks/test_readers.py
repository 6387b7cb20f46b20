import numpy as np
import pytest

from benchmarks import readers
from benchmarks.readers import TASKS, Task, main, measure_growth, measure_readers, read_task, readers_table
from mmav.datasets.media import PyAVReader


class Slow(PyAVReader):
    """Notes what is read."""

    asked: list = []

    def read_frames(self, times, *, short_side=None):
        self.asked.append((np.asarray(times), short_side))
        return super().read_frames(times, short_side=short_side)


@pytest.fixture
def both(monkeypatch):
    monkeypatch.setitem(readers.READERS, 'slow', Slow)
    monkeypatch.setattr(Slow, 'asked', [])
    return ['pyav', 'slow']


def test_a_task_says_what_is_read(both, clip):
    read_task(str(clip), 'slow', Task('', (0.5, 4), 16))
    read_task(str(clip), 'slow', Task('', (0.5, 0)))
    read_task(str(clip), 'slow', Task('', None, audio=True))
    (some, short_side), (every, _) = Slow.asked
    np.testing.assert_allclose(some, [0.625, 0.875, 1.125, 1.375])
    # 12 fps, and the clip of 2 s
    assert short_side == 16 and len(every) == 12


def test_readers_take_turns(both, clip):
    measured = measure_readers(str(clip), both, TASKS[:1], rounds=2)
    assert {name: len(seconds) for name, seconds in measured[TASKS[0].name].items()} == dict(pyav=2, slow=2)
    # and a warm-up
    assert len(Slow.asked) == 3


def test_the_table_compares_within_rounds():
    table = readers_table({'read': dict(pyav=[0.001, 0.002, 0.004], torchcodec=[0.002, 0.003, 0.008])})
    assert [cell.strip() for cell in table.split('\n')[-1].strip('| \n').split('|')] == ['read', '2.0', '3.0', '2.00']


def test_memory_is_told_ten_times(both, clip):
    sizes = measure_growth(str(clip), 'slow', 20)
    assert len(sizes) == 10 and max(sizes) < 2 * min(sizes)


def test_main(both, clip, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['readers', '--clip', str(clip), '--rounds', '1', '--backends', *both])
    main()
    assert f'{clip}, milliseconds' in capsys.readouterr().out
    monkeypatch.setattr('sys.argv', ['readers', '--clip', str(clip), '--opens', '10', '--backends', 'slow'])
    main()
    assert 'MB over 10 readings' in capsys.readouterr().out
