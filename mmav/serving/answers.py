"""The form of requests and answers, for OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmav.serving.limits import ERRORS
from mmav.serving.uploads import FORM


class Options(BaseModel):
    """Options of a classification, in the query."""

    model_config = ConfigDict(extra='forbid')

    topk: int = Field(5, ge=1, le=100_000, description='How many labels the answer has, of the clip and of each window')
    window: float | None = Field(
        None, gt=0, le=1e6, allow_inf_nan=False, description="Seconds that the model looks at; default: the model's own"
    )
    stride: float | None = Field(
        None,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description='Most seconds from the start of one window to the next; default: that of a window',
    )
    drop: list[Literal['video', 'audio']] = Field(
        [], max_length=2, description='Modalities that are withheld from the model'
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description='Of a model that gives several labels: from which probability on a clip has one',
    )


class Prediction(BaseModel):
    """A label and its probability."""

    label: str
    index: int | list[int] = Field(description='Of the class; of a label of several parts, those of all parts')
    score: float = Field(ge=0, le=1)


class Labels(BaseModel):
    """What the model says."""

    predictions: list[Prediction] = Field(description='The most probable labels, first the best')
    labels: list[Prediction] | None = Field(
        None, description='Of a model that gives several labels: those that reach their threshold'
    )
    parts: dict[str, list[Prediction]] | None = Field(
        None, description='Of a label of several parts, such as verb and noun: each by itself'
    )


class WindowLabels(Labels):
    """What the model says of one window."""

    start: float = Field(description='In seconds')
    end: float


class SkippedWindow(BaseModel):
    """A window that could not be read."""

    start: float | None = Field(description='In seconds; null for all of the clip')
    end: float | None
    reason: str


class Classified(Labels):
    """The answer for a clip."""

    duration: float = Field(description='In seconds')
    present: list[str] = Field(description='Modalities that the answer is based on')
    missing: list[str] = Field(description='Modalities that the clip has not')
    withheld: list[str]
    windows: list[WindowLabels]
    skipped: list[SkippedWindow]


class ModelLimits(BaseModel):
    """What is taken."""

    megabytes: float = Field(description='Of the body of a request, of 2^20 bytes')
    seconds: float = Field(description='Of a clip')
    windows: int = Field(description='Of a clip')
    timeout: float = Field(description='Seconds from the end of an upload to its answer')


class ModelInfo(BaseModel):
    """The model."""

    version: str = Field(description='Of mmav')
    classes: dict[str, list[str]] = Field(description='Part of the label -> names; of most models the part is label')
    modalities: list[str]
    window: float | None = Field(description='Seconds that it looks at in one piece; null for whole clips')
    several_labels: bool
    limits: ModelLimits


class Health(BaseModel):
    """Whether the server works."""

    status: Literal['live', 'ready']


class ErrorText(BaseModel):
    """What went wrong."""

    code: Literal[tuple(ERRORS)]  # type: ignore[valid-type]
    message: str


class Error(BaseModel):
    """Every error."""

    error: ErrorText


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Answers with errors, for OpenAPI: status -> model and description."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, text = ERRORS[code]
        before = found.get(status, {}).get('description')
        found[status] = dict(model=Error, description=f'{before}; {text}' if before else text)
        if status in (503,):
            schema = dict(type='integer', minimum=1)
            found[status]['headers'] = {'Retry-After': dict(description='Seconds to wait', schema=schema)}
    return found


def body() -> dict[str, Any]:
    """The body of a classification, for OpenAPI."""
    file = dict(type='string', format='binary')
    form = dict(
        type='object',
        properties=dict(clip=file, video=file, audio=file),
        additionalProperties=False,
        minProperties=1,
        maxProperties=2,
    )
    text = 'The clip: a file of video, audio or both; or two files of one clip, `video` and `audio`'
    raw = {kind: dict(schema=file) for kind in ('application/octet-stream', 'video/*', 'audio/*')}
    return dict(requestBody=dict(required=True, description=text, content={FORM: dict(schema=form), **raw}))


def classified(result: dict[str, Any]) -> dict[str, Any]:
    """The answer for what :class:`mmav.apis.AVInferencer` gives."""
    kept = ('duration', 'present', 'missing', 'withheld', 'skipped')
    windows = [dict(_labels(each), start=each['start'], end=each['end']) for each in result['windows']]
    return dict(_labels(result), windows=windows, **{name: result[name] for name in kept})


def _labels(result: dict[str, Any]) -> dict[str, Any]:
    own = {'predictions', 'labels', *Classified.model_fields, 'path', 'error', 'start', 'end'}
    parts = {name: value for name, value in result.items() if name not in own}
    return dict(predictions=result['predictions'], labels=result.get('labels'), parts=parts or None)
