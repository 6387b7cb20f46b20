"""The page as a visitor has it: through HTTP, and in a real browser where there is one."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from mmav.errors import MmavError
from mmav.listening import bind
from mmav.web.browser import FAKE_CAMERA, choose_file, open_browser
from mmav.web.demo import Limits, PageInferencer, WebDemo
from mmav.web.live import LiveDesk
from mmav.web.page import answer_html, build_page, copy_examples
from mmav.web.server import make_app, serving, upload_folder
from tests.inference.models import CLASSES, config, write_model
from tests.toys import run_tool

TOOL = '../demo/web_demo.py'
# what stands in the answer, without gradio's own words while it waits
SAID = "() => [...document.querySelectorAll('#answer [class^=mmav-]')].map(each => each.innerText).join()"
LIMITS = Limits(seconds=5.0, megabytes=1.0)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'), config())


@pytest.fixture(scope='module')
def site(files, silent, tmp_path_factory):
    """Address of the page, and the folder of its uploads."""
    clips = tmp_path_factory.mktemp('examples')
    shutil.copy(silent, clips)
    with upload_folder() as folder, bind('127.0.0.1', 0) as listener:
        pytest.importorskip('gradio')  # here, since it notes the folder when it is first imported
        examples = copy_examples(str(clips), folder)
        demo = WebDemo(PageInferencer(*files, device='cpu'), LIMITS)
        live = LiveDesk(demo, answer_html)
        page = build_page(demo, title='Farm & field', examples=examples, live=live)
        with serving(make_app(page, folder, limits=LIMITS, live=live), listener) as url:
            yield url, Path(folder)


class Visitor:
    """What gradio's page does, by HTTP."""

    def __init__(self, url):
        import httpx

        self.http = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self.config = json.loads(re.search(r'window.gradio_config = (\{.*?\});</script>', self.http.get('/').text)[1])

    def upload(self, name, content):
        return self.http.post('/gradio_api/upload', files={'files': (name, content)})

    def classify(self, path, use='video and audio', **data):
        """Texts of the answer's fields."""
        clip = {'path': path, 'meta': {'_type': 'gradio.FileData'}, **data} if path else None
        (event,) = (each['id'] for each in self.config['dependencies'] if len(each['outputs']) == 7)
        session = f'visitor{time.monotonic_ns()}'
        body = {'data': [clip, None, use], 'fn_index': event, 'session_hash': session}
        joined = self.http.post('/gradio_api/queue/join', json=body)
        if joined.status_code != 200:
            return joined
        with self.http.stream('GET', '/gradio_api/queue/data', params={'session_hash': session}) as stream:
            for line in stream.iter_lines():
                if line.startswith('data:') and (message := json.loads(line[5:]))['msg'] == 'process_completed':
                    return message['output']


@pytest.fixture(scope='module')
def visitor(site):
    return Visitor(site[0])


def test_upload_and_answer(visitor, clip, site):
    path = visitor.upload('my clip.mp4', clip.read_bytes()).json()[0]
    assert Path(path).is_relative_to(site[1])
    text = visitor.classify(path)['data'][1]
    assert set(re.findall(r'class="name">(.*?)<', text)) == set(CLASSES) and 'based on video and audio together' in text
    assert 'based on the audio alone' in visitor.classify(path, 'audio only')['data'][1]
    assert visitor.http.get(f'/gradio_api/file={path}').content == clip.read_bytes()


def test_bad_uploads_get_a_sentence(visitor, broken, make_clip, site):
    for name, sentence in dict(text='This is not a video or audio file', empty='The file is empty').items():
        path = visitor.upload('a.mp4', broken[name].read_bytes()).json()[0]
        text = visitor.classify(path)['data'][1]
        assert sentence in text and 'role="alert"' in text and str(site[1]) not in text and 'Traceback' not in text
    long = visitor.upload('long.mp4', make_clip('six_seconds.mp4', seconds=6.0, audio=None).read_bytes()).json()[0]
    assert 'The clip is 6.0 s long; this page takes 5 s at most' in visitor.classify(long)['data'][1]
    assert visitor.upload('a.mp4', b'x' * (2**20 + 100)).status_code == 413
    assert 'There is no clip yet' in visitor.classify(None)['data'][1]


def test_nothing_of_this_machine_is_shown(visitor, files):
    for path in ('/etc/passwd', str(files[1]), os.path.relpath(files[1])):
        assert visitor.http.get(f'/gradio_api/file={path}').status_code == 404
        assert visitor.classify(path).status_code == 400
        assert visitor.classify(path, url=f'http://127.0.0.1/{path}').status_code == 400
    assert visitor.http.get('/gradio_api/info').status_code == visitor.http.get('/docs').status_code == 404
    assert all(each['api_visibility'] == 'private' for each in visitor.config['dependencies'])
    text = json.dumps(visitor.config)
    assert str(files[1].parent) not in text and 'googleapis' not in text + visitor.http.get('/theme.css').text
    assert visitor.config['analytics_enabled'] is False


