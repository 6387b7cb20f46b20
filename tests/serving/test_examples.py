"""The clients of docs/serving.md, as they stand there."""

import json
import re
import shutil
import subprocess
import textwrap

import pytest

from tests.inference.models import CLASSES
from tests.toys import ROOT


@pytest.fixture
def page(site, clip, blind, tmp_path, monkeypatch):
    """The examples, for the endpoint of the tests, in a folder with their clips."""
    shutil.copy(clip, tmp_path / 'clip.mp4')
    shutil.copy(blind, tmp_path / 'clip.wav')
    monkeypatch.chdir(tmp_path)
    text = (ROOT / 'docs' / 'serving.md').read_text()
    return text.replace('http://127.0.0.1:8000', site.url)


def test_python(page, capsys):
    (code,) = re.findall(r'(?:^    .*\n|^\n(?=    ))+', page[page.index('    import json') :], re.MULTILINE)[:1]
    exec(compile(textwrap.dedent(code), 'docs/serving.md', 'exec'), {})
    assert capsys.readouterr().out.strip() in CLASSES


@pytest.mark.skipif(shutil.which('curl') is None, reason='curl is not installed')
def test_curl(page):
    commands = re.findall(r'^    (curl .*)$', page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(['bash', '-c', f'{command} --silent --noproxy "*"'], capture_output=True, check=True)
        assert json.loads(done.stdout)['predictions'][0]['label'] in CLASSES
