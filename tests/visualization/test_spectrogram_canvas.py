"""The canvas shows each tone at its frequency and time, and the cursor where the sound is."""

from __future__ import annotations

import math
import wave

import numpy as np
import pytest

from mmav.datasets.media import streaming
from mmav.datasets.media.streaming import StreamReader
from mmav.visualization.spectrogram_canvas import SpectrogramCanvas

RATE = 16000


@pytest.fixture
def tones(tmp_path):
    """4 s: silence, 1 s of 1 kHz, silence, 1 s of 4 kHz."""
    time = np.arange(4 * RATE) / RATE
    sound = np.sin(2 * np.pi * 1000 * time) * (time // 1 == 1) + np.sin(2 * np.pi * 4000 * time) * (time // 1 == 3)
    with wave.open(str(tmp_path / 'tones.wav'), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((9000 * sound).astype('<i2').tobytes())
    return str(tmp_path / 'tones.wav')


def plot_of(canvas, seconds):
    left, top, right, bottom = canvas._box
    return canvas.draw(seconds)[top:bottom, left:right].astype(int).sum(axis=2)


def height_of(hertz):
    """Height in the plot from its top, as a share, on the HTK mel scale from 20 Hz to 8 kHz."""
    low, at, high = (2595 * math.log10(1 + f / 700) for f in (20, hertz, 8000))
    return 1 - (at - low) / (high - low)


def test_tones_are_where_they_sound(tones):
    with StreamReader(tones) as reader:
        canvas = SpectrogramCanvas(reader)
    assert (canvas.start, canvas.end) == (0.0, 4.0)
    plot = plot_of(canvas, 0.0)
    height, width = plot.shape
    for hertz, first in ((1000, 1), (4000, 3)):
        part = plot[:, round((first + 0.2) * width / 4) : round((first + 0.8) * width / 4)]
        assert part.mean(axis=1).argmax() / height == pytest.approx(height_of(hertz), abs=0.02)
    assert plot[:, round(2.2 * width / 4) : round(2.8 * width / 4)].max() < 60


def test_cursor_moves_and_long_files_scroll(tones):
    with StreamReader(tones) as reader:
        whole, part = SpectrogramCanvas(reader), SpectrogramCanvas(reader, window=2.0)
    white = 3 * 255
    for canvas, places in ((whole, {1.0: 0.25, 2.5: 0.625}), (part, {0.5: 0.25, 1.5: 0.5, 2.5: 0.5, 3.5: 0.75})):
        for seconds, place in places.items():
            plot = plot_of(canvas, seconds)
            columns = np.flatnonzero((plot == white).all(axis=0))
            assert columns.mean() / plot.shape[1] == pytest.approx(place, abs=0.01), seconds
    # around 2.5 s: from 1.5 s on, so the first tone ends after a quarter
    plot = plot_of(part, 2.5)
    row = plot[round(height_of(1000) * plot.shape[0])]
    assert row[: round(0.2 * len(row))].min() > 300 > row[round(0.3 * len(row)) : round(0.45 * len(row))].max()


def test_pieces_make_no_seams_and_a_part_is_cut_out(tones, monkeypatch):
    with StreamReader(tones) as reader:
        whole = SpectrogramCanvas(reader).draw(2.0)
        part = SpectrogramCanvas(reader, start=1.0, end=2.0)
        monkeypatch.setattr(streaming, 'PIECE', 0.333)
        np.testing.assert_array_equal(SpectrogramCanvas(reader).draw(2.0), whole)
    assert (part.start, part.end) == (1.0, 2.0)
    plot = plot_of(part, 2.0)
    assert (plot[round(height_of(1000) * plot.shape[0]), :-10] > 300).all()


def test_silence(tmp_path, make_clip):
    source = make_clip('canvas_silence.wav', video=None, audio='pcm_s16le', seconds=0.02, sample_rate=8000)
    with StreamReader(str(source)) as reader:
        picture = SpectrogramCanvas(reader).draw(0.01)
    assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8
