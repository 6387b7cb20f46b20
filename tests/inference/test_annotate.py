import av
import numpy as np
import pytest

from mmav.datasets.media import PairPath
from mmav.errors import MediaError, OutputError
from mmav.inference import annotate as module
from mmav.inference.annotate import annotate, free_name, plan_copies
from mmav.inference.results import new_result
from mmav.inference.sources import Source
from mmav.outputs import folded


def result(path, *windows):
    labels = [dict(label='dog', index=0, score=0.9)]
    return new_result(str(path), []) | dict(
        duration=2.0, predictions=labels, windows=[dict(start=a, end=b, predictions=labels) for a, b in windows]
    )


def frames(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])


def test_copies_show_the_predictions_and_keep_the_sound(clip, tmp_path):
    sources = [Source(str(clip)), Source('<arrays>', dict()), Source('bad.mp4'), Source(str(clip))]
    results = [result(clip, (0.0, 2.0)), result('<arrays>', (0.0, 1.0)), new_result('bad.mp4', []), result(clip)]
    results[3] = result(clip, (0.0, 1.0), (1.0, 2.0))
    written = annotate(sources, results, tmp_path)
    assert written == [str(tmp_path / 'plain.mp4'), str(tmp_path / 'plain_2.mp4')]
    assert [each.get('video') for each in results] == [written[0], None, None, written[1]]
    shown = frames(written[0])
    assert len(shown) == 24  # as many as the clip has
    # the clip is grey, the bar of a label is not
    assert (np.ptp(shown[:, : shown.shape[1] // 2].astype(int), axis=-1) > 60).any(axis=(1, 2)).all()
    with av.open(written[0]) as container:
        assert container.streams.audio[0].codec_context.name == 'aac'


def test_windows_are_told_apart_by_their_times(clip, tmp_path, monkeypatch):
    headings = []
    monkeypatch.setattr(
        'mmav.visualization.captions.draw_captions',
        lambda frame, lines, heading, strong: headings.append((heading, lines)) or frame,
    )
    annotate([Source(str(clip))], [result(clip, (0.0, 1.0), (1.0, 2.0))], tmp_path)
    assert len({heading for heading, _ in headings}) == 2 and headings[0][1] == [('dog', 0.9)]


def test_a_file_that_breaks_off_costs_only_its_own_copy(clip, tmp_path, monkeypatch, capsys):
    def fail(path, out, draw, **options):
        raise MediaError(path if 'torn' in path else out, 'cannot be read or written')

    monkeypatch.setattr('mmav.visualization.annotated_video.write_annotated_video', fail)
    torn = result('torn.mp4', (0.0, 1.0))
    assert annotate([Source('torn.mp4')], [torn], tmp_path) == [] and 'video' not in torn
    with pytest.raises(MediaError, match='cannot be read or written'):
        annotate([Source(str(clip))], [result(clip, (0.0, 2.0))], tmp_path)


def test_names_do_not_collide():
    assert free_name(module.Path('o'), 'a', {folded('o/A.mp4'), folded('o/a_2.mp4')}) == 'o/a_3.mp4'


def test_copies_are_planned_before_the_work(tmp_path, clip):
    sources = [Source(str(clip)), Source('<arrays>', {}), Source(f'/elsewhere/{clip.stem}.AVI')]
    names = module.plan_copies(sources, tmp_path)
    assert names == [str(tmp_path / f'{clip.stem}.mp4'), '', str(tmp_path / f'{clip.stem}_2.mp4')]
    with pytest.raises(OutputError, match='would replace'):
        module.plan_copies(sources, clip.parent)
    (tmp_path / f'{clip.stem}_2.mp4').write_text('mine')
    with pytest.raises(OutputError, match='is there and was not written by mmav'):
        module.plan_copies(sources, tmp_path)
    with pytest.raises(OutputError, match='is a file: give a folder'):
        module.plan_copies(sources, clip)


def test_a_copy_of_two_files_has_the_sound_of_the_second(silent, clip, tmp_path):
    np.save(tmp_path / 'wave.npy', np.zeros(16000, np.float32))
    pair = PairPath(str(silent), str(clip))
    arrays = PairPath(str(silent), str(tmp_path / 'wave.npy'), sample_rate=16000)
    results = [result(path, (0.0, 2.0)) for path in (pair, arrays)]
    assert annotate([Source(pair), Source(arrays)], results, tmp_path) == [str(tmp_path / 'silent.mp4')]
    with av.open(str(tmp_path / 'silent.mp4')) as container:
        assert len(container.streams.audio) == len(container.streams.video) == 1
    with pytest.raises(OutputError, match='would replace'):
        plan_copies([Source(PairPath(str(tmp_path / 'silent.mp4'), str(clip)))], tmp_path)
