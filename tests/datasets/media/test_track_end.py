import math

import pytest

from mmav.datasets.media.track_end import TrackEnd


@pytest.mark.parametrize(
    ('times', 'expected'),
    [
        ([], -math.inf),
        ([0.0, 0.1, 0.2], 0.3),
        ([0.2, 0.0, 0.1], 0.3),  # reordered
        ([0.0, 0.1, 86400.0, 0.2], 0.3),  # one that is wrong
        ([86400.0, 0.0, 0.1], 0.2),  # the first one
        ([0.0, 0.1, 86400.0, 86400.1], 86400.2),  # confirmed by the next
        ([0.0, 0.1, 86400.0, 200.0, 0.2], 0.3),  # two that do not agree
    ],
)
def test_end_of_a_track(times, expected):
    end = TrackEnd()
    for time in times:
        end.add(time, 0.1)
    assert end.seconds(0.0) == pytest.approx(expected)


def test_a_packet_that_does_not_say_how_long_it_lasts():
    end = TrackEnd()
    end.add(1.0, 0.0)
    assert end.seconds(0.25) == 1.25
