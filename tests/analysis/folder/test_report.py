"""The page says what the numbers say, and its pictures are there."""

from __future__ import annotations

import base64
import csv
import io
import json
import re

import pytest
from PIL import Image

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


def test_its_commands_name_what_is_there(page, trained):
    config, checkpoint = re.search(r'mmav infer (\S+) (\S+) FILE', page).groups()
    assert config == str(trained.work_dir / 'config.py')
    assert checkpoint == str(next((trained.work_dir / 'training').glob('best_*.pth')))


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
