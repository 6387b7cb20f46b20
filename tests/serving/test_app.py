import json
import threading
from dataclasses import replace

import pytest

from mmav.apis import AVInferencer
from mmav.serving.app import make_app
from mmav.serving.limits import ERRORS
from mmav.serving.service import ClipService
from tests.inference.models import CLASSES, config, write_model
from tests.serving.conftest import LIMITS
from tests.serving.traps import HANG, SLOW


def error_of(answer):
    assert answer.headers['content-type'] == 'application/json'
    (error,) = answer.json().values()
    assert set(error) == {'code', 'message'} and ERRORS[error['code']][0] == answer.status_code
    return error['code'], error['message']


def test_answer_is_that_of_the_inferencer(model_files, ask, clip, flashes):
    own = AVInferencer(*model_files, device='cpu', show_progress=False)
    for path, options in ((clip, {}), (flashes, dict(stride=1.0)), (flashes, dict(window=1.5, drop=['audio']))):
        (expected,) = own(str(path), topk=3, **options)
        answer = ask(path.read_bytes(), topk=3, **options).json()
        assert [each['label'] for each in answer['predictions']] == [each['label'] for each in expected['predictions']]
        scores = [[each['score'] for each in found['predictions']] for found in (answer, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        assert [each['start'] for each in answer['windows']] == [each['start'] for each in expected['windows']]
        for name in ('duration', 'missing', 'withheld', 'present', 'skipped'):
            assert answer[name] == expected[name]


def test_every_form_of_upload(site, ask, clip, silent, blind):
    answers = [
        ask(clip.read_bytes()),
        ask(clip.read_bytes(), 'application/octet-stream'),
        site.http.post('/v1/classify', files=dict(clip=('../../etc/passwd', clip.read_bytes()))),
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()
    two = dict(video=silent.read_bytes(), audio=blind.read_bytes())
    assert site.http.post('/v1/classify', files=two).json()['present'] == ['video', 'audio']
    alone = site.http.post('/v1/classify', files=dict(audio=blind.read_bytes())).json()
    assert alone['missing'] == ['video'] and len(alone['predictions']) == len(CLASSES)


@pytest.mark.parametrize(
    ('query', 'message'),
    [
        (dict(tokp=3), "there is no option 'tokp', did you mean 'topk'?"),
        (dict(topk=0), 'topk: Input should be greater than or equal to 1'),
        (dict(window='nan'), 'window: Input should be a finite number'),
        (dict(window=9.0), 'a window of 9 s is longer than the 2 s that this model looks at'),
        (dict(stride=3.0), 'a stride of 3 s is longer than the window of 2 s'),
        (dict(drop='smell'), "drop.0: Input should be 'video' or 'audio'"),
        (dict(drop=['video', 'audio']), 'leaves the model nothing'),
        (dict(threshold=0.5), 'threshold is for models that give several labels'),
    ],
)
def test_wrong_options(ask, clip, query, message):
    code, text = error_of(ask(clip.read_bytes(), **query))
    assert code == 'invalid_option' and message in text


def test_wrong_clips(ask, site, clip, broken, make_clip):
    six = make_clip('thirteen_seconds.mp4', seconds=13.0, audio=None)
    for content, query, code, message in (
        (broken['text'].read_bytes(), {}, 'unreadable_clip', 'cannot be opened as audio or video'),
        (broken['cut_off'].read_bytes(), {}, 'unreadable_clip', 'The clip'),
        (b'', {}, 'no_clip', 'The clip is empty (0 bytes).'),
        (six.read_bytes(), {}, 'clip_too_long', 'is 13.0 s long; 12 s at most are taken'),
        (clip.read_bytes(), dict(stride=1e-300), 'clip_too_long', 'has more than 1,000 windows'),
        (clip.read_bytes(), dict(window=1e-9), 'clip_too_long', 'has more than 1,000 windows'),
    ):
        found, text = error_of(ask(content, **query))
        assert found == code and message in text and str(site.folder) not in text


def test_an_answer_has_an_end(ask, clip, monkeypatch):
    monkeypatch.setattr('mmav.serving.service.MOST_LABELS', 10)
    code, text = error_of(ask(clip.read_bytes(), stride=0.5, window=0.5))
    assert code == 'clip_too_long' and 'give a lower topk' in text
    assert ask(clip.read_bytes(), stride=0.5, window=0.5, topk=2).status_code == 200


def test_model_without_a_wanted_modality(ask, silent):
    code, text = error_of(ask(silent.read_bytes(), drop='video'))
    assert code == 'unreadable_clip' and 'has no audio' in text


def test_other_paths_and_methods(site):
    assert error_of(site.http.get('/docs'))[0] == error_of(site.http.get('/etc/passwd'))[0] == 'not_found'
    assert error_of(site.http.get('/v1/model/'))[0] == 'not_found'  # no redirection to a host that a client names
    refused = site.http.delete('/v1/classify')
    assert error_of(refused)[0] == 'method_not_allowed' and refused.headers['allow'] == 'POST'
    assert 'access-control-allow-origin' not in site.http.get('/v1/model', headers=dict(origin='http://a.b')).headers


def test_model_and_health(site):
    model = site.http.get('/v1/model').json()
    assert model['classes'] == dict(label=list(CLASSES)) and model['window'] == 2.0 and not model['several_labels']
    assert model['limits'] == dict(megabytes=2, seconds=12, windows=1000, timeout=6)
    assert site.http.get('/health/live').json() == dict(status='live')
    assert site.http.get('/health/ready').json() == dict(status='ready')


def test_a_clip_that_takes_too_long(site, ask, clip, monkeypatch):
    monkeypatch.setattr(site.service, 'limits', replace(LIMITS, timeout=0.4))
    assert error_of(ask(clip.read_bytes() + HANG))[0] == 'timeout'
    monkeypatch.undo()
    assert ask(clip.read_bytes()).status_code == 200 and not list(site.folder.iterdir())


def test_a_full_queue_refuses_at_once(site, ask, clip):
    """Two processes read, three clips wait, and every other one is told to come again; each gets an answer."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(clip.read_bytes() + SLOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) == 8 and refused
    assert {error_of(answer)[0] for answer in refused} == {'busy'}
    assert all(int(answer.headers['retry-after']) >= 1 for answer in refused)
    assert not list(site.folder.iterdir())


def test_schema_says_what_is_answered(site):
    schema = site.http.get('/openapi.json').json()
    operations = schema['paths']['/v1/classify']['post']
    assert {int(status) for status in operations['responses']} == {200, 400, 408, 413, 415, 422, 500, 503, 504}
    assert set(operations['requestBody']['content']) >= {'multipart/form-data', 'application/octet-stream'}
    for path in schema['paths'].values():
        for operation in path.values():
            for status, response in operation['responses'].items():
                if status != '200':
                    assert response['content']['application/json']['schema'] == {'$ref': '#/components/schemas/Error'}
    assert 'HTTPValidationError' not in json.dumps(schema)


@pytest.fixture(scope='module')
def guarded(inferencer, tmp_path_factory):
    """An endpoint with a token, in this process; its service does not run."""
    testclient = pytest.importorskip('starlette.testclient')
    app = make_app(ClipService(inferencer, LIMITS), str(tmp_path_factory.mktemp('up')), token='sesame-sesame-sesame')
    return testclient.TestClient(app)


def test_token(guarded):
    assert guarded.get('/health/live').status_code == 200
    for path in ('/v1/model', '/metrics', '/openapi.json', '/nowhere'):
        for headers in ({}, dict(authorization='Bearer x'), dict(authorization='sesame-sesame-sesame')):
            refused = guarded.get(path, headers=headers)
            assert error_of(refused)[0] == 'unauthorized' and refused.headers['www-authenticate'] == 'Bearer'
    right = dict(authorization='bearer sesame-sesame-sesame')
    assert guarded.get('/v1/model', headers=right).status_code == 200
    paths = guarded.get('/openapi.json', headers=right).json()['paths']
    assert paths['/v1/classify']['post']['security'] == [dict(token=[])]
    assert paths['/health/live']['get']['security'] == []


def test_not_ready_before_it_starts(guarded):
    refused = guarded.get('/health/ready')
    assert refused.status_code == 503 and error_of(refused)[0] == 'stopping'


@pytest.mark.parametrize('parts', ['labels', 'verbs'])
def test_other_kinds_of_labels(tmp_path, clip, parts, site):
    """One of several labels a clip, and one of verbs and nouns, in the form that the schema has."""
    from mmav.serving.answers import Classified, classified

    head, names = dict(
        labels=(dict(type='MultiLabelHead', num_classes=4, loss=dict(type='BCELoss')), CLASSES),
        verbs=(dict(type='VerbNounHead', num_verbs=2, num_nouns=3), dict(verb=('a', 'b'), noun=('c', 'd', 'e'))),
    )[parts]
    files = write_model(tmp_path, config(head=head), classes=names)
    (result,) = AVInferencer(*files, device='cpu', show_progress=False)(str(clip), topk=2)
    answer = Classified.model_validate(classified(result)).model_dump(exclude_none=True)
    if parts == 'labels':
        assert answer['labels'] == result['labels'] and 'parts' not in answer
    else:
        assert answer['parts'] == dict(verb=result['verb'], noun=result['noun']) and 'labels' not in answer
        assert answer['windows'][0]['parts']['noun'] == result['windows'][0]['noun']
