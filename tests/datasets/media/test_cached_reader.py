"""What is stored answers like the file, bit for bit; where it cannot, the file is read."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from mmav.datasets.media import MediaReader, open_media, open_stream, streaming
from mmav.datasets.media.cached_reader import CachedReader, Part, StoringReader
from mmav.datasets.media.stored_clip import StoredClip
from mmav.datasets.media.streaming import StreamReader
from mmav.datasets.transforms import LoadClip
from mmav.errors import AbsentError, MediaError
from tests import remux
from tests.films import FILMS

# One of each kind: containers, ways in which frames refer to each other, uneven frames, sound and pictures that start
# late, other orders of tracks, clips that were cut. All of FILMS passed when this was written.
KINDS = [
    'h264.mp4',
    'h264.ts',
    'h264.flv',
    'h264.avi',
    'fragments.mp4',
    'open_groups.mp4',
    'open_groups.ts',
    'refreshed.mp4',
    'hevc.mkv',
    'vp9.webm',
    'av1.mp4',
    'mpeg2.mpg',
    'mjpeg.mov',
    'uneven.mkv',
    'dropped.avi',
    'odd_444.mp4',
    'mp3.mp4',
    'aac_surround.mkv',
    'late_sound.mp4',
    'late_picture.mkv',
    'clock_wraps.ts',
    'cut_at_1.26_open_groups.mp4',
    'cover.mp4',
    'packed_b_frames.avi',
    'sound_before_picture.mkv',
]
BOTH = ('video', 'audio')


class Cache:
    """Reads a clip as a dataset with a cache does."""

    def __init__(self, folder, path, *, start=None, end=None, modalities=BOTH, short_side=24, fixed=False):
        self.path, self.target, self.told = str(path), str(folder / 'a.clip'), []
        self.part = Part(start, end, modalities, short_side, 16000, fixed)

    def storing(self):
        return StoringReader(open_stream(self.path), self.part, self.target, told=self.told.append)

    def cached(self, opener=None, forget=lambda: None):
        opener = opener or partial(open_media, self.path)
        return CachedReader(self.path, StoredClip(self.target), self.part, opener=opener, forget=forget)


def load(reader: MediaReader, *, seed=0, start=None, end=None, modalities=BOTH, **options):
    rng = np.random.default_rng(seed)
    clip = dict(path='', start=start, end=end, modalities=modalities, rng=rng, broken=None, reader=reader)
    return LoadClip(**{**dict(num_frames=3, short_side=24), **options}).transform(clip)


def assert_same(one, other):
    assert one['masks'] == other['masks'] and one['damaged'] == other['damaged']
    assert (one['start'], one['end']) == (other['start'], other['end'])
    for name in {'video', 'audio', 'frame_times'} & set(one):
        for a, b in zip(one[name], other[name], strict=True):
            assert a.dtype == b.dtype and a.flags.writeable == b.flags.writeable
            np.testing.assert_array_equal(a, b, err_msg=name)


def nothing():
    raise AssertionError('the file is opened')


def test_the_kinds_are_films():
    assert set(KINDS) <= set(FILMS)


@pytest.mark.parametrize('name', KINDS)
def test_random_windows_equal_those_of_the_file(tmp_path, film, name):
    path = film(name).path
    span = dict(start=0.3, end=1.7)
    cache = Cache(tmp_path, path, **span)
    options = dict(span, window=0.8)
    assert_same(load(cache.storing(), **options), load(open_media(str(path)), **options))
    assert isinstance(cache.told[0], int), cache.told
    for seed in range(1, 4):
        options['seed'] = seed
        assert_same(load(cache.cached(), **options), load(open_media(str(path)), **options))


@pytest.mark.parametrize('name', ['clip', 'silent', 'blind', 'flashes'])
def test_whole_clips_need_the_file_no_more(tmp_path, request, name):
    path = request.getfixturevalue(name)
    cache = Cache(tmp_path, path)
    for seed in range(4):
        reader = cache.cached(nothing) if seed else cache.storing()
        assert_same(load(reader, seed=seed, window=5.0), load(open_media(str(path)), seed=seed, window=5.0))


def test_testing_stores_only_what_it_reads(tmp_path, flashes):
    cache = Cache(tmp_path, flashes, fixed=True)
    options = dict(mode='uniform', num_views=2, window=1.0)
    expected = load(open_media(str(flashes)), **options)
    assert_same(load(cache.storing(), **options), expected)
    assert_same(load(cache.cached(nothing), **options), expected)
    assert cache.told[0] < 6 * 24 * 32 * 3 + 4 * 16000 + 2000
    other = load(cache.cached(), mode='uniform', num_frames=4)
    assert_same(other, load(open_media(str(flashes)), mode='uniform', num_frames=4))


def test_a_segment_of_a_long_file_stores_that_segment(tmp_path, flashes):
    path = remux.repeat(flashes, tmp_path / 'long.mkv', 20, seconds=4.0)
    span = dict(start=41.0, end=42.0)
    cache = Cache(tmp_path, path, **span)
    for seed in range(3):
        reader = cache.cached(nothing) if seed else cache.storing()
        assert_same(load(reader, seed=seed, **span), load(open_media(str(path)), seed=seed, **span))
    assert cache.told[0] < (30 + 3) * 24 * 32 * 3 + 4 * 16000 + 2000


def test_a_long_clip_is_decoded_in_pieces(tmp_path, flashes, monkeypatch):
    monkeypatch.setattr(streaming, 'PIECE', 0.7)
    cache = Cache(tmp_path, flashes)
    load(cache.storing())
    assert len(StoredClip(cache.target).arrays['ticks']) == 120
    for seed in range(3):
        assert_same(load(cache.cached(nothing), seed=seed), load(open_media(str(flashes)), seed=seed))


def refused(cache):
    assert cache.told == [StoredClip(cache.target).notes['refused']]
    return cache.told[0]


def test_damaged_files_are_not_stored(tmp_path, flashes):
    data = flashes.read_bytes()
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :])
    cache = Cache(tmp_path, path)
    assert_same(load(cache.storing()), load(open_media(str(path))))
    assert refused(cache) == 'it is damaged'
    # The answers themselves can be, with the number of damaged packets.
    fixed = Cache(tmp_path, path, fixed=True)
    expected = load(open_media(str(path)), mode='uniform')
    assert_same(load(fixed.storing(), mode='uniform'), expected)
    assert expected['damaged'] and isinstance(fixed.told[0], int)
    assert_same(load(fixed.cached(nothing), mode='uniform'), expected)


def test_frames_that_depend_on_where_decoding_starts_are_not_stored(tmp_path, clip, monkeypatch):
    frames = StreamReader.all_frames

    def late(self, start, end, *, short_side):
        held = None
        for tick, image in frames(self, start, end, short_side=short_side):
            yield tick, image if held is None else held
            held = image

    monkeypatch.setattr(StreamReader, 'all_frames', late)
    cache = Cache(tmp_path, clip)
    load(cache.storing())
    assert refused(cache) == 'its frames depend on where decoding starts'
    monkeypatch.setattr(StreamReader, 'all_frames', lambda *args, **options: list(frames(*args, **options))[::2])
    cache.told.clear()
    load(cache.storing(), num_frames=12)
    assert refused(cache) == 'its frames depend on where decoding starts'


def test_a_length_that_only_reading_tells(tmp_path, clip, monkeypatch):
    measure = StreamReader.fetch

    def fetch(self, start, end):
        self.info.duration = 1.5
        return measure(self, start, end)

    monkeypatch.setattr(StreamReader, 'fetch', fetch)
    cache = Cache(tmp_path, clip)
    load(cache.storing())
    assert refused(cache) == 'its length is only known once it was read'


def test_sound_in_changing_windows_is_read_from_the_file(tmp_path, blind):
    cache = Cache(tmp_path, blind)
    load(cache.storing(), window=0.5)
    assert refused(cache) == 'it has only audio, longer than the window'


def test_what_was_withheld_is_read_to_be_stored(tmp_path, clip):
    for given in BOTH:
        cache = Cache(tmp_path / given, clip)
        load(cache.storing(), modalities=(given,))
        assert_same(load(cache.cached(nothing)), load(open_media(str(clip))))
    only = Cache(tmp_path / 'only', clip, modalities=('audio',))
    load(only.storing(), modalities=('audio',))
    assert only.told[0] < 2 * 4 * 16000 + 2000


def test_nothing_is_stored_of_a_reading_that_fails(tmp_path, clip):
    cache = Cache(tmp_path, clip)
    with pytest.raises(MediaError, match='starts at 9 s'):
        load(cache.storing(), start=9.0)
    reader = cache.storing()
    reader.read_frames([0.5])
    reader.__exit__(RuntimeError, RuntimeError(), None)
    assert not cache.told and not list(tmp_path.iterdir())


def test_a_clip_with_nothing_that_is_asked_for_stays_broken(tmp_path, silent):
    cache = Cache(tmp_path, silent, modalities=('audio',), fixed=True)
    for reader in (cache.storing, cache.storing):
        with pytest.raises(AbsentError, match='has no audio'):
            load(reader(), modalities=('audio',))
    assert not cache.told


def test_damaged_frames_are_read_from_the_file(tmp_path, clip):
    cache = Cache(tmp_path, clip)
    load(cache.storing())
    with open(cache.target, 'rb+') as file:
        file.write(b'\xff' * 20_000)
    forgotten = []
    assert_same(load(cache.cached(forget=lambda: forgotten.append(1)), seed=1), load(open_media(str(clip)), seed=1))
    assert forgotten == [1]


def test_a_full_disk_is_told(tmp_path, clip):
    (tmp_path / 'file').write_text('')
    cache = Cache(tmp_path / 'file', clip)
    assert_same(load(cache.storing()), load(open_media(str(clip))))
    assert isinstance(cache.told[0], OSError)
