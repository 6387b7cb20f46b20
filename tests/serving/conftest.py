"""An endpoint with a small model, for all tests of the folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mmav.inference import AVInferencer
from mmav.listening import bind
from mmav.serving.limits import ServeLimits
from tests.inference.models import config, write_model
from tests.serving.traps import Traps

LIMITS = ServeLimits(megabytes=2, seconds=12, timeout=6, queue=3, connections=8, idle_seconds=0.5, upload_seconds=1.5)


@pytest.fixture(scope='session')
def model_files(tmp_path_factory) -> tuple[Path, Path]:
    """Config and checkpoint of the model."""
    return write_model(tmp_path_factory.mktemp('served'), config())


@pytest.fixture(scope='session')
def inferencer(model_files) -> AVInferencer:
    """The model, whose pipeline has traps."""
    found = AVInferencer(*model_files, device='cpu', show_progress=False)
    found.pipeline = Traps(found.pipeline)
    return found


@pytest.fixture(scope='session')
def site(inferencer):
    """The endpoint at a port of this machine: ``url``, ``port``, ``service``, ``folder`` of the uploads, ``http``."""
    pytest.importorskip('fastapi')
    httpx = pytest.importorskip('httpx')
    from mmav.serving import server
    from mmav.serving.service import ClipService

    service = ClipService(inferencer, LIMITS, workers=2, batch_wait=0.02)
    folders = []

    def make_server(service, folder, **options):
        folders.append(Path(folder))
        return made(service, folder, **options)

    made = server.make_server
    with pytest.MonkeyPatch.context() as patch, bind('127.0.0.1', 0) as listener:
        patch.setattr(server, 'make_server', make_server)
        with server.serving(service, listener) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
            port = listener.getsockname()[1]
            yield SimpleNamespace(url=url, port=port, service=service, folder=folders[0], http=http)


@pytest.fixture
def ask(site):
    """Posts a clip; gives the answer."""

    def post(content: bytes, kind: str = 'video/mp4', **query):
        return site.http.post('/v1/classify', content=content, headers={'content-type': kind}, params=query)

    return post
