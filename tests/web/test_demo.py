import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest

from mmav.apis import AVInferencer
from mmav.errors import MediaError
from mmav.visualization.grad_cam import GradCAM
from mmav.web import demo as web_demo
from mmav.web.demo import Limits, PageInferencer, UploadError, WebDemo, check_upload
from tests.inference.models import CLASSES, config, write_model


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'), config())


@pytest.fixture(scope='module')
def demo(files):
    return WebDemo(PageInferencer(*files, device='cpu'))


@pytest.fixture(scope='module')
def verbs(tmp_path_factory):
    cfg = config(head=dict(type='VerbNounHead', num_verbs=2, num_nouns=3))
    names = dict(verb=('cut', 'wash'), noun=('egg', 'pan', 'tap'))
    return WebDemo(PageInferencer(*write_model(tmp_path_factory.mktemp('verbs'), cfg, classes=names), device='cpu'))


def test_answer_is_that_of_the_inferencer(demo, files, flashes):
    (expected,) = AVInferencer(*files, device='cpu', show_progress=False)(flashes, topk=None)
    answer = demo.classify(str(flashes), 'video and audio')
    assert answer.predictions == expected['predictions']
    assert answer.spans == [(window['start'], window['end']) for window in expected['windows']]
    for scores, window in zip(answer.scores['label'], expected['windows'], strict=True):
        assert [scores[each['index']] for each in window['predictions']] == [
            each['score'] for each in window['predictions']
        ]
    assert answer.notes == ['The prediction is based on video and audio together.']


@pytest.mark.parametrize(
    ('name', 'use', 'note'),
    [
        ('clip', 'video only', 'The audio was withheld; the prediction is based on the video alone.'),
        ('clip', 'audio only', 'The video was withheld; the prediction is based on the audio alone.'),
        ('silent', 'video and audio', 'This file has no audio; the prediction is based on the video alone.'),
        ('blind', 'video and audio', 'This file has no video; the prediction is based on the audio alone.'),
    ],
)
def test_what_is_absent_is_said(demo, request, name, use, note):
    answer = demo.classify(str(request.getfixturevalue(name)), use)
    assert answer.notes == [note]
    found = demo.explain(answer, 'label', 2)
    assert list(found.maps) == (['audio'] if 'the audio alone' in note else ['video'])


def test_recording_of_a_browser_has_no_length_in_its_header(demo, make_clip):
    options = dict(video='libvpx', encoder={'deadline': 'realtime', 'cpu-used': '8'}, audio='libopus')
    path = make_clip('recorded.webm', sample_rate=48000, muxer={'live': '1'}, **options)
    with av.open(str(path)) as container:
        assert container.duration is None
    assert check_upload(str(path), Limits()).duration == pytest.approx(2.0, abs=0.1)
    assert len(demo.classify(str(path), 'video and audio').predictions) == len(CLASSES)


def test_explanation_is_grad_cam_of_the_strongest_window(demo, flashes):
    answer = demo.classify(str(flashes), 'video and audio')
    answer.scores['label'][:, 1] = [0.2, 0.6]
    found = demo.explain(answer, 'label', 1)
    assert (found.seen.start, found.seen.end) == answer.spans[1]
    assert demo.explain(answer, 'label', 1, window=0).seen.end == answer.spans[0][1]
    batch = demo.inferencer.prepare([demo.inferencer.read(str(flashes), start=2.0, end=4.0)])
    expected = GradCAM(demo.inferencer.model)(batch['inputs'], batch['masks'], target=1)
    for name in ('video', 'audio'):
        assert found.maps[name].equal(expected[name][0]) and found.maps[name].max() == 1


def test_explanation_of_what_was_used(demo, clip):
    answer = demo.classify(str(clip), 'audio only')
    batch = demo.inferencer.prepare([demo.inferencer.read(str(clip), drop=['video'])])
    expected = GradCAM(demo.inferencer.model)(batch['inputs'], batch['masks'], target=3)
    assert demo.explain(answer, 'label', 3).maps['audio'].allclose(expected['audio'][0], atol=1e-5)


def test_verbs_and_nouns(verbs, clip):
    assert verbs.classes == dict(verb=['cut', 'wash'], noun=['egg', 'pan', 'tap'])
    answer = verbs.classify(str(clip), 'video and audio')
    assert {part: scores.shape for part, scores in answer.scores.items()} == dict(verb=(1, 2), noun=(1, 3))
    noun = verbs.explain(answer, 'noun', 2)
    assert noun.maps['video'].shape == (1, 4, 32, 32)
    assert not noun.maps['video'].equal(verbs.explain(answer, 'verb', 1).maps['video'])


