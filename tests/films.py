"""Files of every kind with the truth about them: what is seen and heard when, known from how they were made.

Every frame shows its number, and events flash and click. What containers cannot store is left out: sound that starts
late in AVI, the encoder's delay of MP3 in AVI (25 ms at 44.1 kHz), dropped frames together with B-frames in AVI, times
below zero in Matroska, which track is the default in MPEG-TS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.stream import Disposition

from tests import clips, remux

SECONDS, FPS, EVENTS = 4.0, 12, (0.5, 2.0, 3.5)
PLAIN = dict(seconds=SECONDS, fps=FPS, events=EVENTS, keyframes=12, b_frames=2, numbered=True, sample_rate=44100)

X264 = 'scenecut=0:keyint=12:min-keyint=12:'
OPEN_GROUPS = dict(encoder={'x264-params': X264 + 'open-gop=1:bframes=3:b-pyramid=normal', 'crf': '10'})
HEVC = dict(video='libx265', encoder={'x265-params': 'log-level=none:pools=1:keyint=12:min-keyint=12:open-gop=1'})
WEBM = dict(audio='libopus', sample_rate=48000)
AV1 = dict(video='libsvtav1', size=(64, 64), encoder={'preset': '10', 'svtav1-params': 'lp=1'})
MJPEG = dict(video='mjpeg', audio='pcm_s16le', pixels='yuvj420p')
AVI = dict(video='mpeg4', audio='pcm_s16le')
# MPEG-1 and 2 know few frame rates.
MPEG2 = dict(video='mpeg2video', audio='mp2', fps=24)
FRAGMENTS = dict(muxer={'movflags': 'frag_keyframe+empty_moov+default_base_moof'})
UNEVEN = dict(times=np.cumsum(np.random.default_rng(3).uniform(0.02, 0.14, 50)))
TS_CLOCK, TEN_HOURS = 1.4, 36000.0

# Name, whose suffix chooses the container, and options of make_clip.
ENCODED: dict[str, dict] = {
    # Containers.
    'h264.mp4': {},
    'h264.mov': {},
    'h264.mkv': {},
    'h264.ts': dict(clock=TS_CLOCK),
    'h264.flv': {},
    'h264.avi': dict(audio='pcm_s16le'),
    'fragments.mp4': FRAGMENTS,
    'index_in_front.mp4': dict(muxer={'movflags': 'faststart'}),
    # How pictures refer to each other.
    'open_groups.mp4': OPEN_GROUPS,
    'open_groups.mkv': OPEN_GROUPS,
    'open_groups.ts': dict(clock=TS_CLOCK, **OPEN_GROUPS),
    'open_groups.avi': dict(audio='pcm_s16le', **OPEN_GROUPS),
    'no_b_frames.avi': dict(audio='pcm_s16le', b_frames=0),
    'intra.mov': dict(keyframes=1),
    'refreshed.mp4': dict(encoder={'x264-params': 'intra-refresh=1:keyint=12', 'crf': '10'}),
    'interlaced.mp4': dict(encoder={'x264-params': X264 + 'interlaced=1:bframes=2', 'crf': '10'}),
    'interlaced.ts': dict(clock=TS_CLOCK, encoder={'x264-params': X264 + 'interlaced=1:bframes=2', 'crf': '10'}),
    # Other codecs.
    'hevc.mp4': HEVC,
    'hevc.mkv': HEVC,
    'hevc.ts': dict(clock=TS_CLOCK, **HEVC),
    'vp8.webm': dict(video='libvpx', encoder={'deadline': 'realtime', 'cpu-used': '8'}, **WEBM),
    'vp9.webm': dict(video='libvpx-vp9', **WEBM),
    'vp9.mp4': dict(video='libvpx-vp9'),
    'av1.mp4': AV1,
    'av1.webm': {**AV1, **WEBM},
    'mpeg4.avi': AVI,
    'mpeg4_no_b.avi': dict(AVI, b_frames=0),
    'mpeg4.mp4': dict(video='mpeg4'),
    'mpeg4.mkv': dict(video='mpeg4'),
    'mpeg2.ts': dict(MPEG2, clock=TS_CLOCK),
    'mpeg2.mpg': dict(MPEG2, clock=1.0),
    'mpeg2.vob': dict(MPEG2, clock=1.0, audio='ac3'),
    'mpeg2.mkv': dict(MPEG2, audio='ac3'),
    'mpeg1.mpg': dict(MPEG2, video='mpeg1video', clock=1.0),
    'mjpeg.avi': MJPEG,
    'mjpeg.mov': MJPEG,
    'prores.mov': dict(video='prores_ks', audio='pcm_s16le', pixels='yuv422p10le'),
    'ffv1.mkv': dict(video='ffv1', audio='flac'),
    # Frames at uneven times; in AVI as frames that were dropped.
    'uneven.mp4': UNEVEN,
    'uneven.mkv': UNEVEN,
    'uneven.ts': dict(clock=TS_CLOCK, **UNEVEN),
    'dropped.avi': dict(MJPEG, times=np.delete(np.arange(48), [5, 6, 13, 21, 30, 31, 32, 40, 44]) / 12),
    'dropped_mpeg4.avi': dict(AVI, b_frames=0, times=np.delete(np.arange(48), [5, 13, 21, 30, 31, 40, 44]) / 12),
    # Sizes, pixel formats.
    'odd_444.mp4': dict(size=(99, 177), pixels='yuv444p'),
    'odd_420.webm': dict(size=(99, 177), video='libvpx-vp9', **WEBM),
    'odd_mpeg4.avi': dict(AVI, size=(99, 177)),
    'ten_bits.mkv': dict(pixels='yuv420p10le'),
    'ten_bits_hevc.mp4': dict(HEVC, pixels='yuv420p10le'),
    '422.mov': dict(pixels='yuv422p'),
    'full_range.mp4': dict(pixels='yuvj420p'),
    # Sound.
    'mp3.mp4': dict(audio='libmp3lame'),
    'mp3.mkv': dict(audio='libmp3lame'),
    'mp3.ts': dict(audio='libmp3lame', clock=TS_CLOCK),
    'opus.mp4': WEBM,
    'opus.ts': dict(WEBM, clock=TS_CLOCK),
    'vorbis.mkv': dict(audio='vorbis', channels=2),
    'flac.mp4': dict(audio='flac'),
    'ac3.mp4': dict(audio='ac3'),
    'ac3.ts': dict(audio='ac3', clock=TS_CLOCK),
    'ac3.avi': dict(AVI, audio='ac3'),
    'pcm.mkv': dict(audio='pcm_s16le'),
    'mulaw_8k.mov': dict(audio='pcm_mulaw', sample_rate=8000),
    'aac_8k.mp4': dict(sample_rate=8000),
    'aac_22k.ts': dict(sample_rate=22050, clock=TS_CLOCK),
    'aac_48k_stereo.ts': dict(sample_rate=48000, channels=2, clock=TS_CLOCK),
    'aac_96k_stereo.mp4': dict(sample_rate=96000, channels=2),
    'aac_surround.mkv': dict(sample_rate=48000, channels=6),
    'ac3_surround.ts': dict(audio='ac3', sample_rate=48000, channels=6, clock=TS_CLOCK),
    # Late starts, far clocks.
    'late_sound.mp4': dict(audio_start=1.0),
    'late_sound.mkv': dict(audio_start=1.0),
    'late_sound.ts': dict(audio_start=1.0, clock=TS_CLOCK),
    'late_sound.flv': dict(audio_start=1.0),
    'late_picture.mp4': dict(video_start=1.0),
    'late_picture.mkv': dict(video_start=1.0),
    'late_picture.ts': dict(video_start=1.0, clock=TS_CLOCK),
    'late_picture.flv': dict(video_start=1.0),
    'late_picture.webm': dict(video='libvpx-vp9', video_start=1.0, **WEBM),
    'late_picture.mpg': dict(MPEG2, video_start=1.0, clock=1.0),
    'late_picture_hevc.mp4': dict(HEVC, video_start=1.0),
    'ten_hours.mkv': dict(clock=TEN_HOURS),
    'ten_hours.ts': dict(clock=TEN_HOURS),
    'ten_hours.mp4': dict(clock=TEN_HOURS),
    'ten_hours_fragments.mp4': dict(clock=TEN_HOURS, **FRAGMENTS),
    # The clock of MPEG has 33 bits at 90 kHz; here it starts anew after 2.2 s.
    'clock_wraps.ts': dict(clock=2**33 / 90000 - 2.2),
}
# Clips cut as by `-c copy`: source, suffix, start, number of the first frame shown.
CUTS = {
    f'cut_at_{start}_{source}.{suffix}': (f'{source}.{container}', start, first)
    for source, container, suffix in (
        ('h264', 'mp4', 'mp4'),
        ('h264', 'mp4', 'mkv'),
        ('h264', 'mp4', 'ts'),
        ('open_groups', 'mp4', 'mp4'),
        ('open_groups', 'mp4', 'mkv'),
        ('open_groups', 'ts', 'ts'),
        ('hevc', 'mp4', 'mp4'),
        ('hevc', 'mp4', 'mkv'),
        ('hevc', 'mp4', 'ts'),
        ('vp9', 'mp4', 'mp4'),
        ('mpeg4', 'mp4', 'mp4'),
    )
    # An edit list hides what is before the cut; elsewhere the keyframe before it comes first.
    for start, first in (((0.75, 9), (1.26, 16)) if suffix == 'mp4' else ((1.26, 12),))
}
DEFAULT, NONE, COVER = Disposition.default, Disposition(0), Disposition.attached_pic
# Other tracks beside those of h264.mp4: tracks in the order of the file, subtitles.
TRACKS: dict[str, tuple[list[tuple[str, str, Disposition]], str | None]] = {}
for suffix in ('mp4', 'mkv', 'mov', 'ts'):
    picture, sound, other = ('h264.mp4', 'video', DEFAULT), ('h264.mp4', 'audio', DEFAULT), ('other.mp4', 'audio', NONE)
    if suffix != 'ts':
        TRACKS[f'second_sound.{suffix}'] = [picture, sound, other], None
        TRACKS[f'default_sound_is_second.{suffix}'] = [picture, other, sound], None
        TRACKS[f'default_picture_is_second.{suffix}'] = [('other_picture.mp4', 'video', NONE), picture, sound], None
    subtitles = {'mp4': 'mov_text', 'mov': 'mov_text', 'mkv': 'subrip', 'ts': 'data'}[suffix]
    TRACKS[f'subtitles.{suffix}'] = [picture, sound], subtitles
TRACKS['cover.mp4'] = [('cover.mp4', 'video', COVER), picture, sound], None


class Film(NamedTuple):
    """A file and the truth about it; times are seconds from the first frame shown, or the first sample that is heard
    before it.

    Attributes:
        path: The file.
        times: Times of the frames (T,).
        numbers: What they show (T,).
        zero: Where time zero lies in the recording.
        flashes: Times of the events that are seen.
        clicks: Times of those that are heard.
    """

    path: Path
    times: np.ndarray
    numbers: np.ndarray
    zero: float
    flashes: list[float]
    clicks: list[float]


# Where the sound of these begins: its encoder's delay stands before the recording, and no header says so.
DELAYS = {'late_picture.ts': 1024 / 44100, 'late_picture.flv': 1024 / 44100, 'late_picture.mpg': 481 / 44100}


def _truth(
    path: Path,
    *,
    first: int = 0,
    fps: int = FPS,
    times: np.ndarray | None = None,
    heard: float = 0.0,
    zero: float | None = None,
) -> Film:
    times = np.arange(round(SECONDS * fps)) / fps if times is None else times
    zero = float(times[first]) if zero is None else zero
    flashes = [event - zero for event in EVENTS if event > times[first]]
    clicks = [event - zero for event in EVENTS if event > max(zero, heard)]
    return Film(path, times[first:] - zero, np.arange(first, len(times)), zero, flashes, clicks)


STORED_APART = [
    f'sound_{where}_picture.{suffix}'
    for where, suffixes in (('before', ('mkv', 'ts', 'mp4')), ('behind', ('mkv', 'ts', 'mp4', 'flv')))
    for suffix in suffixes
]
FILMS = [*ENCODED, *CUTS, *TRACKS, 'packed_b_frames.avi', 'negative.mp4', *STORED_APART]


class Studio:
    """Makes films by name, each once.

    Args:
        make_clip: Makes a clip by name with the options of :func:`tests.clips.make_clip`.
        folder: Where the films go.
    """

    def __init__(self, make_clip: Callable[..., Path], folder: Path) -> None:
        self._make_clip = make_clip
        self._folder = folder
        self._made: dict[str, Film] = {}

    def __call__(self, name: str) -> Film:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _encoded(self, name: str) -> Path:
        return self._make_clip(f'film_{name}', **{**PLAIN, **ENCODED[name]})

    def _other(self, name: str) -> Path:
        if name in ENCODED:
            return self._encoded(name)
        options = {
            'other.mp4': dict(video=None, events=(1.2,)),
            'other_picture.mp4': dict(audio=None, size=(96, 128), numbered=False),
            'cover.mp4': dict(MJPEG, audio=None, size=(480, 640), times=np.array([0.0]), events=()),
        }
        return self._make_clip(f'film_of_{name}', **{**PLAIN, **options[name]})

    def _make(self, name: str) -> Film:
        path = self._folder / f'film_{name}'
        if name in ENCODED:
            options = {**PLAIN, **ENCODED[name]}
            times = options.get('times')
            first = round(options.get('video_start', 0.0) * options['fps'])
            heard = options.get('audio_start', 0.0)
            zero = -DELAYS.get(name, 0.0) if first else None
            return _truth(self._encoded(name), first=first, fps=options['fps'], times=times, heard=heard, zero=zero)
        if name in CUTS:
            source, start, first = CUTS[name]
            clock = ENCODED[source].get('clock', 0.0)
            return _truth(
                clips.cut_without_encoding(self._encoded(source), path, clock + start), first=first, heard=start
            )
        if name in TRACKS:
            tracks, subtitles = TRACKS[name]
            return _truth(remux.mux(path, [(self._other(file), *rest) for file, *rest in tracks], subtitles=subtitles))
        if name == 'packed_b_frames.avi':
            source = self._make_clip('film_to_pack.avi', **{**PLAIN, **AVI, 'b_frames': 1})
            return _truth(remux.pack_b_frames(source, path))
        if name == 'negative.mp4':
            # An edit list hides what is before zero.
            self._make_clip(path.name, **PLAIN, clock=-1.0, muxer={'avoid_negative_ts': 'disabled'})
            return _truth(path, first=FPS)
        delay = -2.0 if name.startswith('sound_before') else 2.0
        return _truth(remux.delay_sound_in_file(self._encoded('h264.mp4'), path, delay))
