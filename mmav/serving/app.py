"""The application: its paths, and how they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from mmav import __version__
from mmav.errors import did_you_mean
from mmav.serving.answers import Classified, Health, ModelInfo, Options, body, classified, errors
from mmav.serving.clip_request import ClipRequest
from mmav.serving.gate import CLIENT_GONE, Gate
from mmav.serving.limits import Refusal
from mmav.serving.metrics import CONTENT_TYPE, exposition
from mmav.serving.reading import ClipJob
from mmav.serving.service import ClipService
from mmav.serving.uploads import ClientGone, UploadStore

DESCRIPTION = 'Classifies clips by their video and audio. Every error has the form {"error": {"code", "message"}}.'


def make_app(service: ClipService, folder: str, *, token: str | None = None) -> Gate:
    """The endpoint as an ASGI application.

    Args:
        service: The work; started already.
        folder: An own, private folder for uploads.
        token: What clients must send; None for no need.
    """
    store = UploadStore(folder, service.limits)
    app = FastAPI(
        title='mmav',
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    guarded = ('unauthorized', 'busy') if token is not None else ('busy',)
    _add_errors(app)

    @app.post(
        '/v1/classify',
        response_model=Classified,
        responses=errors(*guarded, *CLASSIFY_ERRORS),
        openapi_extra=body(),
        tags=['model'],
    )
    async def classify(request: Request, options: Annotated[Options, Query()]) -> Any:
        """Classifies a clip."""
        chosen: Any = dict(topk=options.topk, threshold=options.threshold)
        # before the body is read, which may be long
        service.check_room()
        service.checked(ClipJob('', options.window, options.stride, tuple(options.drop)), **chosen)
        async with store.keep(request.headers, request.receive) as path:
            job = ClipJob(path, options.window, options.stride, tuple(options.drop))
            result = await _answer(service.submit(job, **chosen), request)
        # in a thread: an answer of many labels takes a while, in which others would not be heard
        return Response(await asyncio.to_thread(_json_of, result), media_type='application/json')

    @app.get('/v1/model', response_model=ModelInfo, responses=errors(*guarded), tags=['model'])
    async def model() -> Any:
        """What the model knows and takes."""
        return service.about()

    @app.get('/health/live', response_model=Health, tags=['health'])
    async def live() -> Any:
        """Whether the process answers at all."""
        return dict(status='live')

    @app.get('/health/ready', response_model=Health, responses=errors('stopping'), tags=['health'])
    async def ready() -> Any:
        """Whether it takes clips."""
        if not service.ready:
            raise Refusal('stopping', 'The server takes no clips now.', retry_after=1)
        return dict(status='ready')

    @app.get(
        '/metrics',
        response_class=Response,
        responses={200: dict(content={'text/plain': dict(schema=dict(type='string'))}), **errors(*guarded)},
        tags=['health'],
    )
    async def metrics() -> Any:
        """Counters in Prometheus's text format."""
        return Response(exposition([*gate.metrics, *service.metrics]), media_type=CONTENT_TYPE)

    if token is not None:
        _require_token(app)
    # FastAPI's own paths, such as that of the schema, are routes of another class
    paths = {getattr(route, 'path', '') for route in app.routes if isinstance(route, APIRoute)} | {'/openapi.json'}
    gate = Gate(
        app,
        paths=paths,
        token=token,
        connections=service.limits.connections,
        stopping=lambda: service.stopping,
    )
    return gate


CLASSIFY_ERRORS = (
    'malformed_request', 'upload_too_slow', 'upload_too_large', 'unsupported_content_type', 'invalid_option', 'no_clip',
    'unreadable_clip', 'clip_too_long', 'decoder_crashed', 'internal', 'stopping', 'timeout',
)  # fmt: skip


def _json_of(result: dict[str, Any]) -> str:
    return Classified.model_validate(classified(result)).model_dump_json(exclude_none=True)


async def _answer(work: ClipRequest, request: Request) -> dict[str, Any]:
    """Waits for an answer, for as long as its client does."""
    answer = asyncio.wrap_future(work.answer)
    async with _watching(request) as gone:
        try:
            # readers end a clip at its deadline; the model may be in the middle of a batch
            both: list[asyncio.Future[Any]] = [answer, gone]
            left = max(0.0, work.deadline - time.monotonic())
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left_alone = gone.done()
            if not answer.done():
                work.drop()
    if answer.done():
        return answer.result()
    # dropping has set the answer, which its wrapper hears of in a moment
    with suppress(Refusal):
        return await answer
    if left_alone:
        raise ClientGone
    raise Refusal('timeout', 'The answer did not come in time; please try a shorter or smaller clip, or later.')


@asynccontextmanager
async def _watching(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client closes the connection."""

    async def watch() -> None:
        while (await request.receive())['type'] != 'http.disconnect':
            pass

    task = asyncio.create_task(watch())
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _add_errors(app: FastAPI) -> None:
    """Gives all errors one form."""

    def reply(refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body, refusal.status, refusal.headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return reply(error)

    @app.exception_handler(ClientGone)
    async def gone(request: Request, error: ClientGone) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return reply(Refusal('invalid_option', '; '.join(map(_sentence, error.errors()))[:1000]))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            answer = reply(Refusal('method_not_allowed', 'This path has no such method.'))
            answer.headers.update(error.headers or {})
            return answer
        if error.status_code == 404:
            return reply(Refusal('not_found', 'There is no such path; /openapi.json lists those that there are.'))
        return reply(Refusal('malformed_request', 'The request is malformed.'))


def _sentence(error: Any) -> str:
    """What is wrong with an option, in words."""
    name = '.'.join(str(each) for each in error['loc'][1:])[:40]
    if error['type'] == 'extra_forbidden':
        return f'there is no option {name!r}{did_you_mean(name, Options.model_fields)}'
    return f'{name}: {error["msg"]}'


def _require_token(app: FastAPI) -> None:
    """Says in the schema that a token is needed."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schema.setdefault('components', {})['securitySchemes'] = dict(token=dict(type='http', scheme='bearer'))
        for path, operations in schema['paths'].items():
            for operation in operations.values():
                operation['security'] = [] if path.startswith('/health/') else [dict(token=[])]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
