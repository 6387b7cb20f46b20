import pytest

from mmav.serving.metrics import Counter, Gauge, Histogram, exposition


@pytest.fixture
def metrics():
    requests = Counter('x_requests_total', 'All "requests"\nby path \\', ['path', 'status'])
    requests.add(path='/a', status=200)
    requests.add(2, path='odd "path"\n\\', status=503)
    seconds = Histogram('x_seconds', 'Seconds', (0.1, 1.0), ['path'])
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.see(value, path='/a')
    empty = Histogram('x_empty', 'Nothing yet', (1.0,))
    return [requests, seconds, empty, Counter('x_total', 'None yet'), Gauge('x_ready', 'Ready', lambda: True)]


def test_prometheus_reads_it(metrics):
    """Prometheus's own parser is the reference."""
    parser = pytest.importorskip('prometheus_client.parser')
    families = {each.name: each for each in parser.text_string_to_metric_families(exposition(metrics))}
    assert families['x_requests'].type == 'counter' and families['x_requests'].documentation.count('\n') == 1
    samples = {(each.name, *each.labels.values()): each.value for each in families['x_requests'].samples}
    assert samples == {
        ('x_requests_total', '/a', '200'): 1,
        ('x_requests_total', 'odd "path"\n\\', '503'): 2,
    }
    found = {(each.name, each.labels.get('le')): each.value for each in families['x_seconds'].samples}
    assert found == {
        ('x_seconds_bucket', '0.1'): 2,
        ('x_seconds_bucket', '1'): 3,
        ('x_seconds_bucket', '+Inf'): 4,
        ('x_seconds_sum', None): pytest.approx(7.65),
        ('x_seconds_count', None): 4,
    }
    assert families['x_ready'].samples[0].value == 1 and families['x'].samples[0].value == 0


def test_text(metrics):
    lines = exposition(metrics).splitlines()
    assert lines[0] == r'# HELP x_requests_total All "requests"\nby path \\'
    assert r'x_requests_total{path="odd \"path\"\n\\",status="503"} 2' in lines
    assert 'x_seconds_bucket{path="/a",le="+Inf"} 4' in lines and exposition(metrics).endswith('\n')


def test_values(metrics):
    assert metrics[0].value(path='/a', status=200) == 1 and metrics[0].value(path='/b', status=200) == 0
    assert metrics[1].mean(path='/a') == pytest.approx(7.65 / 4) and metrics[2].mean() == 0


def test_all_of_the_endpoint_are_read(site):
    parser = pytest.importorskip('prometheus_client.parser')
    site.http.get('/health/live')
    answer = site.http.get('/metrics')
    assert answer.headers['content-type'] == 'text/plain; version=0.0.4; charset=utf-8'
    families = {each.name: each for each in parser.text_string_to_metric_families(answer.text)}
    for name in ('mmav_requests', 'mmav_request_seconds', 'mmav_queue_clips', 'mmav_ready', 'mmav_reader_memory_bytes'):
        assert families[name].samples
    assert families['process_resident_memory_bytes'].samples[0].value > 2**20
