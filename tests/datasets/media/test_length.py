"""One length of a clip: that of what stands in the file, whatever its header says."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from mmav.datasets.media import ArrayReader, open_media, packets
from mmav.datasets.media.probe import probe
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.datasets.transforms import LoadClip, LogMel
from mmav.errors import MediaError
from mmav.preparation.checking import defects_of
from tests import clips, remux

WEBM = dict(video='libvpx', audio='libopus', sample_rate=48000)
CONTAINERS: dict[str, dict] = {
    'mp4': {},
    'mov': {},
    'mkv': {},
    'ts': {},
    'flv': dict(sample_rate=44100),
    'avi': dict(video='mpeg4', audio='pcm_s16le', b_frames=0),
    'webm': WEBM,
    'mpg': dict(video='mpeg2video', audio='mp2', sample_rate=44100, fps=24),
    'fragments.mp4': dict(muxer={'movflags': 'frag_keyframe+empty_moov+default_base_moof'}),
}
# Sound is padded to whole frames of its codec, and delayed by some.
FRAMES = 0.15


def load(path: Path, **row) -> dict:
    out = dict(path=str(path), start=None, end=None, modalities=('video', 'audio'), broken=None, rng=None)
    return LoadClip(num_frames=8, mode='uniform')({**out, **row})


def decoded(path: Path) -> float:
    """Seconds of sound that FFmpeg decodes, all frames added up, less what it leaves out."""
    seconds = 0.0
    with av.open(str(path)) as container, suppress(av.EOFError, StopIteration):
        packets = container.demux(audio=0)
        while True:
            with suppress(av.InvalidDataError):
                seconds += sum(frame.samples / frame.sample_rate for frame in next(packets).decode())
    return seconds


@pytest.mark.parametrize('name', CONTAINERS)
def test_sound_that_goes_on_after_the_picture(make_clip, name):
    options = {**dict(seconds=1.0, audio_seconds=4.0, events=(0.5, 3.5), numbered=True), **CONTAINERS[name]}
    path = make_clip(f'short_picture.{name}', **options)
    last = options.get('fps', 12) - 1
    for modalities in (('video', 'audio'), ('audio',)):
        out = load(path, modalities=modalities)
        # ffprobe -show_entries format=duration: 4.000 for mp4 and mov, up to 4.13 for others. (Sound in a program
        # stream is measured to its last packet, in a transport stream to the one before.)
        assert (out['start'], out['end']) == (0.0, pytest.approx(4.0, abs=FRAMES))
        wave = out['audio'][0]
        assert clips.onset(wave[:32000], 16000) == pytest.approx(0.5, abs=0.02)
        assert clips.onset(wave[48000:], 16000) == pytest.approx(0.5, abs=0.02)
    out = load(path, start=2.0, end=3.9)
    assert out['masks'] == dict(video=True, audio=True)
    np.testing.assert_array_equal(clips.frame_numbers(out['video'][0]), last)
    assert clips.onset(out['audio'][0], 16000) == pytest.approx(1.5, abs=0.02)
    found = probe(str(path))
    assert found.picture_end == pytest.approx(1.0, abs=0.1) and found.sound_end == pytest.approx(4.0, abs=FRAMES)
    with pytest.raises(MediaError, match=r'starts at 5 s, but the file ends at [34]\.?'):
        load(path, start=5.0)


def test_the_spectrogram_of_a_clip_with_a_short_picture_is_whole(make_clip):
    path = make_clip('short_picture.mp4', seconds=1.0, audio_seconds=4.0, events=(0.5, 3.5), numbered=True)
    mel = LogMel(num_mel_bins=16, target_frames=512)
    # Frames of 25 ms every 10 ms within 4 s; it was 98.
    assert mel.num_frames(len(load(path)['audio'][0])) == 398


# AVI stores no late start, and FFmpeg writes a fragmented mp4 so that the first picture lasts until the second.
@pytest.mark.parametrize('name', [name for name in CONTAINERS if name not in ('avi', 'fragments.mp4')])
def test_sound_that_begins_before_the_picture(make_clip, name):
    options = dict(seconds=4.0, video_start=3.0, events=(0.5, 3.5), numbered=True, **CONTAINERS[name])
    path = make_clip(f'late_short.{name}', **options)
    fps = options.get('fps', 12)
    out = load(path)
    assert (out['start'], out['end']) == (0.0, pytest.approx(4.0, abs=FRAMES))
    # The first picture stands.
    assert (clips.frame_numbers(out['video'][0])[:6] == 3 * fps).all()
    np.testing.assert_allclose(out['frame_times'][0][:6], 3.0, atol=FRAMES)
    zero = out['frame_times'][0][0] - 3.0
    assert clips.onset(out['audio'][0][:32000], 16000) == pytest.approx(0.5 + zero, abs=0.02)
    late = load(path, start=3.0 + zero)
    assert clips.onset(late['audio'][0], 16000) == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(
        clips.frame_numbers(late['video'][0]), np.round((late['frame_times'][0] - zero) * fps)
    )
    alone = load(path, modalities=('audio',))
    np.testing.assert_array_equal(alone['audio'][0], out['audio'][0])


def test_an_encoders_delay_is_no_sound_that_begins_first(make_clip):
    for name in ('ts', 'mkv', 'flv', 'fragments.mp4'):
        path = make_clip(f'delay.{name}', seconds=2.0, numbered=True, events=(0.5,), **CONTAINERS[name])
        with open_media(str(path)) as reader:
            assert reader.read_frames([0.0])[1][0] == pytest.approx(0.0)


def test_one_picture_with_a_sound(make_clip):
    path = make_clip('one_picture.mp4', seconds=1 / 12, audio_seconds=3.0, events=(2.5,), numbered=True)
    out = load(path)
    assert out['end'] == pytest.approx(3.0, abs=0.01) and out['masks'] == dict(video=True, audio=True)
    assert clips.onset(out['audio'][0], 16000) == pytest.approx(2.5, abs=0.01)


def test_prepared_clips_keep_what_is_heard_beside_the_picture(make_clip, tmp_path):
    for name, options in {'end': dict(seconds=1.0, audio_seconds=3.0), 'start': dict(video_start=2.0)}.items():
        source = make_clip(f'beside_{name}.mp4', **{**dict(seconds=3.0, events=(0.5, 2.5), numbered=True), **options})
        transcode(str(source), str(tmp_path / 'out.mp4'), TranscodeOptions(crf=4))
        one, other = load(source), load(tmp_path / 'out.mp4')
        assert other['end'] == pytest.approx(one['end'], abs=0.03)
        np.testing.assert_allclose(other['frame_times'], one['frame_times'], atol=0.01)
        np.testing.assert_array_equal(*(clips.frame_numbers(out['video'][0]) for out in (one, other)))
        for event in (0.5, 2.5):
            place = round((event - 0.3) * 16000)
            heard = [clips.onset(out['audio'][0][place : place + 7200], 16000) for out in (one, other)]
            assert heard == pytest.approx([0.3, 0.3], abs=0.01)


def test_arrays_last_as_long_as_the_longer_one():
    video, audio = np.zeros((5, 24, 32, 3), np.uint8), np.ones(64000, np.float32)
    with ArrayReader(video=video, fps=5, audio=audio, sample_rate=16000) as reader:
        assert reader.info.duration == 4.0
        assert reader.read_frames([3.0])[1][0] == pytest.approx(0.8)
        assert reader.read_audio(3.0, 4.0, 16000).min() == 1


def sound(path: Path, parts: list[tuple[float, float]], *, codec: str, rate: int = 44100, **options) -> Path:
    """Noise of given loudness for given seconds, one part after the other."""
    rng = np.random.default_rng(0)
    wave = np.concatenate([level * rng.uniform(-1, 1, round(seconds * rate)) for seconds, level in parts])
    with av.open(str(path), 'w', options=options.pop('muxer', {})) as container:
        stream = container.add_stream(codec, rate=rate, layout='mono')
        stream.options = options
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout='mono', rate=rate)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format='fltp', layout='mono')
        frame.sample_rate, frame.pts = rate, 0
        for part in resampler.resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def edge(wave: np.ndarray, loud_first: bool = True) -> int:
    """Samples from where it becomes quiet to the end, or before it becomes loud."""
    return int(np.argmax(np.abs(wave[::-1] if loud_first else wave) > 0.1))


VBR = dict(codec='libmp3lame', flags='+qscale', global_quality='0', muxer={'write_xing': '0', 'id3v2_version': '0'})
LOUD_FIRST, QUIET_FIRST = [(1.0, 0.8), (5.0, 0.0)], [(1.0, 0.0), (5.0, 0.8)]
STREAMS: dict[str, tuple[list[tuple[float, float]], dict]] = {
    'loud_first.mp3': (LOUD_FIRST, VBR),
    'quiet_first.mp3': (QUIET_FIRST, VBR),
    'xing.mp3': (LOUD_FIRST, dict(codec='libmp3lame', flags='+qscale', global_quality='0')),
    'loud_first.aac': (LOUD_FIRST, dict(codec='aac')),
    'quiet_first.aac': (QUIET_FIRST, dict(codec='aac')),
    'loud_first.loas': (LOUD_FIRST, dict(codec='aac')),
    'plain.ac3': (LOUD_FIRST, dict(codec='ac3', rate=48000)),
    'plain.eac3': (LOUD_FIRST, dict(codec='eac3', rate=48000)),
    'plain.flac': (LOUD_FIRST, dict(codec='flac')),
    'plain.wav': (LOUD_FIRST, dict(codec='pcm_s16le')),
    'plain.ogg': (LOUD_FIRST, dict(codec='libopus', rate=48000)),
    'live.webm': (LOUD_FIRST, dict(codec='libopus', rate=48000, muxer={'live': '1'})),
    'plain.tta': (LOUD_FIRST, dict(codec='tta')),
    'plain.wv': (LOUD_FIRST, dict(codec='wavpack')),
    'plain.aiff': (LOUD_FIRST, dict(codec='pcm_s16be')),
    'plain.au': (LOUD_FIRST, dict(codec='pcm_s16be')),
    'plain.caf': (LOUD_FIRST, dict(codec='pcm_s16le')),
    'plain.mp2': (LOUD_FIRST, dict(codec='mp2')),
}


@pytest.mark.parametrize('name', STREAMS)
def test_sound_alone_lasts_as_long_as_its_decoded_frames(tmp_path, name):
    parts, options = STREAMS[name]
    path = sound(tmp_path / name, parts, **options)
    assert decoded(path) == pytest.approx(6.0, abs=0.1)
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(decoded(path), abs=0.03)
        wave = reader.read_audio(0.0, reader.info.duration, 16000)
    loud = wave[:16000] if parts is LOUD_FIRST else wave[-79000:]
    assert np.abs(loud).max() > 0.3
    # FFmpeg's guess is no promise: nothing is cut off.
    assert defects_of(probe(str(path))) == ('no_picture',)
    # A part is the same as that part of the whole.
    with open_media(str(path)) as reader:
        late = reader.read_audio(0.5, 1.5, 16000)
    assert edge(late, parts is LOUD_FIRST) == pytest.approx(edge(wave[8000:24000], parts is LOUD_FIRST), abs=40)


@pytest.mark.parametrize('name', STREAMS)
def test_sound_alone_cut_short(tmp_path, name):
    _, options = STREAMS[name]
    path = sound(tmp_path / name, [(6.0, 0.5)], **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    there = decoded(path)
    assert 2.9 < there < 4.2
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(there, abs=0.12)
        assert reader.info.promised == 0 or reader.info.promised > 5 or name.endswith(COUNTED)
        assert reader.read_audio(reader.info.duration - 0.5, reader.info.duration - 0.1, 16000) is not None
        assert reader.heard[1] == pytest.approx(reader.info.duration - 0.1, abs=0.01)


# Their length FFmpeg guesses from the size of the file, or looks for at its end.
COUNTED = ('mp3', 'aac', 'ac3', 'eac3', 'mp2', 'ogg', 'wav', 'aiff', 'au', 'caf')
JOINED = {
    'aac': [dict(codec='aac', rate=rate) for rate in (22050, 48000, 44100)],
    'mp3': [dict(codec='libmp3lame', rate=rate, muxer=VBR['muxer']) for rate in (22050, 48000, 44100)],
    'with_headers.mp3': [dict(codec='libmp3lame', rate=rate) for rate in (44100, 44100)],
    'ac3': [dict(codec='ac3', rate=rate) for rate in (32000, 48000, 44100)],
    'eac3': [dict(codec='eac3', rate=rate) for rate in (32000, 48000, 44100)],
}


@pytest.mark.parametrize('name', JOINED)
def test_streams_joined_of_parts_at_different_rates(tmp_path, name):
    parts = [
        sound(tmp_path / f'part_{k}.{name}', [(1.0, 0.8), (1.0, 0.0)], **options)
        for k, options in enumerate(JOINED[name])
    ]
    path = remux.join(tmp_path / f'joined.{name}', *parts)
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(decoded(path), abs=0.06)
        wave = reader.read_audio(0.0, reader.info.duration, 16000)
    starts = np.cumsum([0.0, *(decoded(part) for part in parts[:-1])])
    for start in starts:
        # Loud for a second, then silent, in each part.
        place = wave[round((start + 0.5) * 16000) : round((start + 1.9) * 16000)]
        assert len(place) - edge(place) == pytest.approx(8000, abs=1500)
        with open_media(str(path)) as reader:
            late = reader.read_audio(start + 0.5, start + 1.9, 16000)
        # Frames of MP3 borrow bits of those before, which the second reading lacks.
        assert edge(late) == pytest.approx(edge(place), abs=120)


# Codec, container by FFmpeg's name.
RAW = {
    'h264': dict(video='libx264', b_frames=2),
    'hevc': dict(video='libx265', encoder={'x265-params': 'log-level=none:pools=1'}),
    'm4v': dict(video='mpeg4', b_frames=2),
    'mjpeg': dict(video='mjpeg', pixels='yuvj420p'),
    'm2v': dict(video='mpeg2video', fps=24),
    'obu': dict(video='libsvtav1', size=(64, 64), encoder={'preset': '10', 'svtav1-params': 'lp=1'}),
    'ivf': dict(video='libsvtav1', size=(64, 64), encoder={'preset': '10', 'svtav1-params': 'lp=1'}),
    'y4m': dict(video='wrapped_avframe'),
}


@pytest.mark.parametrize('name', RAW)
def test_pictures_without_a_container(clip_dir, tmp_path, name):
    options = {**dict(fps=25, seconds=2.0, keyframes=12, numbered=True, audio=None), **RAW[name]}
    with pytest.MonkeyPatch.context() as patch:
        if name in ('m4v', 'y4m'):
            plain, form = av.open, dict(m4v='m4v', y4m='yuv4mpegpipe')[name]
            patch.setattr(clips.av, 'open', lambda path, mode, options: plain(path, mode, format=form, options=options))
        path = clips.make_clip(tmp_path / f'raw.{name}', **options)
    fps, count = options['fps'], 2 * options['fps']
    with open_media(str(path)) as reader:
        # ffmpeg -i raw.h264 -f null - counts 50 frames, 2 s at 25 a second.
        assert reader.info.duration == pytest.approx(2.0, abs=1e-3)
        frames, times = reader.read_frames(np.arange(count) / fps)
    np.testing.assert_array_equal(clips.frame_numbers(frames), np.arange(count))
    np.testing.assert_allclose(times, np.arange(count) / fps, atol=1e-3)
    late = load(path, start=1.2, end=2.0, modalities=('video',))
    np.testing.assert_array_equal(clips.frame_numbers(late['video'][0]), np.round(late['frame_times'][0] * fps))
    assert late['frame_times'][0][0] == pytest.approx(1.25, abs=0.03)


def patched(path: Path, out: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """A copy of a file with bytes written so far behind each place at which a mark stands."""
    data = bytearray(path.read_bytes())
    for mark, behind, value in changes:
        place = data.find(mark)
        assert place >= 0
        while place >= 0:
            data[place + behind : place + behind + len(value)] = value
            place = data.find(mark, place + 1)
    out.write_bytes(data)
    return out


def lie(name: str, seconds: float) -> list[tuple[bytes, int, bytes]]:
    """What a header is changed to so that it declares other seconds."""
    if name == 'mp4':
        # Of all tracks in thousandths, of the sound's in samples; that of the picture's frames is 1/12288 s.
        return [
            (b'mvhd', 20, struct.pack('>I', round(seconds * 1000))),
            (b'tkhd', 24, struct.pack('>I', round(seconds * 1000))),
        ] + [
            (b'mdhd' + bytes(12) + struct.pack('>I', rate), 20, struct.pack('>I', round(seconds * rate)))
            for rate in (12288, 16000)
        ]
    if name in ('mkv', 'webm'):
        return [(b'\x44\x89\x88', 3, struct.pack('>d', seconds * 1000))]
    if name == 'flv':
        return [(b'duration\0', 9, struct.pack('>d', seconds))]
    if name == 'avi':
        return [
            (b'avih', 24, struct.pack('<I', round(seconds * 12))),
            (b'vids', 32, struct.pack('<I', round(seconds * 12))),
        ]
    return [(b'data', 4, struct.pack('<I', round(seconds * 32000)))]


@pytest.mark.parametrize('seconds', [0.1, 2.0, 90.0, 46800.0])
@pytest.mark.parametrize('name', ['mp4', 'mkv', 'webm', 'flv', 'avi'])
def test_a_header_that_is_wrong_in_either_direction(make_clip, tmp_path, name, seconds):
    options = dict(seconds=3.0, events=(0.5, 2.5), numbered=True, keyframes=12)
    whole = make_clip(f'three_seconds.{name}', **{**options, **CONTAINERS[name]})
    path = patched(whole, tmp_path / f'lies.{name}', *lie(name, seconds))
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(3.0, abs=0.1)
        if name != 'mp4' or seconds < 3:  # FFmpeg takes no more than the mp4 file's table of samples has.
            assert reader.info.promised == pytest.approx(seconds, abs=0.1)
    out = load(path)
    np.testing.assert_array_equal(clips.frame_numbers(out['video'][0]), np.round(out['frame_times'][0] * 12))
    assert out['frame_times'][0][-1] > 2.7
    assert clips.onset(out['audio'][0][32000:], 16000) == pytest.approx(0.5, abs=0.03)
    assert ('cut_off' in defects_of(probe(str(path)))) == (name != 'mp4' and seconds > 3)


@pytest.mark.parametrize('name', CONTAINERS)
def test_cut_at_60_percent(make_clip, tmp_path, name):
    options = dict(seconds=4.0, numbered=True, keyframes=6, events=(0.5,), **CONTAINERS[name])
    if name in ('mp4', 'mov'):
        options['muxer'] = {'movflags': 'faststart'}
    whole = make_clip(f'to_cut.{name}', **options)
    data = whole.read_bytes()
    path = tmp_path / f'cut.{name}'
    path.write_bytes(data[: len(data) * 6 // 10])
    fps = options.get('fps', 12)
    _, times = clips.displayed(path)
    with open_media(str(path)) as reader:
        seen = reader.info.duration
        assert seen == pytest.approx(times[-1] + 1 / fps, abs=2.1 / fps)
        assert seen < 3.5
        # A window of it is read as that: its last picture is one near its end.
        assert reader.fetch(seen - 0.5, seen)[1] == seen
        _, true = reader.read_frames([seen])
        assert true[0] == pytest.approx(seen, abs=3 / fps)


def test_a_transport_stream_that_begins_without_a_keyframe(make_clip, tmp_path):
    whole = make_clip('to_tear.ts', seconds=4.0, numbered=True, keyframes=24, events=(0.5, 3.5), b_frames=0)
    path = tmp_path / 'torn.ts'
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    # From the second frame on: the picture can be shown from frame 24 on, the sound is heard from the start.
    tables = data[: 3 * 188]
    path.write_bytes(tables + data[places[1] - places[1] % 188 :])
    out = load(path)
    # ffprobe -show_entries format=start_time,duration: from 1.46 s, that is 0.08 s of the recording, for 3.98 s.
    assert out['end'] == pytest.approx(3.95, abs=0.15)
    numbers, times = clips.frame_numbers(out['video'][0]), out['frame_times'][0]
    shift = 24 / 12 - times[0]
    assert 0.0 < shift < 0.2
    np.testing.assert_array_equal(numbers, np.round((times + shift) * 12))
    assert clips.onset(out['audio'][0][:24000], 16000) == pytest.approx(0.5 - shift, abs=0.02)
    assert clips.onset(out['audio'][0][48000:], 16000) == pytest.approx(0.5 - shift, abs=0.02)


def test_sound_of_another_rate_and_pictures_of_another_form_in_mid_stream(make_clip, tmp_path):
    plain = dict(seconds=2.0, events=(0.5, 1.5), numbered=True, keyframes=12)
    parts = [
        make_clip('first_form.ts', **plain, sample_rate=44100, clock=1.4),
        make_clip('second_form.ts', **plain, sample_rate=22050, size=(64, 96), fps=24, pixels='yuv444p', clock=3.4),
    ]
    path = remux.join(tmp_path / 'forms.ts', *parts)
    # ffprobe -show_entries format=duration: 4.0 s.
    out = load(path)
    assert out['end'] == pytest.approx(4.0, abs=0.1)
    np.testing.assert_array_equal(clips.frame_numbers(out['video'][0][:4]), [3, 9, 15, 21])
    for event in (0.5, 1.5, 2.5, 3.5):
        place = round((event - 0.3) * 16000)
        assert clips.onset(out['audio'][0][place : place + 9600], 16000) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize('rate', [8000, 12000, 44100])
def test_time_zero_is_the_first_sample_not_the_first_packet(make_clip, tmp_path, rate):
    options = dict(seconds=2.0, video=None, audio='vorbis', channels=2, events=(0.5,), sample_rate=rate)
    source, path = make_clip(f'vorbis_{rate}.webm', **options), tmp_path / 'late.webm'
    # Nothing comes out of the first packet of Vorbis. libvorbis gives it time zero, not one before.
    with av.open(str(source)) as read, av.open(str(path), 'w') as write:
        copy = write.add_stream_from_template(read.streams.audio[0])
        packets = [packet for packet in read.demux() if packet.dts is not None]
        first = packets[0].pts
        assert first < -20
        for packet in packets:
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
            write.mux(packet)
    # ffmpeg -i x.webm out.wav: 0.5000 s, as the files of libvorbis have it at 8, 12, 16, 22, 32, 44.1 and 48 kHz.
    with open_media(str(path)) as reader:
        wave = reader.read_audio(0.0, 2.0, 16000)
    assert clips.onset(wave, 16000) == pytest.approx(0.5, abs=0.002)


def test_one_wrong_time_stamp_is_not_the_length(make_clip, tmp_path):
    source = make_clip('to_redate.mkv', seconds=2.0, numbered=True, b_frames=0)
    for place in (7, -1):
        path = tmp_path / f'wrong_{place}.mkv'
        with av.open(str(source)) as read, av.open(str(path), 'w') as write:
            copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
            packets = [packet for packet in read.demux() if packet.dts is not None]
            wrong = [packet for packet in packets if packet.stream.type == 'audio'][place]
            wrong.pts = wrong.dts = wrong.pts + round(86400 / wrong.time_base)
            for packet in packets:
                packet.stream = copies[packet.stream_index]
                with suppress(av.FFmpegError):
                    write.mux_one(packet)
        with open_media(str(path)) as reader:
            assert reader.info.duration == pytest.approx(2.0, abs=0.2), place


def test_a_file_is_measured_once(tmp_path, monkeypatch):
    path = sound(tmp_path / 'once.mp3', LOUD_FIRST, **VBR)
    read, demuxed = 0, packets.Demuxer._demux

    def counting(self):
        nonlocal read
        for packet in demuxed(self):
            read += 1
            yield packet

    monkeypatch.setattr(packets.Demuxer, '_demux', counting)
    for most in (300, 5):
        read = 0
        with open_media(str(path)) as reader:
            assert reader.info.duration == pytest.approx(6.0, abs=0.1)
        assert read <= most
    # Another file of that name is another file.
    sound(path, [(2.0, 0.5)], **VBR)
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(2.0, abs=0.1)
