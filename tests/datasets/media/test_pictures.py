"""From packets to frames: no more decoded than needed, scaled, upright, past damage."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media, pictures
from tests import clips


def test_decodes_only_what_the_wanted_frames_need(make_clip, monkeypatch):
    path = make_clip('groups.mp4', seconds=4.0, keyframes=6)
    decoded = []
    decode = pictures._decode
    monkeypatch.setattr(
        pictures, '_decode', lambda codec, packet, *more: decoded.append(packet) or decode(codec, packet, *more)
    )
    with open_media(str(path)) as reader:
        reader.read_frames([0.0, 3.0])
    # Two groups of six and a flush after each, of eight groups.
    assert len(decoded) <= 14


PLANNED = {
    'libsvtav1': ('mp4', 'mkv'),
    'libvpx-vp9': ('webm', 'mp4'),
    'libvpx': ('webm',),
    'mpeg4': ('mp4', 'mkv'),
    'libx265': ('mkv',),
}


@pytest.mark.parametrize(('codec', 'suffix'), [(codec, suffix) for codec in PLANNED for suffix in PLANNED[codec]])
def test_groups_give_the_frames_of_a_whole_decoding(make_clip, monkeypatch, codec, suffix):
    """Also where frames are hidden (the alternate reference frames of VP8 and VP9) or shown again (AV1)."""
    if codec not in av.codecs_available:
        pytest.skip(f'no encoder {codec} here')
    encoder = {
        'libsvtav1': {'preset': '12', 'svtav1-params': 'keyint=12'},
        'libvpx': {'auto-alt-ref': '1', 'lag-in-frames': '10', 'cpu-used': '8'},
        'libvpx-vp9': {'auto-alt-ref': '1', 'lag-in-frames': '10', 'cpu-used': '8'},
        'libx265': {'x265-params': 'log-level=none', 'preset': 'ultrafast'},
    }.get(codec, {})
    options = dict(seconds=6.0, keyframes=12, events=(0.5, 3.5), numbered=True, size=(64, 64), audio=None)
    path = make_clip(f'planned_{codec}.{suffix}', video=codec, encoder=encoder, **options)
    decoded, counts = [], []
    decode = pictures._decode
    monkeypatch.setattr(pictures, '_decode', lambda *args: decoded.append(0) or decode(*args))
    wanted = [np.array([0.3, 2.6, 5.2]), np.array([3.0]), np.random.default_rng(0).uniform(0, 6, 5)]
    frames = []
    for codecs in (pictures.PLANNED_CODECS, ()):
        monkeypatch.setattr(pictures, 'PLANNED_CODECS', codecs)
        with open_media(str(path)) as reader:
            frames.append([reader.read_frames(times) for times in wanted])
        counts.append(len(decoded))
    for (planned, times), (whole, whole_times) in zip(*frames, strict=True):
        np.testing.assert_array_equal(times, whole_times)
        np.testing.assert_array_equal(planned, whole)
    if codec != 'libvpx':
        # VP8 stores hidden frames as packets of their own, and has to be decoded whole where one of them is wanted.
        assert counts[0] < 0.6 * (counts[1] - counts[0])


def test_scaled_while_decoding_keeps_the_ratio(clip):
    with open_media(str(clip)) as reader:
        frames, _ = reader.read_frames([0.0, 1.0], short_side=24)
        large, _ = reader.read_frames([0.0], short_side=96)
        whole, _ = reader.read_frames([0.0])
    assert frames.shape == (2, 24, 32, 3)
    assert large.shape == (1, 96, 128, 3)
    # Twice as small: close to the mean of each four pixels.
    blocks = whole[0].reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(frames[0] - blocks).mean() < 2


def test_rotation_in_the_metadata(make_clip, clip):
    path = clips.rotate_by_metadata(make_clip('rotated.mp4', events=(0.5,)))
    with open_media(str(clip)) as reader:
        upright, _ = reader.read_frames([0.0])
    with open_media(str(path)) as reader:
        turned, _ = reader.read_frames([0.0])
        small, _ = reader.read_frames([0.0], short_side=24)
    np.testing.assert_array_equal(turned[0], np.rot90(upright[0], -1))
    assert small.shape == (1, 32, 24, 3)


def test_damage_in_mid_stream_costs_little(make_clip, clip_dir):
    whole = make_clip('long_groups.mp4', seconds=4.0, keyframes=12, events=(0.5, 3.5))
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path = clip_dir / 'damaged.mp4'
    path.write_bytes(data)
    with open_media(str(path)) as reader:
        _, times = reader.read_frames(np.arange(0.05, 4.0, 0.25))
        wave = reader.read_audio(0.0, 4.0, 16000)
        assert reader.info.damaged > 0
    assert np.mean(np.abs(times - np.arange(0.05, 4.0, 0.25)) < 1 / 24) > 0.7
    assert clips.onset(wave[48000:], 16000) == pytest.approx(0.5, abs=0.002)


def test_reordered_frames_of_a_container_without_presentation_times(make_clip):
    path = make_clip('reordered.avi', video='mpeg4', audio='pcm_s16le', b_frames=2)
    shown, _ = clips.displayed(path)
    with open_media(str(path)) as reader:
        frames, times = reader.read_frames(np.arange(24) / 12)
    np.testing.assert_allclose(times, np.arange(24) / 12, atol=1e-6)
    np.testing.assert_array_equal(frames, shown)
