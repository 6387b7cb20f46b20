import re
import runpy

from PIL import Image

from tests.toys import ROOT, run_tool

TOOL = 'docs/draw_pictures.py'
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')), *sorted((ROOT / 'configs').glob('*/*.md'))]


def test_wrong_name_and_missing_demo_are_one_line(tmp_path, capsys):
    assert run_tool(TOOL, 'embedings', '--demo', tmp_path) == 2
    assert "no picture 'embedings', only predictions, dataset, " in capsys.readouterr().err
    assert run_tool(TOOL, '--demo', tmp_path) == 2
    assert "error: no checkpoint '" in capsys.readouterr().err


def test_every_picture_of_a_page_is_there():
    linked = {(page, name) for page in PAGES for name in re.findall(r'!\[[^\]]*\]\(([^)]+)\)', page.read_text())}
    assert len(linked) > 3
    assert [(str(page), name) for page, name in linked if not (page.parent / name).is_file()] == []


def test_every_picture_of_the_docs_is_drawn_by_the_tool():
    source = (ROOT / 'tools' / TOOL).read_text()
    stems = {path.name for path in (ROOT / 'docs').glob('*.png')}
    missing = [name for name in stems if name not in source and not re.match(r'errors_(confusion|reliability)', name)]
    assert missing == []


def test_pictures_become_shorter_and_look_the_same(tmp_path):
    shrink = runpy.run_path(str(ROOT / 'tools' / TOOL))['shrink']
    picture = Image.linear_gradient('L').resize((400, 300)).convert('RGB')
    path = tmp_path / 'a.png'
    picture.save(path)
    shrink(path)
    with Image.open(path) as reduced:
        assert reduced.mode == 'P' and reduced.size == (400, 300)
        assert abs(reduced.convert('RGB').getpixel((200, 150))[0] - picture.getpixel((200, 150))[0]) <= 8
