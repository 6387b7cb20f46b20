import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmav.errors import MmavError
from mmav.visualization.figures import check_picture_name, figure_bytes, make_legible, save_figure


def test_a_figure_is_written_in_the_format_of_its_name(tmp_path):
    figure = Figure(figsize=(1, 1))
    for name, head in (('a.png', b'\x89PNG'), ('a.pdf', b'%PDF'), ('a.SVG', b'<?xml')):
        save_figure(figure, tmp_path / name, dpi=50)
        assert (tmp_path / name).read_bytes().startswith(head)
    with Image.open(tmp_path / 'a.png') as image:
        assert image.size == (50, 50)


def test_a_name_of_no_picture_and_a_file_of_another(tmp_path):
    with pytest.raises(MmavError, match="is not the name of a picture: end it in .png or .pdf, did you mean 'png'"):
        check_picture_name('curves.pgn')
    (tmp_path / 'mine.png').write_bytes(b'mine')
    with pytest.raises(MmavError, match='mine.png'):
        save_figure(Figure(), tmp_path / 'mine.png')
    assert (tmp_path / 'mine.png').read_bytes() == b'mine'


def test_dollars_are_no_formula():
    figure = Figure()
    text = figure.text(0, 0, r'10$ or \frac$')
    make_legible(figure)
    assert not text.get_parse_math()
    assert figure_bytes(figure).startswith(b'\x89PNG')  # a formula that is none would raise
