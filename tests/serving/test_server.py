import logging
import os
import signal
import threading
import time

import pytest

pytest.importorskip('uvicorn')
from mmav.listening import bind, url_of
from mmav.serving import server
from mmav.serving.gate import ACCESS
from mmav.serving.limits import ServeLimits
from mmav.serving.service import ClipService
from tests.serving.traps import SLOW


def test_a_signal_ends_it_once_everybody_has_an_answer(inferencer, clip, monkeypatch, capfd):
    """Requests under way are finished, later ones are told to come again, and nothing is left."""
    httpx = pytest.importorskip('httpx')
    monkeypatch.setattr(server, 'LINGER', 0.5)
    service = ClipService(inferencer, ServeLimits(timeout=20), workers=1)
    folders, answers, states = [], [], []
    made = server.make_server

    def make_server(service, folder, **options):
        folders.append(folder)
        return made(service, folder, **options)

    monkeypatch.setattr(server, 'make_server', make_server)

    def ask(http, content):
        answers.append(http.post('/v1/classify', content=content, headers={'content-type': 'video/mp4'}).status_code)

    def visit(url):
        try:
            _visit(url)
        except Exception as error:  # noqa: BLE001, it is compared with what should be
            states.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    def _visit(url):
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
            while True:
                try:
                    http.get('/health/ready')
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            slow = threading.Thread(target=ask, args=(http, clip.read_bytes() + SLOW))
            slow.start()
            while not os.listdir(folders[0]):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            while http.get('/health/ready').status_code == 200:
                time.sleep(0.01)
            states.append(http.get('/health/ready').json()['error']['code'])
            refused = http.post('/v1/classify', content=b'x', headers={'content-type': 'video/mp4'})
            states.append((refused.json()['error']['code'], 'retry-after' in refused.headers))
            slow.join()

    before = signal.getsignal(signal.SIGTERM), ACCESS.propagate, list(ACCESS.handlers), ACCESS.level
    with bind('127.0.0.1', 0) as listener:
        visitor = threading.Thread(target=visit, args=(url_of(listener),))
        visitor.start()
        server.serve(service, listener)
        visitor.join()
    ACCESS.propagate, ACCESS.handlers[:], ACCESS.level = before[1:]
    assert answers == [200] and states == ['stopping', ('stopping', True)]
    assert signal.getsignal(signal.SIGTERM) == before[0] and not os.path.exists(folders[0])
    assert service._pool.running == 0
    captured = capfd.readouterr()
    assert 'the endpoint is at http://127.0.0.1:' in captured.out and 'Traceback' not in captured.err


def test_the_second_signal_does_not_wait(site):
    found = server.make_server(site.service, 'x')
    try:
        found.handle_exit(signal.SIGTERM, None)
        assert site.service.stopping and not found.should_exit
        found.handle_exit(signal.SIGTERM, None)
        assert found.should_exit and found.force_exit
    finally:
        site.service.stopping = False


@pytest.mark.parametrize(('token', 'lacks'), [(None, 'no token and no encryption'), ('x' * 16, 'no encryption')])
def test_a_public_address_is_warned_of(monkeypatch, capsys, token, lacks):
    class Service:
        limits, stopping = ServeLimits(), False

        def start(self):
            pass

        stop = start

    monkeypatch.setattr(server.ClipServer, 'run', lambda self, sockets: None)
    monkeypatch.setattr(server, 'log_access', lambda: None)
    with bind('0.0.0.0', 0) as listener:
        server.serve(Service(), listener, token=token)
    assert f'it has {lacks}' in capsys.readouterr().err


def test_requests_are_logged_once():
    before = list(ACCESS.handlers), ACCESS.level, ACCESS.propagate
    server.log_access()
    server.log_access()
    assert len(ACCESS.handlers) == max(1, len(before[0])) and ACCESS.level == logging.INFO
    ACCESS.handlers[:], ACCESS.level, ACCESS.propagate = before
