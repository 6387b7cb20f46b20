"""The command mmav serve, in a process of its own as its users have it."""

import http.client
import re
import signal
import subprocess
import sys

import pytest

from mmav.listening import bind
from tests.inference.models import config, write_model
from tests.toys import ROOT, run_tool

TOOL = 'deployment/serve.py'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    pytest.importorskip('fastapi')
    return write_model(tmp_path_factory.mktemp('model'), config())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--max-seconds', 0], 'seconds 0 must be above 0 and finite'),
        (['--max-megabytes', 'nan'], 'megabytes nan must be above 0 and finite'),
        (['--queue', 0], 'queue 0 must be above 0 and finite'),
        (['--workers', 0], '--workers 0 must be 1 or more'),
        (['--batch-wait', -1], '--batch-wait -1 must be 0 or more and finite'),
        (['--port', 70000], '--port 70000 must be 0 to 65535'),
        (['--token-file', 'gone'], "--token-file 'gone': No such file or directory"),
    ],
)
def test_mistakes_are_one_line(files, capsys, options, message):
    assert run_tool(TOOL, *files, *options) == 2
    assert capsys.readouterr().err == f'error: {message}\n'


def test_taken_port_and_missing_model_are_one_line(files, capsys):
    with bind('127.0.0.1', 0) as taken:
        taken.listen()
        assert run_tool(TOOL, *files, '--port', taken.getsockname()[1]) == 2
    assert ' is in use: give another one with --port' in capsys.readouterr().err
    assert run_tool(TOOL, files[0], 'gone.pth', '--port', 0) == 2
    assert "no checkpoint 'gone.pth'" in capsys.readouterr().err


def test_missing_packages_are_one_line(files, capsys, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert run_tool(TOOL, *files) == 2
    assert 'fastapi and uvicorn and python_multipart not installed: pip install' in capsys.readouterr().err


def visit(process, port, content):
    """Sends a clip without and with the token, and ends the server; gives the statuses, and what it wrote."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    statuses = []
    for headers in ({}, dict(authorization='Bearer 0123456789abcdef')):
        connection.request('POST', '/v1/classify', content, {'content-type': 'video/mp4', **headers})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    process.send_signal(signal.SIGTERM)
    return statuses, process.wait(60), process.stderr.read()


def test_it_serves_until_it_is_told_to_stop(files, clip, tmp_path):
    (tmp_path / 'token').write_text('0123456789abcdef')
    command = [
        sys.executable,
        '-m',
        'mmav',
        'serve',
        *map(str, files),
        '--port',
        '0',
        '--device',
        'cpu',
        '--workers',
        '1',
    ]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen([*command, '--token-file', str(tmp_path / 'token')], **pipes) as process:
        lines = iter(process.stdout.readline, '')
        port = int(
            next(found[1] for line in lines if (found := re.search(r'endpoint is at http://127.0.0.1:(\d+)', line)))
        )
        try:
            statuses, status, errors = visit(process, port, clip.read_bytes())
        finally:
            process.kill()
    assert statuses == [401, 200] and status == 0
    assert re.search(r'POST /v1/classify 200 \d+ ms \d+ bytes in \d+ out\n', errors) and 'Traceback' not in errors
