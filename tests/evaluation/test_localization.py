import math

import numpy as np
import pytest

from mmav.errors import ManifestError
from mmav.evaluation.localization import (
    Event,
    Shares,
    box_cover,
    interval_cover,
    read_events,
    shares,
    summarise,
)


def test_a_uniform_map_has_the_share_of_the_area():
    boxes = np.array([[0.1, 0.2, 0.63, 0.9], [0.5, 0.0, 1.3, 0.5]])  # edges within pixels; beyond the picture
    cover = box_cover(boxes, (7, 9))
    area = (0.53 * 0.7 + 0.5 * 0.5) / 2
    found = shares(np.full((2, 7, 9), 0.3), cover)
    assert found.mass == pytest.approx(area) and found.room == pytest.approx(area)


def test_a_map_inside_has_all_and_one_outside_has_nothing():
    cover = box_cover(np.array([[0.25, 0.5, 0.75, 1.0]]), (4, 8))
    inside = np.zeros((1, 4, 8))
    inside[0, 2:, 2:6] = 1
    np.testing.assert_array_equal(cover, inside)
    assert shares(inside, cover).mass == 1 and shares(1 - inside, cover).mass == 0
    assert shares(inside, cover).room == 0.25
    assert math.isnan(shares(np.zeros((1, 4, 8)), cover).mass)


def test_covers_agree_with_counting_fine_points():
    boxes = np.array([[0.13, 0.31, 0.62, 0.77]])
    fine = (np.arange(6000) + 0.5) / 6000
    across = ((fine > 0.13) & (fine < 0.62)).reshape(6, -1).mean(1)
    down = ((fine > 0.31) & (fine < 0.77)).reshape(5, -1).mean(1)
    np.testing.assert_allclose(box_cover(boxes, (5, 6))[0], down[:, None] * across, atol=1e-3)


def test_time_of_a_spectrogram():
    cover = interval_cover(2.5, 5.0, 8)
    np.testing.assert_allclose(cover, [0, 0, 0.5, 1, 1, 0, 0, 0])
    found = shares(np.ones((4, 8)), cover)
    assert found.mass == pytest.approx(2.5 / 8) == found.room


def test_boxes_in_a_crop():
    event = Event(np.array([0.0, 1.0]), np.array([[0.25, 0.25, 0.5, 1.0], [0, 0, 1, 1]]), 0.0, 1.0)
    found = event.boxes_in(np.array([0.2, 0.9]), (0.25, 0.0, 0.75, 0.5))
    np.testing.assert_allclose(found, [[0.0, 0.5, 0.5, 2.0], [-0.5, 0, 1.5, 2]])


def test_a_summary_leaves_out_maps_of_nothing():
    found = summarise([Shares(0.8, 0.2), Shares(0.4, 0.4), Shares(math.nan, 0.9)])
    assert found['clips'] == 3 and found['without_map'] == 1
    assert found['mass'] == pytest.approx(0.6) and found['room'] == pytest.approx(0.3)
    assert found['ratio'] == pytest.approx(2.0) and found['interval'] == pytest.approx([1.0, 4.0])
    assert summarise([Shares(math.nan, 0.5)])['ratio'] is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        room = rng.uniform(0.1, 0.3, 60)
        mass = room * 2 + rng.normal(0, 0.1, 60)
        low, high = summarise([Shares(*pair) for pair in zip(mass, room, strict=True)], draws=400, seed=seed)[
            'interval'
        ]
        hits += low < 2 < high
    assert 178 <= hits <= 199


def test_events_of_avsynth(tmp_path):
    with pytest.raises(ManifestError, match=r"no '.*boxes.csv': only AVSynth says where its events are"):
        read_events(tmp_path)
    corners = 'x0,y0,x1,y1'
    (tmp_path / 'boxes.csv').write_text(
        f'path,frame,seconds,{corners}\na.mp4,0,0.0,0,0,1,1\na.mp4,1,0.5,0,0,0.5,0.5\na.mp4,2,1.0,0.5,0.5,1,1\n'
    )
    (tmp_path / 'events.csv').write_text(
        f'path,visual,sound,onset,offset,{corners}\na.mp4,spin,hiss,0.25,0.75,0,0,1,1\n'
    )
    event = read_events(tmp_path)['a.mp4']
    assert (event.onset, event.offset) == (0.25, 0.75)
    np.testing.assert_array_equal(event.boxes_at([0.76, 0.2])[:, 2], [1.0, 1.0])
    np.testing.assert_array_equal(event.boxes_at([0.4])[0], [0, 0, 0.5, 0.5])
    (tmp_path / 'events.csv').write_text('path,onset\na.mp4,0.25\n')
    with pytest.raises(ManifestError, match="has no column 'offset'"):
        read_events(tmp_path)
