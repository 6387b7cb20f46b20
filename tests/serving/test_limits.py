import pytest

from mmav.errors import ConfigError
from mmav.serving.limits import ERRORS, Refusal, ServeLimits


@pytest.mark.parametrize('value', [0, -1, float('nan'), float('inf')])
def test_limits_are_numbers_above_zero(value):
    with pytest.raises(ConfigError, match='max-|megabytes .* must be above 0 and finite'):
        ServeLimits(megabytes=value)
    with pytest.raises(ConfigError, match='idle-seconds .* must be above 0'):
        ServeLimits(idle_seconds=value)


def test_bytes():
    limits = ServeLimits(megabytes=0.5, queue=4)
    assert limits.most_bytes == 2**19 and limits.stored_bytes == 2**21


def test_every_error_has_the_form():
    for code, (status, text) in ERRORS.items():
        refusal = Refusal(code, 'Why.', retry_after=2)
        assert refusal.body == dict(error=dict(code=code, message='Why.')) and refusal.status == status and text
        assert refusal.headers['Retry-After'] == '2' and ('WWW-Authenticate' in refusal.headers) == (status == 401)
    assert Refusal('timeout', 'Why.').headers == {}
