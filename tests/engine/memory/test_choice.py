import itertools
import random

import numpy as np

from mmav.engine.memory.choice import Choice, Option


def example(seed, blocks=5):
    """A step of some blocks with three options each: forward through all, then back."""
    draw = random.Random(seed)
    options = []
    for _ in range(blocks):
        kept, extra, last = draw.randint(40, 400), 0, 0
        own = []
        for _ in range(3):
            own.append(Option(kept, draw.randint(0, 5), draw.randint(0, 60), kept + draw.randint(20, 90), extra))
            kept, last = draw.randint(kept // 8, kept), extra
            extra = last + draw.randint(1, 100)
        options.append(own)
    order = [*range(blocks), *reversed(range(blocks))]
    alive = np.zeros((2 * blocks, blocks), dtype=np.int64)
    for moment, block in enumerate(order):
        alive[moment, :block] = 1
    return Choice(
        np.array([draw.randint(100, 130) for _ in order]),
        alive,
        np.arange(2 * blocks) < blocks,
        turn=np.array(order),
        options=options,
    )


def test_close_to_the_best_of_all_combinations():
    ratios = []
    for seed in range(25):
        choice = example(seed)
        every = list(itertools.product(range(3), repeat=5))
        peaks, extras = [choice.peak(c) for c in every], [choice.extra(c) for c in every]
        for share in (0.25, 0.5, 0.75):
            budget = int(min(peaks) + share * (max(peaks) - min(peaks)))
            best = min(extra for extra, peak in zip(extras, peaks, strict=True) if peak <= budget)
            found = choice.choose(budget)
            assert found is not None and choice.peak(found) <= budget
            assert choice.extra(found) >= best
            ratios.append((choice.extra(found) + 1) / (best + 1))
    assert np.mean(ratios) < 1.05, np.mean(ratios)
    assert max(ratios) < 1.6, max(ratios)
    assert sum(ratio == 1 for ratio in ratios) > len(ratios) / 2


def test_nothing_is_computed_again_where_all_fits_and_nothing_is_found_where_nothing_fits():
    choice = example(1)
    assert choice.choose(10**6) == [0] * 5
    every = [choice.peak(c) for c in itertools.product(range(3), repeat=5)]
    assert choice.choose(min(every) - 1) is None
    assert choice.peak(choice.least()) <= 1.02 * min(every)


def test_the_time_line_is_added_up_as_it_is_said():
    options = [[Option(10, 1, 5, 12, 0)], [Option(20, 2, 7, 25, 0)]]
    alive = np.array([[0, 0], [1, 0], [1, 1], [1, 0], [0, 0]])
    choice = Choice(
        np.array([100, 100, 100, 200, 300]),
        alive,
        np.array([True, True, True, False, False]),
        turn=np.array([0, 1, -1, 1, 0]),
        options=options,
    )
    assert choice.taken([0, 0]).tolist() == [105, 100 + 11 + 7, 100 + 11 + 22, 200 + 10 + 25, 300 + 12]
