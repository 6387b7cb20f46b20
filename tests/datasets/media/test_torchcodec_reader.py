"""Which frames torchcodec is asked for, what is left to PyAV, and, where it is installed, that both see the same.

test_alignment.py compares them on all its films.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from mmav.datasets.media import BytesFile, Limits, PairPath, open_media
from mmav.datasets.media import torchcodec_reader as module
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError
from tests import clips
from tests.datasets.media import test_frame_size
from tests.films import FRAGMENTS
from tests.held import nothing_held
from tests.torchcodec_here import StandIn, needs_torchcodec

TIMES = np.array([3.4, 0.21, 1.0, 1.0, 2.75])


@pytest.fixture
def library(monkeypatch):
    """A stand-in for torchcodec."""
    stand_in = StandIn()
    for name in ('mmav.datasets.media', 'mmav.datasets.media.torchcodec_reader'):
        monkeypatch.setattr(f'{name}.load_torchcodec', stand_in.library)
    monkeypatch.setattr(module, '_told', set())
    return stand_in


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    lines: list[str] = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device, as far as torch says."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'init', lambda: None)


def read(path, backend='torchcodec', *, short_side=None, **options):
    with open_media(path, backend=backend, **options) as reader:
        return reader.read_frames(TIMES, short_side=short_side)


def check_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_asks_for_the_nearest_frames_once_each_in_order(library, flashes):
    check_equal(read(str(flashes), threads=3), read(str(flashes), 'pyav'))
    asked = library.asked[0]
    assert asked.source == f'file:{flashes}' and asked.stream_index == 0
    assert (asked.dimension_order, asked.num_ffmpeg_threads, asked.device) == ('NHWC', 3, 'cpu')
    assert asked.transforms is None
    # 30 fps, counted from the span's first packet, which is the file's.
    assert library.batches == [[6, 30, 82, 102]]


def test_bytes_go_through_memory(library, flashes):
    check_equal(read(BytesFile('clip.mp4', flashes.read_bytes())), read(str(flashes), 'pyav'))
    assert library.asked[0].source == flashes.read_bytes()


def test_both_files_of_a_pair(library, flashes):
    pair = PairPath(str(flashes), str(flashes))
    check_equal(read(pair), read(pair, 'pyav'))
    assert len(library.batches) == 1


@pytest.mark.parametrize('short_side', [None, 24])
def test_turned_frames_are_scaled_upright(library, flashes, tmp_path, short_side):
    turned = clips.rotate_by_metadata(_copy(flashes, tmp_path / 'turned.mp4'), 1)
    frames, times = read(str(turned), short_side=short_side)
    expected, expected_times = read(str(turned), 'pyav', short_side=short_side)
    np.testing.assert_array_equal(times, expected_times)
    assert frames.shape == expected.shape and library.batches
    # The stand-in scales another way than PyAV's reader.
    assert np.abs(frames.astype(int) - expected).mean() < (1e-9 if short_side is None else 8)


def _copy(source, target):
    target.write_bytes(source.read_bytes())
    return target


OTHERS = {
    'a file of mpegts': dict(name='plain.ts', seconds=4.0),
    'frames of yuv420p10le': dict(name='ten.mp4', seconds=4.0, pixels='yuv420p10le'),
    'a packet of mjpeg may be no frame, or several': dict(
        name='jpegs.mov', seconds=4.0, video='mjpeg', audio='pcm_s16le', pixels='yuvj420p'
    ),
    'its mpeg4 may change the size of frames': dict(name='four.mp4', seconds=4.0, video='mpeg4'),
}


@pytest.mark.parametrize('reason', OTHERS)
def test_left_to_pyav(library, said, make_clip, reason):
    options = dict(OTHERS[reason])
    path = str(make_clip(f'left_{options.pop("name")}', **options))
    for _ in range(2):
        check_equal(read(path), read(path, 'pyav'))
    assert said == [f'{path}: not read by torchcodec but by PyAV, as others like it: {reason}']
    assert not library.batches


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        (dict(metadata=dict(height=50)), 'FFmpeg of the system reads another size or rotation from its header'),
        (dict(metadata=dict(rotation=90)), 'FFmpeg of the system reads another size or rotation from its header'),
        (
            dict(metadata=dict(begin_stream_seconds_from_header=0.05)),
            'FFmpeg of the system reads another start from its header',
        ),
        (dict(late=1 / 30), 'torchcodec gives frames of other times than its packets have'),
        (dict(fails=RuntimeError('no luck\nat line 3')), 'torchcodec fails (no luck)'),
    ],
)
def test_what_is_wrong_is_read_by_pyav(library, said, flashes, wrong, reason):
    vars(library).update(wrong)
    check_equal(read(str(flashes)), read(str(flashes), 'pyav'))
    assert said == [f'{flashes}: not read by torchcodec but by PyAV, as others like it: {reason}']


def test_mirrored_frames_are_left_to_pyav(library, said, flashes, tmp_path):
    path = str(clips.set_matrix(_copy(flashes, tmp_path / 'mirrored.mp4'), (-1, 0, 0, 1)))
    frames, _ = read(path)
    np.testing.assert_array_equal(frames, read(str(flashes), 'pyav')[0][:, :, ::-1])
    assert 'its frames are mirrored' in said[0]


def test_what_may_be_no_film_to_another_ffmpeg_is_left_to_pyav(library, said, make_clip, tmp_path):
    """A playlist to one version, of files that the other one would open."""
    whole = make_clip('left_fragments.mp4', seconds=4.0, **FRAGMENTS)
    path = tmp_path / 'other.mp4'
    path.write_bytes((32).to_bytes(4, 'big') + b'uuid' + b'#EXTM3U\n'.ljust(24) + whole.read_bytes())
    check_equal(read(str(path)), read(str(path), 'pyav'))
    assert said[0].endswith(': a file of mov') and not library.asked
    check_equal(read(str(whole)), read(str(whole), 'pyav'))
    assert library.asked


def test_frames_that_grow_in_mid_stream_keep_within_the_limits(library, said, make_clip, tmp_path):
    path = str(test_frame_size.grown(make_clip, tmp_path / 'grown.mkv'))
    check_equal(read(path), read(path, 'pyav'))
    with pytest.raises(MediaError, match='no frame of its video track can be decoded'):
        read(path, limits=Limits(pixels=200 * 200))
    assert said[0].endswith('its h264 may change the size of frames') and not library.asked


def test_limits(library, flashes, monkeypatch):
    for limits, message in (
        (Limits(pixels=3000), 'more than the 3,000 allowed'),
        (Limits(clip_pixels=10000), 'are more than the 10,000 pixels allowed at once'),
    ):
        with pytest.raises(MediaError, match=message):
            read(str(flashes), limits=limits)
    assert not library.batches
    # A call cannot be interrupted: it is for few pixels, and the time is looked at in between.
    monkeypatch.setattr(module, 'PIXELS_AT_ONCE', 48 * 64 * 10)

    def work():
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    library.on_batch = work
    with pytest.raises(MediaError, match='took longer than 0.4 s'):
        read(str(flashes), limits=Limits(seconds=0.4))
    assert len(library.batches) < 5


def test_no_step_decodes_many_frames():
    draw = np.random.default_rng(0)
    for _ in range(50):
        keys = np.flatnonzero(np.r_[True, draw.random(199) < draw.choice([0.0, 0.02, 0.3])])
        starts = keys[np.searchsorted(keys, np.arange(200), side='right') - 1]
        index = np.unique(draw.integers(0, 200, draw.integers(1, 30)))
        at_once = int(draw.integers(1, 40))
        asked = list(module.steps(index, starts, at_once))
        assert [k for part in asked for k, wanted in part if wanted] == index.tolist()
        last = -1
        for part in asked:
            cost = 0
            for k, _ in part:
                cost, last = cost + k + 1 - max(last + 1, starts[k]), k
            assert cost < 2 * at_once


def test_large_frames_are_decoded_by_the_gpu_and_scaled_there(library, said, gpu, flashes):
    library.cpu_fallback = True
    frames, times = read(str(flashes), short_side=24, decode_device='cuda', gpu_pixels=48 * 64)
    asked = library.asked[0]
    assert asked.device == 'cuda' and asked.transforms is None
    expected, expected_times = read(str(flashes), 'pyav', short_side=24)
    np.testing.assert_array_equal(times, expected_times)
    assert frames.dtype == np.uint8 and frames.shape == expected.shape == (5, 24, 32, 3)
    assert np.abs(frames.astype(int) - expected).mean() < 8
    assert said == [f'{flashes}: not decoded by NVDEC but on the CPU, as others like it: h264']


def test_smaller_frames_are_not(library, gpu, flashes):
    for gpu_pixels in (48 * 64 + 1, None):
        check_equal(read(str(flashes), decode_device='cuda', gpu_pixels=gpu_pixels), read(str(flashes), 'pyav'))
    assert not library.asked


def test_a_forked_worker_cannot_use_the_gpu(library, gpu, flashes, monkeypatch):
    def refuse():
        raise RuntimeError('Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must')

    load = LoadClip(num_frames=2, backend='torchcodec', decode_device='cuda')
    monkeypatch.setattr(torch.cuda, 'init', refuse)
    with pytest.raises(ConfigError, match=r"forked .* multiprocessing_context='spawn', or num_workers=0$"):
        load(dict(path=str(flashes), start=None, end=None, modalities=('video',), broken=None, rng=None))


def test_scaling_on_the_device_is_that_of_torch():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8))
    small = module.scaled_on_device(frames, (20, 30))
    assert small.shape == (3, 20, 30, 3) and small.dtype == torch.uint8
    flat = module.scaled_on_device(torch.full((1, 40, 60, 3), 77, dtype=torch.uint8), (17, 23))
    assert (flat == 77).all()


@needs_torchcodec
class TestInstalled:
    def test_scaled_frames_differ_by_rounding(self, flashes):
        for path, short_side in ((flashes, 24), (flashes, 100)):
            frames, times = read(str(path), short_side=short_side)
            expected, expected_times = read(str(path), 'pyav', short_side=short_side)
            np.testing.assert_array_equal(times, expected_times)
            difference = np.abs(frames.astype(int) - expected)
            assert difference.mean() < 2 and difference.max() <= 40

    @pytest.mark.parametrize('quarters', [1, 2, 3])
    def test_turned(self, make_clip, flashes, tmp_path, quarters):
        path = str(clips.rotate_by_metadata(_copy(flashes, tmp_path / 'turned.mp4'), quarters))
        check_equal(read(path), read(path, 'pyav'))
        assert read(path, short_side=24)[0].shape == read(path, 'pyav', short_side=24)[0].shape

    def test_is_what_decodes(self, flashes, said):
        """Nothing here is left to PyAV, so that the comparisons are no comparison of it with itself."""
        check_equal(read(str(flashes)), read(str(flashes), 'pyav'))
        check_equal(read(BytesFile('a.mp4', flashes.read_bytes())), read(str(flashes), 'pyav'))
        assert not said

    def test_names_are_files(self, flashes, tmp_path, said):
        for name in ('12:30.mp4', '%d.mp4', 'ü ?#.mp4', 'a.jpg'):
            path = str(_copy(flashes, tmp_path / name))
            check_equal(read(path), read(path, 'pyav'))
        assert not said

    def test_nothing_outlives_a_reading(self, flashes):
        read(str(flashes))
        with nothing_held():
            read(str(flashes))
