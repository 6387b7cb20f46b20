"""From packets to frames: no more decoded than needed, scaled, upright as ffmpeg shows them, past damage."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media, video
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.datasets.media.video import nearest, plan_frames
from mmav.visualization.annotated_video import write_annotated_video
from tests import clips


def test_decodes_only_what_the_wanted_frames_need(make_clip, monkeypatch):
    path = make_clip('groups.mp4', seconds=4.0, keyframes=6)
    decoded = []
    decode = video._decode
    monkeypatch.setattr(
        video, '_decode', lambda codec, packet, *more: decoded.append(packet) or decode(codec, packet, *more)
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
    decode = video._decode
    monkeypatch.setattr(video, '_decode', lambda *args: decoded.append(0) or decode(*args))
    wanted = [np.array([0.3, 2.6, 5.2]), np.array([3.0]), np.random.default_rng(0).uniform(0, 6, 5)]
    frames = []
    for codecs in (video.PLANNED_CODECS, ()):
        monkeypatch.setattr(video, 'PLANNED_CODECS', codecs)
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


def test_nearest_against_a_slow_search():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 50):
        values = np.sort(rng.choice(1000, size, replace=False))
        wanted = rng.uniform(-100, 1100, 200)
        slow = [int(np.argmin(np.abs(values - x))) for x in wanted]
        np.testing.assert_array_equal(nearest(values, wanted), slow)


def plan(pts, keys, wanted, hidden=()):
    return plan_frames(pts, [i in keys for i in range(len(pts))], [p not in hidden for p in pts], np.array(wanted))


def test_groups_without_a_wanted_frame_are_passed_over():
    pts = [0, 3, 1, 2, 4, 7, 5, 6, 8, 11, 9, 10]
    assert plan(pts, {0, 4, 8}, [1.2, 9.4]) == ([range(4), range(8, 12)], {1, 9})
    assert plan(pts, {0, 4, 8}, [2.0, 5.0]).runs == [range(8)]


def test_a_group_is_decoded_as_far_as_it_is_wanted():
    pts = list(range(12))
    # One packet more, which may hold the second field.
    assert plan(pts, {0, 6}, [1.0, 8.0]).runs == [range(3), range(6, 10)]
    # Another group needs all of it.
    assert plan([0, 1, 2, 4, 3, 5], {0, 3}, [0.0, 3.0]).runs == [range(6)]


def test_a_leading_picture_needs_the_group_before():
    # The second group is open: 3 is shown before its keyframe 4 and refers to the first group.
    pts = [0, 1, 2, 4, 3, 5]
    assert plan(pts, {0, 3}, [3.0]).runs == [range(6)]
    assert plan(pts, {0, 3}, [5.0]).runs == [range(3, 6)]


def test_hidden_frames_are_never_wanted():
    assert plan([-2, -1, 0, 1], {0}, [-5.0, 0.9], hidden=(-2, -1)).needed == {0, 1}
    assert plan([-2, -1], {0}, [0.0], hidden=(-2, -1)) == ([], frozenset())


# What ffmpeg inserts for a matrix (a, b, c, d) (fftools/ffmpeg_filter.c), and the same in NumPy.
SHOWN = {
    'hflip': ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    'vflip': ((1, 0, 0, -1), lambda image: image[::-1]),
    'hflip,vflip': ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    'transpose=clock': ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    'transpose=cclock': ((0, -1, 1, 0), lambda image: np.rot90(image)),
    'transpose=cclock_flip': ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    'transpose=clock_flip': ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


@pytest.fixture(params=SHOWN)
def case(request, make_clip):
    """A clip with a matrix, the frames without it, and what is to be made of them."""
    matrix, shown = SHOWN[request.param]
    options = dict(numbered=True, seconds=1.0, events=(0.5,))
    with open_media(str(make_clip('as_stored.mp4', **options))) as reader:
        stored = reader.read_frames([0.0, 0.5])[0]
    # Not the same in any other orientation.
    assert len({shown(stored[1]).tobytes() for _, shown in SHOWN.values()}) == len(SHOWN)
    path = make_clip(f'matrix_{request.param}.mp4', **options)
    return clips.set_matrix(path, matrix), [shown(image) for image in stored]


def test_frames(case):
    path, expected = case
    with open_media(str(path)) as reader:
        np.testing.assert_array_equal(reader.read_frames([0.0, 0.5])[0], expected)


def test_files_written_anew(case, tmp_path):
    path, expected = case
    transcode(str(path), str(tmp_path / 'anew.mp4'), TranscodeOptions(short_side=48, crf=1))
    drawn = []
    write_annotated_video(path, tmp_path / 'copy.mp4', lambda image, _: drawn.append(image) or image, min_side=64)
    np.testing.assert_allclose(drawn[0].astype(int), expected[0], atol=6)
    for name in ('anew.mp4', 'copy.mp4'):
        with open_media(str(tmp_path / name)) as reader:
            frames = reader.read_frames([0.0, 0.5])[0]
        assert np.abs(frames.astype(int) - expected).mean() < 6, name
