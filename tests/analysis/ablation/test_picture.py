from mmav.analysis.ablation.picture import draw
from mmav.analysis.ablation.rows import Row


def test_rows_without_figures_are_left_out(tmp_path):
    rows = [Row(name, f'{name}.py') for name in 'abc']
    results = {rows[0]: [None], rows[1]: [dict(top1=0.5), dict(top1=0.75)], rows[2]: [dict(top1=0.8), None]}
    draw(results, tmp_path / 'table.png', 'AVSynth')
    assert (tmp_path / 'table.png').read_bytes().startswith(b'\x89PNG')
