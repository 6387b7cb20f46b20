import sys

import numpy as np
import pytest

from benchmarks import interval_coverage
from benchmarks.interval_coverage import World, coverage, false_claims


def test_what_is_drawn_has_the_truth_as_its_mean():
    world = World('row', seeds=0.3)
    drawn = np.mean([world.draw(np.random.default_rng(seed), 5, 400).mean() for seed in range(60)])
    assert drawn == pytest.approx(world.truth, abs=0.02)
    assert World('difference', difference=True).truth == 0


def test_intervals_over_seeds_and_clips_cover_and_those_over_either_do_not():
    found = coverage(World('row', seeds=0.3), 5, 300, runs=60)
    assert found['generalized'] > 0.88
    assert found['over_clips'] < found['generalized'] and found['over_seeds'] <= found['generalized']


def test_equal_rows_seldom_differ():
    found = false_claims([1.2] * 7, 5, runs=40)
    assert found['alone'] <= 0.15 and found['together'] <= 0.15


def test_tables_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['x', '--runs', '2'])
    monkeypatch.setattr(interval_coverage, 'SEEDS', (3,))
    monkeypatch.setattr(interval_coverage, 'CLIPS', (60,))
    interval_coverage.main()
    told = capsys.readouterr().out
    assert '| row, seeds alike | 3 | 60 | ' in told and '| 6 rows that spread alike | 3 | ' in told
