import numpy as np
import pytest

from mmav.errors import ConfigError
from mmav.inference.windows import place_windows


@pytest.mark.parametrize('duration', [0.3, 2.0, 2.19, 2.3, 7.7, 3600.0])
@pytest.mark.parametrize('stride', [None, 0.5, 2.0])
def test_windows_cover_the_file_without_gaps(duration, stride):
    windows = place_windows(duration, 2.0, stride)
    starts, ends = np.array(windows).T
    assert starts[0] == 0.0 and ends[-1] == pytest.approx(duration)
    assert (starts[1:] <= ends[:-1] + 1e-9).all() and (np.diff(starts) <= (stride or 2.0) + 1e-9).all()
    if len(windows) > 1:
        assert ends - starts == pytest.approx(2.0)
        assert np.diff(starts).min() == pytest.approx(np.diff(starts).max())
    assert len(windows) == (1 if duration <= 2.2 else np.ceil((duration - 2.0) / (stride or 2.0)) + 1)


def test_no_window_is_one_over_everything():
    assert place_windows(500.0, None) == [(0.0, 500.0)]


@pytest.mark.parametrize(('window', 'stride'), [(0.0, None), (2.0, -1.0), (2.0, 3.0), (float('nan'), None)])
def test_wrong_lengths(window, stride):
    with pytest.raises(ConfigError, match='window|stride'):
        place_windows(1.0, window, stride)
