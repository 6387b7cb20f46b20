"""Frames by their times, and sound with its picture, over the encoders, containers and oddities of users' files."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.transforms import LoadClip
from tests import clips
from tests.films import FILMS, FPS, Film
from tests.torchcodec_here import missing_torchcodec

# The spans of late reading, in seconds of the recording; each holds an event.
SPANS = ((1.7, 2.4), (3.2, 3.8))
# Half a frame is 42 ms, and sound may be 20 ms off its picture: together these are stricter. Time stamps of Matroska
# are whole milliseconds.
FRAME_ERROR, CLICK_ERROR = 0.002, 0.018


def check_frames(film: Film, frames: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> None:
    """The frames are those displayed nearest to the times."""
    nearest = np.abs(film.times[:, None] - wanted).argmin(axis=0)
    np.testing.assert_array_equal(clips.frame_numbers(frames), film.numbers[nearest])
    np.testing.assert_allclose(times, film.times[nearest], atol=FRAME_ERROR)


def check_clicks(film: Film, wave: np.ndarray, start: float, end: float) -> None:
    """The events within the span are heard when they should be."""
    events = [event for event in film.clicks if start + 0.1 < event < end - 0.1]
    assert events
    for event in events:
        begin = max(0, round((event - start - 0.3) * 16000))
        click = clips.onset(wave[begin : begin + 9600], 16000) + begin / 16000 + start
        assert click == pytest.approx(event, abs=CLICK_ERROR)


def check_torchcodec(film: Film, wanted: np.ndarray, frames: np.ndarray, times: np.ndarray) -> None:
    """Where torchcodec is installed it gives the same, to the bit, or leaves the film to PyAV."""
    if not missing_torchcodec():
        with open_media(str(film.path), backend='torchcodec') as reader:
            found, found_times = reader.read_frames(wanted)
        np.testing.assert_array_equal(found, frames)
        np.testing.assert_array_equal(found_times, times)


@pytest.mark.parametrize('name', FILMS)
def test_whole_file(film, name):
    truth = film(name)
    with open_media(str(truth.path)) as reader:
        start, end = reader.fetch(0.0, reader.info.duration)
        frames, times = reader.read_frames(truth.times)
        wave = reader.read_audio(start, end, 16000)
        length = reader.info.duration
    check_frames(truth, frames, times, truth.times)
    check_clicks(truth, wave, start, end)
    lit = times[np.flatnonzero(np.diff(clips.flashing(frames).astype(int)) == 1) + 1]
    begins = truth.times[np.searchsorted(truth.times, np.array(truth.flashes) - 1e-6)]
    np.testing.assert_allclose(lit, begins, atol=FRAME_ERROR)
    # A container without frame lengths gives the last frame that of the others; sound is padded to whole frames.
    assert length == pytest.approx(truth.times[-1] + 1 / FPS, abs=1 / FPS)
    # As FFmpeg decodes from first to last.
    shown, shown_times = clips.displayed(truth.path)
    np.testing.assert_array_equal(frames, shown)
    if truth.path.suffix != '.avi':  # FFmpeg guesses some times there.
        np.testing.assert_allclose(times - times[0], shown_times, atol=1e-6)
    check_torchcodec(truth, truth.times, frames, times)


@pytest.mark.parametrize('name', FILMS)
def test_late_spans(film, name):
    truth = film(name)
    for span in SPANS:
        start, end = (second - truth.zero for second in span)
        wanted = np.arange(start, end, 0.04)
        with open_media(str(truth.path)) as reader:
            assert reader.fetch(start, end) == (start, end)
            frames, times = reader.read_frames(wanted)
            wave = reader.read_audio(start, end, 16000)
        check_frames(truth, frames, times, wanted)
        check_clicks(truth, wave, start, end)
        check_torchcodec(truth, wanted, frames, times)


@pytest.mark.parametrize('name', FILMS[::4])
def test_load_clip(film, name):
    """Of each kind some: it reads all of them by the same calls as above."""
    truth = film(name)
    start, end = (second - truth.zero for second in SPANS[-1])
    load = LoadClip(num_frames=10, mode='uniform')
    row = dict(path=str(truth.path), start=start, end=end, modalities=('video', 'audio'), broken=None, rng=None)
    out = load(row)
    assert out['masks'] == dict(video=True, audio=True)
    assert (out['start'], out['end']) == (start, end)
    check_frames(truth, out['video'][0], out['frame_times'][0], start + (np.arange(10) + 0.5) * (end - start) / 10)
    check_clicks(truth, out['audio'][0], start, end)
