import pytest

from mmav.analysis.pages import fill_block
from mmav.errors import MmavError

START, END = '<!-- t: start, written by x.py -->', '<!-- t: end -->'


def test_only_the_block_changes(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'a\n{START}\nold\n{END}\nz\n')
    for _ in range(2):  # the second time finds what the first one wrote
        fill_block(page, 't', 'x.py', 'new')
        assert page.read_text() == f'a\n{START}\n\nnew\n\n{END}\nz\n'


@pytest.mark.parametrize('text', ['a\n', f'{END}\n{START}\n', f'{START}\n{END}\n' * 2, f'{START}\n'])
def test_a_page_without_the_block_stays_as_it_is(tmp_path, text):
    page = tmp_path / 'page.md'
    page.write_text(text)
    with pytest.raises(MmavError, match=r"page\.md' needs one line <!-- t: start, written by x\.py --> and, after it"):
        fill_block(page, 't', 'x.py', 'new')
    assert page.read_text() == text


def test_no_page(tmp_path):
    with pytest.raises(MmavError, match=r"no page '.*none\.md'"):
        fill_block(tmp_path / 'none.md', 't', 'x.py', 'new')
