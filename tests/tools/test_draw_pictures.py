import re
import runpy
import shutil
from pathlib import Path

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


def test_every_picture_of_the_docs_is_drawn_by_the_tool(clip, tmp_path, monkeypatch):
    """The tool's own functions, with the tools that they run replaced by ones that write the files asked for."""
    drawing = runpy.run_path(str(ROOT / 'tools' / TOOL))
    names = drawing['main'].__globals__

    def run(name, *arguments, cwd=None):
        assert (ROOT / name).is_file()
        paths = [Path(str(argument)) for argument in arguments]
        for path in paths:
            if path.suffix == '.png':
                Image.new('RGB', (8, 8)).save(path)
        if '--compare' in arguments:
            Image.new('RGB', (8, 8)).save(paths[-1] / 'page.png')
        if name.endswith('analyze_errors.py'):
            paths[-1].mkdir()
            for part in ('confusion', 'reliability'):
                Image.new('RGB', (8, 8)).save(paths[-1] / f'{part}.png')
        if name.endswith('evaluate_features.py'):
            paths[-1].mkdir()
            Image.new('RGB', (8, 8)).save(paths[-1] / 'evaluation.png')
        if name.endswith('modality_report.py'):
            paths[-1].mkdir()
            Image.new('RGB', (8, 8)).save(paths[-1] / 'modalities.png')
        if '--out-dir' in arguments:
            paths[-1].mkdir()
            shutil.copy(paths[0], paths[-1])

    monkeypatch.setitem(names, 'tool', run)
    monkeypatch.setitem(names, 'join_clips', lambda paths, out: shutil.copy(clip, out))
    drawn = {}
    for name, draw in drawing['PICTURES'].items():
        (tmp_path / name).mkdir()
        drawn |= draw(drawing['Demo']('epoch_1.pth', 'predictions.pkl', 'data'), tmp_path / name)
    assert set(drawn) == {path.name for path in (ROOT / 'docs').glob('*.png')}
    assert all(path.is_file() for path in drawn.values())


def test_pictures_become_shorter_and_look_the_same(tmp_path):
    shrink = runpy.run_path(str(ROOT / 'tools' / TOOL))['shrink']
    picture = Image.linear_gradient('L').resize((400, 300)).convert('RGB')
    path = tmp_path / 'a.png'
    picture.save(path)
    shrink(path)
    with Image.open(path) as reduced:
        assert reduced.mode == 'P' and reduced.size == (400, 300)
        assert abs(reduced.convert('RGB').getpixel((200, 150))[0] - picture.getpixel((200, 150))[0]) <= 8
