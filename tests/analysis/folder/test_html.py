"""Names of users' files and classes are text on the page, and pictures are inside it."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

from PIL import Image

from mmav.analysis.folder import html


def test_the_page_is_well_formed_and_escapes_what_is_not_ours():
    odd = '<script>alert("a & b")</script>'
    parts = [html.card(odd, html.table([(odd, ''), ('a', odd)])), html.tiles([(odd, odd, odd)])]
    parts.append(html.bars([(odd, 0.5, (0.2, 0.8), odd, 'red'), ('b', 0.25, None, '', 'red')]))
    page = html.page(odd, odd, parts)
    assert '<script>' not in page and page.count('&lt;script&gt;') == 11
    body = page[page.index('<main>') : page.index('</main>') + len('</main>')]
    assert ''.join(ElementTree.fromstring(body).itertext()).count(odd) == 10


def test_a_card_without_a_body_is_left_out():
    assert html.card('title', '') == '' and html.table([('', ''), ('a', 'b')]).count('<th>') == 0


def test_bars_are_as_long_as_shares():
    assert 'width:25.00%' in html.track(0.25, None, 'red') and 'whisker' not in html.track(0.25, None, 'red')
    assert 'left:20.00%;width:60.00%' in html.track(0.25, (0.2, 0.8), 'red')


def test_a_picture_is_inside(tmp_path):
    Image.new('RGB', (40, 20)).save(tmp_path / 'a.png')
    element = ElementTree.fromstring(html.picture(tmp_path / 'a.png', 'a', scale=0.5).replace('">', '"/>'))
    assert element.get('width') == '20'
    data = element.get('src').removeprefix('data:image/png;base64,')
    assert base64.b64decode(data) == (tmp_path / 'a.png').read_bytes()
