"""What is written anew reads like its source: times, picture, sound."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media, streaming
from mmav.datasets.media.probe import probe
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.errors import MediaError
from tests import clips

SOURCES = {
    'plain.mp4': dict(),
    'vp9.webm': dict(video='libvpx-vp9', audio='libopus', sample_rate=48000),
    'mpeg4.avi': dict(video='mpeg4', audio='pcm_s16le', b_frames=2),
    'stream.ts': dict(keyframes=10),
    'surround.mp4': dict(sample_rate=48000, channels=6),
    'uneven.mp4': dict(times=np.cumsum(np.random.default_rng(3).uniform(0.02, 0.25, 20))),
    'late.mp4': dict(audio_start=0.3),
    'hd.mp4': dict(size=(288, 576)),
    'full_range.mp4': dict(pixels='yuvj420p'),
    'ten_bit.mkv': dict(pixels='yuv420p10le'),
}
FINE = TranscodeOptions(crf=4)


@pytest.mark.parametrize('codec', ['flac', 'aac'])
@pytest.mark.parametrize('name', SOURCES)
def test_frames_and_sound_stay_where_they_were(make_clip, tmp_path, name, codec):
    source = make_clip(f'source_{name}', events=(0.5,), **SOURCES[name])
    target = tmp_path / 'out.mp4'
    result = transcode(str(source), str(target), TranscodeOptions(crf=4, audio_codec=codec))
    shown, times = clips.displayed(source)
    assert result.frames == len(shown) and result.damaged == 0
    with open_media(str(source)) as one, open_media(str(target)) as other:
        end = min(one.fetch(0, one.info.duration)[1], other.fetch(0, other.info.duration)[1])
        images, new_times = other.read_frames(times)
        np.testing.assert_allclose(new_times, times, atol=1e-4)
        short = min(shown.shape[1:3])
        expected, _ = one.read_frames(times, short_side=min(256, short))
        assert images.shape == expected.shape
        assert np.abs(images.astype(int) - expected).mean() < 2
        waves = [reader.read_audio(0.0, end, 16000) for reader in (one, other)]
    # One codec pass of 64 kbit/s, or rounding to 16 bits and half a sample of another phase.
    assert clips.onset(waves[1], 16000) == pytest.approx(clips.onset(waves[0], 16000), abs=0.001)
    inside = slice(1600, -1600)
    assert np.corrcoef(waves[0][inside], waves[1][inside])[0, 1] > (0.99 if codec == 'flac' else 0.95)


def test_lossless_sound(make_clip, tmp_path):
    source = make_clip('sixteen.mkv', audio='flac', events=(0.5,))
    transcode(str(source), str(tmp_path / 'out.mp4'), TranscodeOptions())
    with open_media(str(source)) as one, open_media(str(tmp_path / 'out.mp4')) as other:
        np.testing.assert_array_equal(one.read_audio(0, 2, 16000), other.read_audio(0, 2, 16000))


def test_what_makes_it_fast(make_clip, tmp_path):
    source = make_clip('source_fast.mp4', seconds=3.0, fps=60, size=(288, 512), sample_rate=44100, channels=2)
    options = TranscodeOptions(short_side=96, keyframes=8, max_fps=30)
    transcode(str(source), str(tmp_path / 'out.mp4'), options)
    found = probe(str(tmp_path / 'out.mp4'))
    assert (found.height, found.width, found.sample_rate, found.channels) == (96, 170, 16000, 1)
    assert found.frames == 90 and found.fps == pytest.approx(30)
    with av.open(str(tmp_path / 'out.mp4')) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert np.diff(np.flatnonzero(keys)).max() <= 8
    data = (tmp_path / 'out.mp4').read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')


def test_small_and_odd_pictures(make_clip, tmp_path):
    source = make_clip('source_odd.mkv', size=(63, 99), video='ffv1', audio='pcm_s16le', pixels='yuv444p')
    transcode(str(source), str(tmp_path / 'out.mp4'), FINE)
    found = probe(str(tmp_path / 'out.mp4'))
    assert (found.height, found.width) == (64, 100)


def test_rotation_is_carried_out(make_clip, tmp_path):
    source = clips.rotate_by_metadata(make_clip('source_rotated.mp4', events=(0.5,)))
    transcode(str(source), str(tmp_path / 'out.mp4'), FINE)
    with open_media(str(source)) as one, open_media(str(tmp_path / 'out.mp4')) as other:
        expected, found = (reader.read_frames([0.0])[0] for reader in (one, other))
    assert found.shape == expected.shape == (1, 64, 48, 3)
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_cut_without_encoding(flashes, clip_dir, tmp_path):
    source = clips.cut_without_encoding(flashes, clip_dir / 'cut_to_transcode.mp4', 0.8)
    transcode(str(source), str(tmp_path / 'out.mp4'), FINE)
    for path in (source, tmp_path / 'out.mp4'):
        with open_media(str(path)) as reader:
            _, end = reader.fetch(0, reader.info.duration)
            flash, click = clips.flash_times(reader, end)[0], clips.onset(reader.read_audio(0, end, 16000), 16000)
        assert click == pytest.approx(flash, abs=0.002)


def test_pieces_make_no_seams(flashes, tmp_path, monkeypatch):
    transcode(str(flashes), str(tmp_path / 'whole.mp4'), FINE)
    monkeypatch.setattr(streaming, 'PIECE', 0.7)
    transcode(str(flashes), str(tmp_path / 'pieces.mp4'), FINE)
    with open_media(str(tmp_path / 'whole.mp4')) as one, open_media(str(tmp_path / 'pieces.mp4')) as other:
        times = np.arange(120) / 30
        np.testing.assert_array_equal(one.read_frames(times)[0], other.read_frames(times)[0])
        waves = [reader.read_audio(0, 4, 16000) for reader in (one, other)]
    assert clips.onset(waves[1], 16000) == pytest.approx(clips.onset(waves[0], 16000), abs=1e-3)
    assert np.corrcoef(*waves)[0, 1] > 0.97


def test_absent_tracks_stay_absent(silent, blind, make_clip, tmp_path):
    transcode(str(silent), str(tmp_path / 'a.mp4'), FINE)
    assert not probe(str(tmp_path / 'a.mp4')).has_audio
    transcode(str(blind), str(tmp_path / 'b.mp4'), FINE)
    found = probe(str(tmp_path / 'b.mp4'))
    assert found.has_audio and not found.height and found.seconds == pytest.approx(2.0, abs=0.07)
    short = make_clip('source_short_sound.mp4', audio_seconds=1.0)
    transcode(str(short), str(tmp_path / 'c.mp4'), FINE)
    assert probe(str(tmp_path / 'c.mp4')).sound_end == pytest.approx(1.0, abs=0.08)


def test_damage_is_left_out(make_clip, tmp_path):
    data = bytearray(make_clip('source_damaged.mp4', seconds=4.0, keyframes=12, events=(0.5, 3.5)).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    (tmp_path / 'damaged.mp4').write_bytes(data)
    result = transcode(str(tmp_path / 'damaged.mp4'), str(tmp_path / 'out.mp4'), FINE)
    assert result.damaged > 0 and 24 < result.frames < 48
    found = probe(str(tmp_path / 'out.mp4'))
    assert found.damaged == 0 and found.duration == pytest.approx(4.0, abs=0.1)


def test_what_cannot_be_read(broken, tmp_path):
    with pytest.raises(MediaError, match='cannot be opened'):
        transcode(str(broken['text']), str(tmp_path / 'out.mp4'), FINE)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(short_side=0), 'short_side must be above 0'),
        (dict(max_fps=-1), 'max_fps must be above 0'),
        (dict(crf=60), r'crf must lie in \[0, 51\]'),
        (dict(preset='quick'), "preset 'quick' is unknown: choose one of ultrafast"),
        (dict(audio_codec='mp3'), "'mp3' is neither 'flac' nor 'aac'"),
    ],
)
def test_wrong_options(wrong, message):
    with pytest.raises(ValueError, match=message):
        TranscodeOptions(**wrong)
