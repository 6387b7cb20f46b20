import av

from benchmarks.sample_clip import KEYFRAME_INTERVAL, write_sample_clip


def test_is_what_the_description_says(tmp_path):
    path = write_sample_clip(tmp_path / 'a.mp4', seconds=0.5)
    with av.open(str(path)) as clip:
        video, audio = clip.streams.video[0], clip.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == ('h264', 340, 256, 30)
        assert (audio.codec_context.name, audio.sample_rate, audio.layout.name) == ('aac', 44100, 'stereo')
        assert abs(video.duration * video.time_base - 0.5) < 0.01 and abs(audio.duration * audio.time_base - 0.5) < 0.1
        keyframes = [packet.is_keyframe for packet in clip.demux(video) if packet.size]
    assert len(keyframes) == 15 < KEYFRAME_INTERVAL and sum(keyframes) == 1
    # Texture and noise, not a flat picture: at 30 fps hundreds of kilobits a second.
    assert path.stat().st_size > 20_000