def test_failure_on_our_side_shows_no_traceback(visitor, clip, monkeypatch, caplog):
    def fail(self, path, use):
        raise RuntimeError('secret of the server')

    monkeypatch.setattr(WebDemo, 'classify', fail)
    path = visitor.upload('a.mp4', clip.read_bytes()).json()[0]
    output = json.dumps(visitor.classify(path))
    assert 'Something went wrong' in output and 'secret' not in output and 'Traceback' not in output
    assert 'secret of the server' in caplog.text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--max-seconds', 0], '--max-seconds 0 must be above 0'),
        (['--max-megabytes', 'nan'], '--max-megabytes nan must be above 0'),
        (['--max-streams', -1], '--max-streams -1 must be 0 or more'),
        (['--port', 70000], '--port 70000 must be 0 to 65535'),
        (['--examples', 'no/such/folder'], "no folder 'no/such/folder' for --examples"),
    ],
)
def test_mistakes_are_one_line(files, capsys, options, message):
    assert run_tool(TOOL, *files, *options) == 2
    assert capsys.readouterr().err == f'error: {message}\n'


def test_taken_port_and_missing_model_are_one_line(files, capsys):
    with bind('127.0.0.1', 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert run_tool(TOOL, *files, '--port', port) == 2
    assert f'error: port {port} of 127.0.0.1 is in use' in capsys.readouterr().err
    assert run_tool(TOOL, files[0], 'gone.pth', '--port', 0) == 2
    assert "no checkpoint 'gone.pth'" in capsys.readouterr().err


# In a browser


@pytest.fixture(scope='module')
def browser():
    try:
        with open_browser(FAKE_CAMERA) as browser:
            yield browser
    except MmavError as error:
        pytest.skip(str(error))


def test_in_a_browser(browser, site, clip, flashes, blind, silent, broken):
    hosts, wrong = set(), []
    page = browser.new_context(viewport=dict(width=1200, height=1000)).new_page()
    page.set_default_timeout(60000)
    page.on('request', lambda request: hosts.add(request.url.split('/')[2] if '://' in request.url else ''))
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.goto(site[0])

    def classify(path=None):
        if path is not None:
            choose_file(page, path)
        before = page.evaluate(SAID)
        page.locator('#classify').click()
        page.wait_for_function(f'before => ![before, ""].includes(({SAID})())', arg=before)
        return page.evaluate(SAID)

    def shown():
        """Texts of the pictures; each has been drawn."""
        page.locator('#pictures img').first.wait_for()
        pictures = page.locator('#pictures img')
        widths = pictures.evaluate_all('all => all.map(each => each.complete && each.naturalWidth)')
        assert all(width > 200 for width in widths)
        return pictures.evaluate_all('all => all.map(each => each.alt)')

    assert page.locator('h1').inner_text() == 'Farm & field'
    both = classify(clip)
    labels = page.locator('#answer .name').all_inner_texts()
    assert sorted(labels) == sorted(CLASSES) and 'The prediction is based on video and audio together.' in both
    assert any('video' in text for text in shown()) and any('audio' in text for text in shown())
    assert page.locator('#timeline img').count() == 0

    page.locator('#use').get_by_text('audio only').click()
    sound = classify()
    assert 'The video was withheld; the prediction is based on the audio alone.' in sound
    assert page.locator('#answer .score').all_inner_texts() != re.findall(r'[\d.]+ %', both)
    page.wait_for_function("[...document.querySelectorAll('#pictures img')].length === 1")
    assert 'audio' in shown()[0]

    page.locator('#target input').click()
    page.get_by_role('option', name=labels[-1]).click()
    page.wait_for_function(f"document.querySelector('#pictures').innerText.includes('{labels[-1]}')")

    assert 'This is not a video or audio file' in classify(broken['text'])
    assert page.locator('#pictures img').count() == 0

    page.locator('#use').get_by_text('video and audio').click()
    classify(flashes)
    assert page.locator('#timeline img').evaluate('picture => picture.naturalWidth') > 200

    # a clip in the one field empties the other
    page.get_by_role('tab', name='Audio').click()
    page.locator('#audio input[type=file]').set_input_files(str(blind))
    page.locator('#audio audio, #audio .waveform-container').first.wait_for(state='attached')
    assert 'This file has no video; the prediction is based on the audio alone.' in classify()

    page.locator('#example input').click()
    page.get_by_role('option', name=silent.name).click()
    page.get_by_role('tab', name='Video').click()
    page.locator('#video video').wait_for()
    assert 'This file has no audio; the prediction is based on the video alone.' in classify()

    assert hosts - {''} == {site[0].split('/')[2]} and wrong == []


def test_camera_and_microphone_of_a_browser(browser, site):
    hosts, wrong = set(), []
    page = browser.new_context(viewport=dict(width=1200, height=1000)).new_page()
    page.set_default_timeout(60000)
    page.on('request', lambda request: hosts.add(request.url.split('/')[2] if '://' in request.url else ''))
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.goto(site[0])
    page.get_by_role('tab', name='Live').click()
    button, answer = page.locator('#live button'), page.locator('#live .mmav-live-answer')
    button.click()
    answer.locator('.mmav-best').wait_for()
    assert sorted(answer.locator('.name').all_inner_texts()) == sorted(CLASSES)
    assert 'The prediction is based on video and audio together.' in answer.inner_text()
    first = page.locator('#live .mmav-live-status').inner_text()
    assert re.match(r'Piece \d+, answered \d+ ms after its end', first)
    page.wait_for_function(
        "before => document.querySelector('#live .mmav-live-status').innerText !== before", arg=first
    )
    assert page.locator('#live video').evaluate('picture => picture.videoWidth') >= 320
    page.locator('#use').get_by_text('audio only').click()
    answer.get_by_text('the prediction is based on the audio alone').wait_for()
    button.click()
    assert page.locator('#live video').evaluate('picture => picture.srcObject') is None
    assert button.inner_text() == 'Start' and hosts - {''} == {site[0].split('/')[2]} and wrong == []
