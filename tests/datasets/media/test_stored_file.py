"""Clips whose bytes are in memory are read as those in files are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mmav.datasets.media import READERS, BytesFile, Limits, PairPath, StoredFile, open_media, open_stream
from mmav.datasets.media.array_file import read_array_file
from mmav.datasets.media.pair_path import stamps_of
from mmav.datasets.media.probe import probe
from mmav.datasets.media.stored_file import load_file, stamp_of
from mmav.errors import MediaError
from tests.films import FILMS


def in_memory(path) -> BytesFile:
    return BytesFile(f'elsewhere/{path.name}', path.read_bytes())


def read_all(path):
    with open_media(path) as reader:
        start, end = reader.fetch(0.3, min(2.9, reader.info.duration))
        frames, times = reader.read_frames(np.linspace(start, end, 7), short_side=32)
        return frames, times, reader.read_audio(start, end, 16000), reader.info


# a part of them: what differs is how bytes reach the decoders, and those of all containers do so alike
@pytest.mark.parametrize('name', list(FILMS)[::4])
def test_equal_to_the_file(film, name):
    path = film(name).path
    expected, found = read_all(str(path)), read_all(in_memory(path))
    for one, other in zip(expected[:3], found[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert vars(found[3]) == {**vars(expected[3]), 'path': f'elsewhere/{path.name}'}


def test_a_whole_film_is_measured_alike(film):
    path = film(next(iter(FILMS))).path
    assert vars(probe(in_memory(path))) == vars(probe(str(path)))
    with open_stream(in_memory(path)) as one, open_stream(str(path)) as other:
        frames = [[time for time, _ in stream.iter_frames(*next(stream.pieces()))] for stream in (one, other)]
    assert frames[0] == frames[1] and frames[0]


def test_decord(film):
    pytest.importorskip('decord')
    path = film(next(iter(FILMS))).path
    frames = []
    for each in (str(path), in_memory(path)):
        with READERS['decord'](each) as reader:
            frames.append(reader.read_frames([0.2, 1.4], short_side=32)[0])
    np.testing.assert_array_equal(*frames)


def test_both_files_of_a_pair(film, tmp_path):
    path = film(next(iter(FILMS))).path
    np.save(tmp_path / 'a.npy', np.linspace(-1, 1, 8000, dtype=np.float32))
    for audio in (path, tmp_path / 'a.npy'):
        rate = 8000.0 if audio.suffix == '.npy' else None
        one = read_all(PairPath(str(path), str(audio), sample_rate=rate))
        other = read_all(PairPath(in_memory(path), in_memory(audio), sample_rate=rate))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_arrays(tmp_path, suffix):
    from safetensors.numpy import save_file

    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    path = tmp_path / f'a{suffix}'
    if suffix == '.npz':
        np.savez(path, video=frames, fps=2.0)
    else:
        save_file(dict(video=frames, fps=np.array([2.0])), path)
    reader = read_array_file(in_memory(path), 'video', None)
    np.testing.assert_array_equal(reader.read_frames([0.1, 0.9])[0], frames)


def test_names_that_mean_something_to_ffmpeg(film):
    data = film(next(iter(FILMS))).path.read_bytes()
    for name in ('http://127.0.0.1:9/a.mp4', '%d.png', 'a.jpg', '12:30.mp4', 'x.m3u8', ''):
        with open_media(BytesFile(name, data)) as reader:
            assert reader.info.has_video, name


PLAYLISTS = {
    'hls': '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n',
    'concat': "ffconcat version 1.0\nfile '{path}'\n",
    'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n',
}


@pytest.mark.parametrize('kind', PLAYLISTS)
def test_bytes_cannot_name_other_files(film, kind):
    path = film(next(iter(FILMS))).path
    text = PLAYLISTS[kind].format(url=path.as_uri(), path=path)
    with pytest.raises(MediaError, match='is of no known format|cannot be opened'):
        open_media(BytesFile(f'a.{kind}', text.encode()))


def test_errors_name_it_and_do_not_carry_it(film):
    data = film(next(iter(FILMS))).path.read_bytes()
    with pytest.raises(MediaError, match=r'^shard\.tar: 7\.mp4: ') as caught:
        open_media(BytesFile('shard.tar: 7.mp4', data), limits=Limits(pixels=10))
    assert len(pickle.dumps(caught.value)) < 1000
    with pytest.raises(MediaError, match=r'^a\.mp4: is an empty file \(0 bytes\)$'):
        open_media(BytesFile('a.mp4', b''))
    with pytest.raises(MediaError, match=r'^a\.mp4: '):
        open_media(BytesFile('a.mp4', data[:50]))


def test_stamps_follow_the_content(tmp_path):
    one, same, other = BytesFile('a', b'xyz'), BytesFile('a', b'xyz'), BytesFile('a', b'xyw')
    assert one.stamp() == same.stamp() != other.stamp()
    assert stamps_of(one) == [one.stamp()] == [stamp_of(load_file(one))]
    (tmp_path / 'f').write_bytes(b'abc')
    assert stamp_of(str(tmp_path / 'f'))[:2] == (str(tmp_path / 'f'), 3)


def test_the_length_of_other_bytes_of_the_same_name_is_not_remembered(film):
    long, short = (film(name).path for name in list(FILMS)[:2])
    lengths = []
    for path in (long, short, long):
        with open_media(BytesFile('upload', path.read_bytes())) as reader:
            lengths.append(reader.info.duration)
    with open_media(str(short)) as reader:
        assert lengths[1] == reader.info.duration
    assert lengths[0] == lengths[2]


def test_pickles_with_its_bytes_until_it_is_loaded():
    file = BytesFile('a.mp4', b'123')
    again = pickle.loads(pickle.dumps(file))
    assert type(again) is BytesFile and again == 'a.mp4' and again.read() == b'123'
    loaded = load_file(file)
    assert load_file(loaded) is loaded
    assert type(pickle.loads(pickle.dumps(loaded))) is str


def test_a_subclass_says_where_its_bytes_are():
    with pytest.raises(NotImplementedError, match='StoredFile does not say where'):
        StoredFile('x').read()
    with pytest.raises(NotImplementedError, match='does not say what tells it'):
        StoredFile('x').stamp()
