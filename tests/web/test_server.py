import json
import os
import signal
import threading

import pytest

from mmav.listening import bind
from mmav.web.demo import Limits
from mmav.web.server import Gate, serve, upload_folder


@pytest.fixture
def client(tmp_path):
    """A gate before an application that says what it got; uploads of 1 MB."""
    testclient = pytest.importorskip('starlette.testclient')

    async def app(scope, receive, send):
        body, more = b'', True
        while more:
            message = await receive()
            body, more = body + message['body'], message.get('more_body', False)
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=scope['path'].encode() + b' ' + body))

    for name in ('uploads', 'uploads_of_others'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.mp4').write_bytes(b'film')
    gate = Gate(app, str(tmp_path / 'uploads'), limits=Limits(megabytes=1))
    return testclient.TestClient(gate)


@pytest.mark.parametrize(
    'path',
    ['/', '/config', '/theme.css', '/assets/index-1.js', '/gradio_api/queue/data?session_hash=1', '/static/img/a.svg'],
)
def test_what_the_page_needs_passes(client, path):
    assert client.get(path).text == path.split('?')[0] + ' '


@pytest.mark.parametrize(
    'path',
    [
        '/docs',
        '/openapi.json',
        '/gradio_api/info',
        '/gradio_api/openapi.json',
        '/gradio_api/proxy=https://example.com/',
        '/gradio_api/file=https://example.com/',
        '/gradio_api/file=/etc/passwd',
        '/gradio_api/file=',
        '/gradio_api/file/etc/passwd',
        '/gradio_api/runs',
        '/gradio_api/vibe-code',
        '/gradio_api/queue/status',
        '/monitoring',
        '/config/x',
        '/x/%2e%2e/config',
        '/assets/%2e%2e/%2e%2e/blocks.py',
        '/login_check',
    ],
)
def test_all_else_is_not_there(client, path):
    assert client.get(path).status_code == 404 and client.head(path).status_code == 404


@pytest.mark.parametrize('path', ['/', '/gradio_api/call/classify', '/gradio_api/run/predict', '/gradio_api/vibe-edit'])
def test_nothing_else_is_taken(client, path):
    for method in ('POST', 'PUT', 'DELETE', 'PATCH'):
        assert client.request(method, path).status_code == 404


def test_files_of_the_folder_alone(client, tmp_path):
    for name, status in dict(uploads=200, uploads_of_others=404).items():
        assert client.get(f'/gradio_api/file={tmp_path}/{name}/a.mp4').status_code == status
    assert client.get(f'/gradio_api/file={tmp_path}/uploads/%2e%2e/uploads_of_others/a.mp4').status_code == 404
    assert client.get(f'/gradio_api/file={tmp_path}/uploads').status_code == 404
    (tmp_path / 'uploads' / 'link.mp4').symlink_to(tmp_path / 'uploads_of_others' / 'a.mp4')
    assert client.get(f'/gradio_api/file={tmp_path}/uploads/link.mp4').status_code == 404


def test_request_names_uploads_only(client, tmp_path):
    url, inside = '/gradio_api/queue/join', str(tmp_path / 'uploads' / 'a.mp4')
    body = dict(fn_index=0, data=[dict(path=inside, meta=dict(_type='gradio.FileData')), None, 'video only'])
    assert client.post(url, json=body).text == f'{url} {client.build_request("POST", url, json=body).content.decode()}'
    for path in ('/etc/passwd', 'https://example.com/a.mp4', str(tmp_path / 'uploads' / 'gone.mp4'), 3, ['x']):
        refused = client.post(url, json=dict(data=[[dict(value=dict(path=path))]]))
        assert refused.status_code == 400 and 'upload it again' in refused.json()['detail']
    assert client.post(url, content='{').status_code == 400
    assert client.post(url, content='[' * 100000).status_code == 400
    assert client.post(url, json=dict(data='x' * 300000)).status_code == 413


def test_large_and_many_uploads(client, tmp_path):
    url = '/gradio_api/upload'
    assert client.post(url, content=b'x' * 2**20).status_code == 200
    refused = client.post(url, content=b'x' * 2**21)
    assert refused.status_code == 413 and 'at most' in refused.json()['detail']
    with open(tmp_path / 'uploads' / 'many', 'wb') as file:
        file.truncate(21 * 2**20)
    refused = client.post(url, content=b'x')
    assert refused.status_code == 503 and 'too many uploads' in refused.json()['detail']


def test_uploads_are_removed_in_the_end(monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', 'before')
    with upload_folder() as folder:
        assert os.environ['GRADIO_TEMP_DIR'] == folder and os.stat(folder).st_mode & 0o077 == 0
        (open(os.path.join(folder, 'a.mp4'), 'w')).close()
    assert not os.path.exists(folder) and os.environ['GRADIO_TEMP_DIR'] == 'before'


@pytest.mark.parametrize(('number', 'error'), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_end_it_quietly(capsys, number, error):
    pytest.importorskip('uvicorn')

    async def app(scope, receive, send):
        assert scope['type'] == 'lifespan'
        await receive()
        await send(dict(type='lifespan.startup.complete'))
        threading.Timer(0.2, lambda: os.kill(os.getpid(), number)).start()
        await receive()
        await send(dict(type='lifespan.shutdown.complete'))

    # of tests that a shell runs in the background SIGINT is ignored
    before = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with bind('127.0.0.1', 0) as listener, pytest.raises(error):
            serve(app, listener)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    captured = capsys.readouterr()
    assert 'the page is at http://127.0.0.1:' in captured.out and captured.err == ''


def test_a_public_address_is_warned_of(capsys, monkeypatch):
    uvicorn = pytest.importorskip('uvicorn')
    monkeypatch.setattr(uvicorn.Server, 'run', lambda self, sockets: None)
    with bind('0.0.0.0', 0) as listener:
        serve(None, listener)
    assert 'warning: the page is open to everyone who can reach 0.0.0.0' in capsys.readouterr().err


def test_json_of_a_refusal(client):
    assert json.loads(client.get('/docs').text) == dict(detail='Not found', error='Not found')
