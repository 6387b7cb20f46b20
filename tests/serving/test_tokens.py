import pytest

from mmav.errors import ConfigError
from mmav.serving.tokens import TOKEN_VARIABLE, find_token


def test_tokens(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert find_token(None) is None
    file = tmp_path / 'token'
    file.write_text('0123456789abcdef\n')
    assert find_token(str(file)) == '0123456789abcdef'
    monkeypatch.setenv(TOKEN_VARIABLE, 'fedcba9876543210')
    assert find_token(None) == 'fedcba9876543210' and find_token(str(file)) == '0123456789abcdef'
    for wrong in ('', 'short', 'two words of text', 'ümlaut-ümlaut-ümlaut'):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match='holds no token'):
            find_token(str(file))
    monkeypatch.setenv(TOKEN_VARIABLE, '')
    with pytest.raises(ConfigError, match='MMAV_SERVE_TOKEN holds no token'):
        find_token(None)
    for path in (tmp_path, tmp_path / 'gone'):
        with pytest.raises(ConfigError, match='--token-file'):
            find_token(str(path))