def test_classes_without_names_are_numbers(tmp_path, clip):
    demo = WebDemo(PageInferencer(*write_model(tmp_path, config(['audio']), classes=None), device='cpu'))
    assert demo.classes == dict(label=['0', '1', '2', '3']) and demo.uses == ['video and audio']
    assert demo.classify(str(clip), demo.uses[0]).notes == []  # nothing that the model knows was absent


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('text', 'This is not a video or audio file that can be read'),
        ('empty', 'The file is empty'),
        ('cut_off', 'This is not a video or audio file that can be read'),
        ('missing', 'The file is no longer here'),
        ('folder', 'The file is no longer here'),
    ],
)
def test_broken_uploads(demo, broken, name, message):
    with pytest.raises(UploadError, match=message) as error:
        demo.classify(str(broken[name]), 'video and audio')
    assert str(broken[name].parent) not in str(error.value)


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        (dict(seconds=1.5), r'The clip is 2\.0 s long; this page takes 1\.5 s at most'),
        (dict(megabytes=0.001), r'The file has .* MB; this page takes 0\.001 MB at most'),
    ],
)
def test_limits(clip, monkeypatch, limits, message):
    def decode(*args, **kwargs):
        raise AssertionError('decoded before it was checked')

    monkeypatch.setattr('mmav.datasets.media.video.VideoDecoder.read', decode)
    with pytest.raises(UploadError, match=message):
        check_upload(str(clip), Limits(**limits))
    assert check_upload(str(clip), Limits()).duration == 2.0


def test_huge_picture_is_not_decoded(clip, monkeypatch):
    monkeypatch.setattr(web_demo, 'LARGEST_FRAME', 48 * 64 - 1)
    with pytest.raises(UploadError, match='The video has 64 x 48 pixels'):
        check_upload(str(clip), Limits())


@pytest.mark.parametrize(
    'playlist',
    ['ffconcat version 1.0\nfile {name}\n', '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}\n#EXT-X-ENDLIST\n'],
)
def test_playlist_opens_no_other_file(clip, tmp_path, playlist):
    """FFmpeg would open the files of this machine that a list names (the first one does without the check)."""
    (tmp_path / 'other.mp4').write_bytes(clip.read_bytes())
    (tmp_path / 'list.mp4').write_text(playlist.format(name='other.mp4'))
    with pytest.raises(UploadError, match='This is not a video or audio file'):
        check_upload(str(tmp_path / 'list.mp4'), Limits())


def test_nothing_to_use(demo, silent, blind):
    with pytest.raises(UploadError, match='This file has no audio, and you chose to use nothing else'):
        demo.classify(str(silent), 'audio only')
    with pytest.raises(UploadError, match='This file has no video, and you chose to use nothing else'):
        demo.classify(str(blind), 'video only')
    with pytest.raises(UploadError, match='There is no clip yet'):
        demo.classify(None, 'video and audio')
    with pytest.raises(UploadError, match='Please choose'):
        demo.classify(str(silent), 'smell')


def test_windows_left_when_time_is_up(demo, flashes, monkeypatch):
    clock = iter([0.0, 0.0])
    monkeypatch.setattr(web_demo, 'time', SimpleNamespace(monotonic=lambda: next(clock, 1e6)))
    answer = demo.classify(str(flashes), 'video and audio')
    assert len(answer.spans) == 1
    assert answer.notes[1] == '1 of 2 parts were skipped: the 120 s of one request were over.'
    clock = iter([0.0])
    with pytest.raises(UploadError, match='Nothing could be read within the 120 s of one request'):
        demo.classify(str(flashes), 'video and audio')


def test_request_that_hangs_is_left_alone(files, clip, monkeypatch):
    demo = WebDemo(PageInferencer(*files, device='cpu'), Limits(request_seconds=0.05))
    go_on = threading.Event()
    monkeypatch.setattr(demo, '_classify', lambda path, use: go_on.wait())
    for _ in range(2):  # the second waits for the first
        with pytest.raises(UploadError, match='This takes too long here'):
            demo.classify(str(clip), 'video and audio')
    go_on.set()
    monkeypatch.undo()
    demo._worker.submit(time.monotonic).result()
    demo.limits = Limits()
    assert demo.classify(str(clip), 'video and audio').predictions


def test_reasons_tell_no_folders(demo, clip, monkeypatch):
    def fail(path, *args, **kwargs):
        raise MediaError(str(clip), f'cannot be read: no space in {clip.parent}/part of {clip}')

    answer = demo.classify(str(clip), 'video and audio')
    monkeypatch.setattr(demo.inferencer, 'read', fail)
    for work in (lambda: demo.classify(str(clip), 'audio only'), lambda: demo.explain(answer, 'label', 0)):
        with pytest.raises(UploadError, match='^This file cannot be read: no space in ') as error:
            work()
        assert str(clip.parent) not in str(error.value)


def test_best_window():
    answer = web_demo.Answer('', '', [], [], dict(label=np.array([[0.1, 0.9], [0.3, 0.7]])), [])
    assert (answer.best_window('label', 0), answer.best_window('label', 1)) == (1, 0)
