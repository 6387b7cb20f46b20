"""The first reading of a file, the second, one after another span, one by another reader: all equal to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media import open_media, reader
from mmav.datasets.media.stored_file import BytesFile
from mmav.errors import MissingMediaError
from tests.datasets.media.test_odd_sound import KINDS

RATE = 16000
# What is lost if a file is rewound by seeking: the encoder's delay (Matroska, Ogg), what is stored or dated before the
# first picture (webm, intra.mov, late_picture, sound_behind). And a decoder's state is not lost by a flush (AAC, AMR).
SEEN = [
    'h264.mp4',
    'intra.mov',
    'late_picture.mp4',
    'vp9.webm',
    'h264.mkv',
    'sound_behind_picture.mkv',
    'mp3.mkv',
    'late_picture.flv',
    'h264.ts',
]
ODD = ('aac_8k.avi', 'amr.3gp', 'real.rm')
HEARD = {
    'opus.ogg': dict(audio='libopus', sample_rate=48000),
    'opus.webm': dict(audio='libopus', sample_rate=48000),
    'flac.ogg': dict(audio='flac', sample_rate=16000),
    'aac.m4a': dict(sample_rate=44100),
    'ac3.mka': dict(audio='ac3', sample_rate=48000),
    'pcm.wav': dict(audio='pcm_s16le', sample_rate=44100),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(reader, '_known', {})


@pytest.fixture(params=[*SEEN, *ODD, *HEARD])
def path(request, film, make_clip):
    name = request.param
    if name in SEEN:
        return str(film(name).path)
    if name in ODD:
        odd = dict(seconds=3.0, events=(0.5, 1.3, 2.0, 2.6), keyframes=12)
        return str(make_clip(f'odd_{name}', **{**odd, **KINDS[name]}))
    return str(make_clip(f'heard_{name}', video=None, seconds=4.0, events=(0.5, 2.0, 3.5), **HEARD[name]))


def read(opened, start, end):
    """Frames, times and sound of a span, and where the sound is."""
    found = opened.fetch(start, end)
    frames = opened.read_frames(np.linspace(*found, 8)) if opened.info.has_video else ()
    return [*frames, opened.read_audio(start, end, RATE), np.array([*found, *opened.heard])]


def same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_is_the_same_every_time(path):
    with open_media(path) as opened:
        end = opened.info.duration
        first = read(opened, 0.0, end)
        same(read(opened, 0.0, end), first)
        late = read(opened, 0.55 * end, 0.9 * end)
        same(read(opened, 0.0, end), first)
    with open_media(path) as opened:
        assert opened.info.duration == end
        same(read(opened, 0.0, end), first)
        same(read(opened, 0.55 * end, 0.9 * end), late)
    reader._known.clear()
    with open(path, 'rb') as file, open_media(BytesFile(path, file.read())) as opened:
        same(read(opened, 0.55 * end, 0.9 * end), late)
        same(read(opened, 0.0, end), first)


@pytest.mark.parametrize('name', ['flac.ogg', 'pcm.wav'])
def test_a_late_span_is_that_part_of_the_whole(make_clip, name):
    rate = HEARD[name]['sample_rate']
    path = make_clip(f'heard_{name}', video=None, seconds=4.0, events=(0.5, 2.0, 3.5), **HEARD[name])
    with open_media(str(path)) as opened:
        whole = opened.read_audio(0.0, 4.0, rate)
    for start in (1.25, 2.0, 2.75, 3.25):
        with open_media(str(path)) as opened:
            late = opened.read_audio(start, start + 0.5, rate)
        first = round(start * rate)
        np.testing.assert_array_equal(late, whole[first : first + len(late)])


def test_a_file_that_was_removed_is_named(film, tmp_path):
    path = tmp_path / 'removed.webm'
    path.write_bytes(film('vp9.webm').path.read_bytes())
    with open_media(str(path)) as opened:
        late = read(opened, 2.0, 3.0)
        path.unlink()
        with pytest.raises(MissingMediaError, match='no such file'):
            opened.fetch(0.0, 1.0)
        opened.fetch(2.0, 3.0)
        same(opened.read_frames(late[1]), late[:2])
