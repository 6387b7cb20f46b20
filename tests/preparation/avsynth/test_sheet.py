from pathlib import Path

import cv2
import pytest

from mmav.preparation.avsynth import generate
from mmav.preparation.avsynth.sheet import draw_sheet


def test_sheet_is_drawn(tmp_path: Path) -> None:
    generate(tmp_path / 'data', train=4, val=4, test=8, num_events=2, size=32, seconds=1, progress=False)
    draw_sheet(tmp_path / 'data', tmp_path / 'sheet.png', num_frames=4)
    picture = cv2.imread(str(tmp_path / 'sheet.png'))
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 20
    assert (tmp_path / 'sheet.png').stat().st_size < 200_000


def test_clips_with_several_events_are_drawn(tmp_path: Path) -> None:
    generate(tmp_path / 'data', task='events', train=1, val=1, test=4, size=32, seconds=1, progress=False)
    draw_sheet(tmp_path / 'data', tmp_path / 'sheet.png', num_frames=4)
    assert min(cv2.imread(str(tmp_path / 'sheet.png')).shape[:2]) > 200


def test_natural_clips_are_drawn(tmp_path: Path) -> None:
    small = dict(train=32, val=32, test=64, size=32, seconds=1, absent=0.1, silent=0.04, progress=False)
    generate(tmp_path / 'data', task='natural', **small)
    draw_sheet(tmp_path / 'data', tmp_path / 'sheet.png', num_frames=4)
    assert min(cv2.imread(str(tmp_path / 'sheet.png')).shape[:2]) > 200


def test_missing_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'events\.csv'):
        draw_sheet(tmp_path, tmp_path / 'sheet.png')
