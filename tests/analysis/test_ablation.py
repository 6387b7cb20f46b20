import json

from mmav.analysis.ablation import Row, draw, markdown_table, read_results

SOUND, BOTH = Row('sound', 'configs/mat/a.py'), Row('both', 'configs/mmt/b.py')
AVERAGE = Row('average', 'avg', parts=(SOUND.config, BOTH.config))


def write(folder, top1, **more):
    folder.mkdir(parents=True)
    (folder / 'result.json').write_text(json.dumps(dict(top1=top1, **more)))


def test_table_of_what_has_ended(tmp_path):
    write(tmp_path / 'b_seed0', 0.5, ari=0.125, homogeneity=0.25)
    write(tmp_path / 'b_seed1', 0.7, ari=0.375, homogeneity=0.25)
    write(tmp_path / 'avg_seed1', 0.8)  # without features, so without clusters
    (tmp_path / 'a_seed0').mkdir()  # begun, not ended
    results = read_results([SOUND, BOTH, AVERAGE], [0, 1], tmp_path)
    assert results[SOUND] == [None, None] and results[AVERAGE] == [None, dict(top1=0.8)]
    lines = markdown_table(results, [0, 1], 'AVSynth').splitlines()
    assert lines[0] == '| AVSynth | config | top-1 | ARI | homogeneity | top-1, seed 0 | top-1, seed 1 |'
    assert lines[2] == '| sound | `configs/mat/a.py` | not yet run |  |  |  |  |'
    spread = '0.600 ± 0.141 | 0.250 ± 0.177 | 0.250 ± 0.000'
    assert lines[3] == f'| both | `configs/mmt/b.py` | {spread} | 0.500 | 0.700 |'
    assert lines[4] == '| average | the two above | 0.800 |  |  |  | 0.800 |'
    assert len({line.count('|') for line in lines}) == 1
    draw(results, tmp_path / 'table.png', 'AVSynth')
    assert (tmp_path / 'table.png').read_bytes().startswith(b'\x89PNG')
