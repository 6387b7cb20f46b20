import pytest

pytest.importorskip('pydantic')
from mmav.serving.answers import Classified, Options, body, classified, errors
from mmav.serving.limits import ERRORS


def test_codes_of_one_status_share_its_description():
    found = errors('no_clip', 'invalid_option', 'busy')
    assert set(found) == {422, 503} and '; ' in found[422]['description']
    assert found[503]['headers']['Retry-After'] and all(ERRORS[code][1] in str(found) for code in ('no_clip', 'busy'))


def test_options_have_defaults():
    assert Options() == Options(topk=5, drop=[])
    assert body()['requestBody']['required']


def test_plain_result():
    label = dict(label='a', index=0, score=0.5)
    result = dict(
        path='secret', duration=2.0, present=['video'], missing=[], withheld=['audio'], predictions=[label],
        windows=[dict(start=0.0, end=2.0, predictions=[label])], skipped=[], error=None,
    )  # fmt: skip
    given = classified(result)
    assert given == dict(
        predictions=[label], labels=None, parts=None, duration=2.0, present=['video'], missing=[], withheld=['audio'],
        windows=[dict(predictions=[label], labels=None, parts=None, start=0.0, end=2.0)], skipped=[],
    )  # fmt: skip
    assert Classified.model_validate(given)
