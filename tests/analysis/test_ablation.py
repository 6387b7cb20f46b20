import json

import pytest

from mmav.analysis.ablation import Row, draw, markdown_table, read_results, replace_block
from mmav.errors import MmavError

ROWS = [Row('sound', 'configs/mat/a.py'), Row('both', 'configs/mmt/b.py')]


def write(folder, top1):
    folder.mkdir(parents=True)
    (folder / 'metrics.json').write_text(json.dumps(dict(top1=top1)))


def test_table_of_what_has_ended(tmp_path):
    write(tmp_path / 'b_seed0', 0.5)
    write(tmp_path / 'b_seed1', 0.7)
    (tmp_path / 'a_seed0').mkdir()  # begun, not ended
    results = read_results(ROWS, [0, 1], tmp_path)
    assert results == {ROWS[0]: [None, None], ROWS[1]: [0.5, 0.7]}
    lines = markdown_table(results, [0, 1], 'AVSynth').splitlines()
    assert lines[2] == '| sound | `configs/mat/a.py` | not yet run |  |  |'
    assert lines[3] == '| both | `configs/mmt/b.py` | 0.600 ± 0.141 | 0.500 | 0.700 |'
    assert len({line.count('|') for line in lines}) == 1
    draw(results, tmp_path / 'table.png', 'AVSynth')
    assert (tmp_path / 'table.png').read_bytes().startswith(b'\x89PNG')


def test_one_seed_has_no_spread(tmp_path):
    write(tmp_path / 'a_seed3', 0.25)
    assert '| 0.250 | 0.250 |' in markdown_table(read_results(ROWS[:1], [3], tmp_path), [3], 'AVSynth')


def test_block_of_a_page():
    page = 'a\n<!-- t: start, written by x.py -->\nold\n<!-- t: end -->\nz\n'
    once = replace_block(page, 't', 'x.py', 'new')
    assert once == 'a\n<!-- t: start, written by x.py -->\n\nnew\n\n<!-- t: end -->\nz\n'
    assert replace_block(once, 't', 'x.py', 'new') == once
    with pytest.raises(MmavError, match='the page has no block to fill in'):
        replace_block('a\n', 't', 'x.py', 'new')
