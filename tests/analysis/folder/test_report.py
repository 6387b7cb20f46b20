"""The page says what the numbers say, and its pictures are there."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shlex
from types import SimpleNamespace

import pytest
from PIL import Image

from mmav.__main__ import TOOLS
from mmav.analysis.folder import report
from tests import toys
from tests.analysis.folder.conftest import BROKEN, CLASSES


@pytest.fixture(scope='module')
def page(trained):
    return (trained.work_dir / 'report.html').read_text()


@pytest.fixture(scope='module')
def numbers(trained):
    return json.loads((trained.work_dir / 'report.json').read_text())


def test_the_accuracy_is_on_top(page, numbers):
    both = numbers['accuracy']['both']
    assert f'<div class="big">{both["right"] / both["clips"]:.1%}</div>' in page
    assert f'between <b>{both["low"]:.1%}</b> and <b>{both["high"]:.1%}</b>' in page
    assert f'{both["right"]} of {both["clips"]} held-out test clips' in page
    for name in ('video', 'audio'):
        assert f'{name} alone' in page and f'{numbers["accuracy"][name]["accuracy"]:.1%}' in page


def test_each_class_has_its_line(page, numbers):
    assert {row['name'] for row in numbers['classes']} == {*CLASSES}
    for row in numbers['classes']:
        assert f'{row["right"]} of {row["clips"]}</td>' in page


def test_its_commands_work(page, trained, tmp_path, monkeypatch, capsys):
    """The first is run; others, which take longer or serve, get as far as a checkpoint that is not there."""
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(html.unescape(line)) for line in re.findall('<pre>(.*?)</pre>', page)]
    commands = {words[1]: words[2:] for words in lines}
    assert [*commands] == ['infer', 'web-demo', 'grad-cam', 'train-folder', 'train']
    clip = trained.folder / 'door/door_00.mp4'
    words = [str(clip) if word == 'FILE' else word for word in commands['infer']]
    assert toys.run_tool(f'../{TOOLS["infer"]}', *words, '--no-video') == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)
    for name in ('web-demo', 'grad-cam'):
        words = ['nothing.pth' if word.endswith('.pth') else word for word in commands[name]]
        assert toys.run_tool(f'../{TOOLS[name]}', *words) == 2
        assert "no checkpoint 'nothing.pth'" in capsys.readouterr().err


def test_its_pictures_can_be_opened(page, trained):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    for data in found:
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert min(picture.size) > 100 and len(set(picture.convert('L').getdata())) > 20
    assert len(found) == len(list((trained.work_dir / 'pictures').glob('*.png'))) >= 2


def test_doubtful_files_are_listed(trained):
    with open(trained.work_dir / 'lists' / 'problems.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows if row['kind'] == 'unreadable'] == [*BROKEN] and len(rows) == 5


def test_the_first_of_equal_epochs_is_when_it_was_reached(monkeypatch, tmp_path):
    rows = [dict(epoch=k, top1=score) for k, score in enumerate((0.5, 0.75, 0.25, 0.75, 0.5), 1)]
    monkeypatch.setattr(report, 'read_log', lambda folder: SimpleNamespace(val=rows))
    assert report._epochs(tmp_path / 'best_top1_epoch_4.pth', tmp_path) == (4, 5, 2)
