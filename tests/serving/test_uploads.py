import asyncio
import os
from types import SimpleNamespace

import pytest

from mmav.datasets.media import PairPath
from mmav.serving.limits import Refusal, ServeLimits
from mmav.serving.uploads import FORM, ClientGone, UploadStore, form_parser

LIMITS = ServeLimits(megabytes=0.01, queue=2, idle_seconds=0.2, upload_seconds=0.5)  # 10485 bytes


@pytest.fixture
def store(tmp_path):
    return UploadStore(str(tmp_path), LIMITS)


def part(name, content=b'x', extra=''):
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + content + b'\r\n'


def keep(store, chunks, kind=f'{FORM}; boundary=B', pause=0.0, **headers):
    """What is kept of a body: each file's content and the folder's bytes, or the code of the refusal."""
    waiting = list(chunks)

    async def receive():
        await asyncio.sleep(pause)
        if not waiting:
            return dict(type='http.disconnect')
        return dict(type='http.request', body=waiting.pop(0), more_body=bool(waiting))

    async def run():
        async with store.keep({'content-type': kind, **headers}, receive) as path:
            files = [path] if not isinstance(path, PairPath) else [path.video, path.audio]
            assert all(os.stat(file).st_mode & 0o077 == 0 and '.' not in file for file in files if file)
            return [open(file, 'rb').read() if file else None for file in files]

    try:
        return asyncio.run(run())
    except Refusal as refusal:
        return refusal.code
    finally:
        assert os.listdir(store.folder) == [] and store.stored == 0


def test_raw_bodies(store):
    for kind in ('video/mp4', 'Audio/WAV; rate=3', 'application/octet-stream'):
        assert keep(store, [b'ab', b'', b'cd'], kind) == [b'abcd']
    for kind in ('', 'text/plain', 'application/json', 'application/x-www-form-urlencoded', 'videos'):
        assert keep(store, [b'abcd'], kind) == 'unsupported_content_type'
    assert keep(store, [b'ab'], 'video/mp4', **{'content-encoding': 'gzip'}) == 'unsupported_content_type'
    assert keep(store, [b''], 'video/mp4') == 'no_clip'


def test_forms_in_any_pieces(store):
    whole = part('video', b'pictures', '; filename="../../a.npy"') + part('audio', b'so\r\n--unds') + b'--B--\r\n'
    for size in (1, 7, len(whole)):
        chunks = [whole[k : k + size] for k in range(0, len(whole), size)]
        assert keep(store, chunks) == [b'pictures', b'so\r\n--unds']
    assert keep(store, [part('audio') + b'--B--']) == [None, b'x']
    assert keep(store, [part('clip') + b'--B--']) == [b'x']


@pytest.mark.parametrize(
    ('body', 'code'),
    [
        (part('clop') + b'--B--', 'no_clip'),
        (part('clip') + part('clip') + b'--B--', 'no_clip'),
        (part('clip') + part('video') + b'--B--', 'no_clip'),
        (part('clip', b'') + b'--B--', 'no_clip'),
        (b'--B--\r\n', 'no_clip'),
        (part('clip'), 'malformed_request'),  # ends early
        (b'', 'malformed_request'),
        (b'nonsense', 'malformed_request'),
        (b'--B\r\nA: b\r\n\r\nx\r\n--B--', 'malformed_request'),
        (b'--B\r\n' + b'A: b\r\n' * 50 + b'\r\nx\r\n--B--', 'malformed_request'),
        (b'--B\r\nA: ' + b'b' * 9000 + b'\r\n\r\nx\r\n--B--', 'malformed_request'),
        (part('clip') * 40, 'no_clip'),
        (part('n' * 5000), 'malformed_request'),
    ],
)
def test_wrong_forms(store, body, code):
    assert keep(store, [body]) == code
    assert keep(store, [body[k : k + 3] for k in range(0, len(body), 3)] or [b'']) == code


def test_boundaries():
    for parameters in ('', ' charset=utf-8', ' boundary=', f' boundary={"x" * 5000}'):
        with pytest.raises(Refusal, match='malformed_request'):
            form_parser(parameters, SimpleNamespace(end=None))


def test_sizes(store):
    large = b'x' * 3000
    assert keep(store, [large] * 3, 'video/mp4') == [large * 3]
    assert keep(store, [large] * 6, 'video/mp4') == 'upload_too_large'
    # the length that a client tells is only believed where it is too large
    assert keep(store, [large], 'video/mp4', **{'content-length': '999999999'}) == 'upload_too_large'
    assert keep(store, [large] * 6, 'video/mp4', **{'content-length': '3'}) == 'upload_too_large'
    for odd in ('-1', 'x', '', '²'):
        assert keep(store, [b'ab'], 'video/mp4', **{'content-length': odd}) == [b'ab']
    store.stored = 15000
    try:
        with pytest.raises(AssertionError):
            keep(store, [large] * 3, 'video/mp4')
    finally:
        assert store.stored == 15000 and os.listdir(store.folder) == []


def test_all_together_have_a_limit(store):
    store.limits = ServeLimits(megabytes=0.01, queue=1, idle_seconds=0.2)
    store.stored = 0
    body, other = [b'x' * 6000], UploadStore(store.folder, store.limits)
    other.stored = 6000

    async def refused():
        async def receive():
            return dict(type='http.request', body=body[0], more_body=False)

        with pytest.raises(Refusal, match='busy'):
            async with other.keep({'content-type': 'video/mp4'}, receive):
                pass

    asyncio.run(refused())
    assert other.stored == 6000 and keep(store, body, 'video/mp4') == body


def test_slow_bodies(store):
    assert keep(store, [b'a', b'b'], 'video/mp4', pause=0.3) == 'upload_too_slow'
    assert keep(store, [b'a'] * 20, 'video/mp4', pause=0.05) == 'upload_too_slow'


def test_clients_that_leave(store):
    async def receive():
        return dict(type='http.disconnect')

    async def run():
        async with store.keep({'content-type': 'video/mp4'}, receive):
            pass

    with pytest.raises(ClientGone):
        asyncio.run(run())
    assert os.listdir(store.folder) == []


def test_a_full_disk_is_no_fault_of_the_client(store, monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, 'No space left on device')

        def close(self):
            pass

    monkeypatch.setattr('mmav.serving.uploads.os.fdopen', lambda number, mode: os.close(number) or Full())
    assert keep(store, [b'ab'], 'video/mp4') == 'busy'


def test_a_folder_that_was_removed_is_no_fault_of_the_client(store, monkeypatch):
    def gone(*_):
        raise FileNotFoundError(2, 'No such file or directory')

    monkeypatch.setattr('mmav.serving.uploads.os.open', gone)
    assert keep(store, [b'ab'], 'video/mp4') == 'busy'
