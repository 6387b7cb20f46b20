"""Requests made from the schema: none is answered by a failure of the server, or by what the schema does not say."""

import pytest

schemathesis = pytest.importorskip('schemathesis')
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


@pytest.fixture(scope='module')
def operations(site):
    schema = schemathesis.openapi.from_url(f'{site.url}/openapi.json')
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize('mode', list(schemathesis.GenerationMode))
def test_requests_from_the_schema(operations, site, mode):
    assert len(operations) == 5
    seen = set()
    for operation in operations:
        if mode.is_negative and operation.method != 'post':
            continue  # nothing can be wrong about them

        @settings(
            max_examples=15 if operation.method == 'post' else 3,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            response = case.call(timeout=20)
            seen.add((case.operation.path, response.status_code))
            case.validate_response(response, checks=CHECKS)

        check()
    assert ('/v1/classify', 422) in seen
