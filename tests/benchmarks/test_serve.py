import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import serve
from benchmarks.serve import Load, load_table, measure_load, own_server, read_clips, read_memory
from mmav.errors import MmavError
from tests.toys import run_tool

TOOL = 'analysis_tools/benchmark_serve.py'
METRICS = b'process_resident_memory_bytes 104857600\nmmav_reader_memory_bytes 2e+08\n'


@pytest.fixture
def endpoint():
    """An endpoint whose answers to clips are given one after another, again and again; None closes the connection."""
    fates, got = [200], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            self._reply(200 if self.headers.get('Authorization') != 'Bearer wrong' else 401, METRICS)

        def do_POST(self):
            got.append(self.rfile.read(int(self.headers['Content-Length'])))
            fate = fates[len(got) % len(fates)]
            if fate is None:
                self.close_connection = True
            else:
                self._reply(fate, json.dumps(dict(predictions=[1])).encode())

        def _reply(self, status, content):
            self.send_response(status)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            """Says nothing."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True)
    thread.start()
    server.fates, server.got = fates, got
    server.url = f'http://127.0.0.1:{server.server_port}'
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_fate_is_counted(endpoint, monkeypatch):
    monkeypatch.setattr(serve, 'PAUSE', 0.001)
    endpoint.fates[:] = [200, 503, 504, 500, None]
    load = measure_load(endpoint.url, [b'a', b'b'], clients=3, seconds=0.5, every=0.1, progress=False)
    assert set(load.fates) == {'answered', 'refused', 'timed out', 'other', 'lost'}
    assert sum(load.fates.values()) == len(endpoint.got) and set(endpoint.got) == {b'a', b'b'}
    counts = list(load.fates.values())
    assert max(counts) - min(counts) <= 1
    assert len(load.seconds) == load.fates['answered'] and len(load.refused_seconds) == load.fates['refused']
    assert any('RemoteDisconnected' in text for text in load.problems) and any(
        ' 500 ' in text for text in load.problems
    )
    assert len(load.memory) >= 2 and load.memory[0][1:] == (104857600, 2e8)


def test_summary():
    load = Load(seconds=[0.01, 0.02, 0.03], duration=3600.0, problems=['after 3 s: x'])
    load.fates.update(answered=3, lost=1)
    # it grows before the end of the warm-up, and by 36 MiB an hour from then on
    load.memory = [(0.0, 0, 0), *((t, (100 + t / 100) * 2**20, 50 * 2**20) for t in range(720, 3601, 60))]
    found = load.summary()
    assert found['fates'] == dict(answered=3, refused=0, **{'timed out': 0}, other=0, lost=1)
    assert found['server_memory_mb_per_hour'] == pytest.approx(36) and abs(found['readers_memory_mb_per_hour']) < 1e-6
    assert found['latency_ms']['p50'] == pytest.approx(20) and found['refusal_ms'] == {}
    text = load_table(found)
    assert '4 requests in 3600 s: 3 answered, 0 refused, 0 timed out, 0 other, 1 lost' in text
    assert 'slope +36.0 MB an hour' in text and text.endswith('after 3 s: x')


def test_mistakes_are_one_line(endpoint, tmp_path, capsys):
    with pytest.raises(MmavError, match='asks for a token'):
        read_memory(endpoint.url, dict(Authorization='Bearer wrong'))
    with pytest.raises(MmavError, match='no endpoint answers at http://127.0.0.1:1:'):
        read_memory('http://127.0.0.1:1', {})
    with pytest.raises(MmavError, match='cannot be read'):
        read_clips([tmp_path / 'gone.mp4'])
    with pytest.raises(MmavError, match='the endpoint does not start: error: .*gone.py'), own_server('gone.py', 'none'):
        pass
    for options, message in (
        ([endpoint.url, '--clients', 0], '--clients 0: give 1 or more'),
        ([endpoint.url, '--server-options', '--queue 3'], 'are for a config'),
        (['a.py', '--token', 'x'], '--token is for an address'),
        ([endpoint.url, '--clips', tmp_path / 'gone.mp4'], 'cannot be read'),
    ):
        assert run_tool(TOOL, *options) == 2
        assert message in capsys.readouterr().err


def test_tool(endpoint, clip, tmp_path, capsys):
    out = tmp_path / 'a.json'
    assert run_tool(TOOL, endpoint.url, '--clips', clip, '--clients', 2, '--seconds', 1, '--json', out) == 0
    assert 'clips a second' in capsys.readouterr().out
    assert json.loads(out.read_text())['fates']['lost'] == 0
    endpoint.fates[:] = [200, 500]
    assert run_tool(TOOL, endpoint.url, '--clips', clip, '--clients', 1, '--seconds', 1) == 1
