"""Pictures as a player shows them: turned, in true colours, of changing size; files with one track only."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.transforms import LoadClip
from tests import clips, remux
from tests.films import FPS

PATCHES = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 220, 40), (128, 128, 128), (30, 200, 200)])
# FFmpeg's number of each matrix, and the weights of red and blue in the brightness.
MATRICES = {'bt601': (5, 0.299, 0.114), 'bt709': (1, 0.2126, 0.0722), 'bt2020': (9, 0.2627, 0.0593)}


@pytest.mark.parametrize('quarters', [1, 2, 3])
def test_turned_by_metadata(make_clip, clip, quarters):
    path = clips.rotate_by_metadata(make_clip(f'turned_{quarters}.mp4', events=(0.5,)), quarters)
    with open_media(str(clip)) as reader:
        upright, _ = reader.read_frames([0.0, 1.5])
    with open_media(str(path)) as reader:
        turned, _ = reader.read_frames([0.0, 1.5])
    np.testing.assert_array_equal(turned, np.rot90(upright, -quarters, axes=(1, 2)))


@pytest.mark.parametrize('full_range', [False, True])
@pytest.mark.parametrize('matrix', MATRICES)
def test_colours(tmp_path, matrix, full_range):
    number, red, blue = MATRICES[matrix]
    r, g, b = PATCHES.T / 255
    y = red * r + (1 - red - blue) * g + blue * b
    planes = np.stack([y, (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))])
    scale, shift = ((255, 255, 255), (0, 128, 128)) if full_range else ((219, 224, 224), (16, 128, 128))
    planes = np.round(planes * np.array(scale)[:, None] + np.array(shift)[:, None]).astype(np.uint8)
    image = np.ascontiguousarray(planes[:, None, :].repeat(48, axis=1).repeat(16, axis=2))
    path = tmp_path / 'patches.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=5, options={'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = image.shape[2], 48, 'yuv444p'
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full_range else 1
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(image, format='yuv444p')
            frame.pts, frame.time_base = k, Fraction(1, 5)
            frame.colorspace, frame.color_range = number, 2 if full_range else 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_media(str(path)) as reader:
        frames, _ = reader.read_frames([0.4])
    # Rounded twice, and crf 1 is not quite lossless.
    np.testing.assert_allclose(frames[0, 24, 8::16].astype(int), PATCHES, atol=2)


@pytest.mark.parametrize('second', [(96, 128), (64, 48)])
def test_size_changes_in_mid_stream(make_clip, clip_dir, second):
    options = dict(seconds=4.0, fps=FPS, events=(0.5, 3.5), keyframes=12, numbered=True, sample_rate=44100)
    parts = [
        make_clip(f'size_{k}_{size[0]}.ts', **options, size=size, clock=clock)
        for k, (size, clock) in enumerate((((48, 64), 1.4), (second, 5.4)))
    ]
    path = remux.join(clip_dir / f'sizes_{second[0]}.ts', *parts)
    times = np.arange(96) / FPS
    with open_media(str(path)) as reader:
        frames, true = reader.read_frames(times)
        late, _ = reader.read_frames(times[60:70])
        small, _ = reader.read_frames(times, short_side=24)
        wave = reader.read_audio(0.0, 8.0, 16000)
    # One array holds frames of one size: that of the first of them.
    assert frames.shape[1:] == (48, 64, 3) and late.shape[1:] == (*second, 3) and small.shape[1:] == (24, 32, 3)
    for numbers in (clips.frame_numbers(frames), clips.frame_numbers(small)):
        np.testing.assert_array_equal(numbers, np.tile(np.arange(48), 2))
    np.testing.assert_allclose(true, times, atol=1e-3)
    for event in (0.5, 3.5, 4.5, 7.5):
        place = round((event - 0.3) * 16000)
        assert clips.onset(wave[place : place + 9600], 16000) - 0.3 == pytest.approx(0.0, abs=0.02)


# Raw AAC, MP2 and AC-3 do not tell the encoder's delay of 5 to 21 ms, and there is no picture that would.
@pytest.mark.parametrize(
    ('name', 'codec'),
    [
        ('mp3', 'libmp3lame'),
        ('flac', 'flac'),
        ('wav', 'pcm_s16le'),
        ('opus', 'libopus'),
        ('webm', 'libopus'),
        ('m4a', 'aac'),
        ('mka', 'aac'),
    ],
)
def test_sound_alone(make_clip, name, codec):
    path = make_clip(f'alone.{name}', seconds=4.0, video=None, audio=codec, events=(0.5, 3.5), sample_rate=48000)
    with open_media(str(path)) as reader:
        assert (reader.info.has_video, reader.info.duration) == (False, pytest.approx(4.0, abs=0.05))
        assert clips.onset(reader.read_audio(0.0, 4.0, 16000), 16000) == pytest.approx(0.5, abs=0.002)
    row = dict(path=str(path), start=3.2, end=3.8, modalities=('video', 'audio'), broken=None, rng=None)
    out = LoadClip(num_frames=2, short_side=16, mode='uniform')(row)
    assert out['masks'] == dict(video=False, audio=True)
    assert clips.onset(out['audio'][0], 16000) == pytest.approx(0.3, abs=0.002)


@pytest.mark.parametrize('name', ['mp4', 'mkv', 'ts', 'avi'])
def test_pictures_alone(make_clip, name):
    video = 'mpeg4' if name == 'avi' else 'libx264'
    path = make_clip(f'mute.{name}', seconds=4.0, fps=FPS, video=video, audio=None, numbered=True, b_frames=2)
    row = dict(path=str(path), start=3.0, end=3.5, modalities=('video', 'audio'), broken=None, rng=None)
    out = LoadClip(num_frames=3, mode='uniform')(row)
    assert out['masks'] == dict(video=True, audio=False)
    np.testing.assert_allclose(out['frame_times'][0], [37 / 12, 39 / 12, 41 / 12], atol=1e-3)
    np.testing.assert_array_equal(clips.frame_numbers(out['video'][0]), [37, 39, 41])
