import pytest

from benchmarks.rounds import quartiles, ratio, time_in_turn


def test_ways_take_turns_and_the_first_round_does_not_count(monkeypatch):
    order, clock = [], [0.0]
    monkeypatch.setattr('benchmarks.rounds.time.perf_counter', lambda: clock[0])

    def way(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds * (10 if order.count(name) == 1 else 1)

        return run

    def after():
        order.append('after')
        clock[0] += 100

    seconds = time_in_turn(dict(a=way('a', 1.0), b=way('b', 2.0)), 2, after=after)
    assert order == ['a', 'after', 'b', 'after'] * 3
    assert seconds == dict(a=[1.0, 1.0], b=[2.0, 2.0])


def test_ratios_are_taken_within_rounds():
    # the machine was ten times as slow in the last round
    assert ratio([2.0, 2.2, 20.0], [1.0, 1.0, 10.0])['median'] == 2.0
    with pytest.raises(ValueError, match='longer'):
        ratio([1.0], [1.0, 2.0])
    assert quartiles([4.0]) == dict(median=4.0, low=4.0, high=4.0)
