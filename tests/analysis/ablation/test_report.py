import json

import yaml

from mmav.analysis.ablation.files import read_rows
from mmav.analysis.ablation.picture import draw
from mmav.analysis.ablation.report import entries, markdown_block, markdown_table, section, store
from mmav.analysis.ablation.results import read_results
from mmav.analysis.ablation.rows import Row

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
    lines = markdown_table(entries(results), [0, 1], 'AVSynth').splitlines()
    assert lines[0] == '| AVSynth | config | top-1 | ARI | homogeneity | top-1, seed 0 | top-1, seed 1 |'
    assert lines[2] == '| sound | `configs/mat/a.py` | not yet run |  |  |  |  |'
    spread = '0.600 ± 0.141 | 0.250 ± 0.177 | 0.250 ± 0.000'
    assert lines[3] == f'| both | `configs/mmt/b.py` | {spread} | 0.500 | 0.700 |'
    assert lines[4] == '| average | the two above | 0.800 |  |  |  | 0.800 |'
    assert len({line.count('|') for line in lines}) == 1
    draw(results, tmp_path / 'table.png', 'AVSynth')
    assert (tmp_path / 'table.png').read_bytes().startswith(b'\x89PNG')


METAFILE = """Models:
  - {Name: a, Epochs: 10}  # of another section
Ablation:
  Dataset: AVSynth
  Epochs: 4
  Batch Size: 16
  Seeds: [0, 1, 2]
  Rows:  # a comment
    - {Row: both, Config: configs/mmt/b.py, top-1: [0.1, 0.2, 0.3], ARI: 0.500 ± 0.100}
    - {Row: '+ sound', Config: configs/mat/a.py, top-1: [0.1]}
    - {Row: average, Config: avg, Parts: [configs/mat/a.py, configs/mmt/b.py], top-1: []}
"""


def test_a_metafile_keeps_its_order_and_all_else(tmp_path):
    write(tmp_path / 'b_seed0', 0.123456789, ari=0.125, homogeneity=0.25)
    metafile = tmp_path / 'metafile.yml'
    metafile.write_text(METAFILE)
    rows = read_rows(metafile)
    assert rows[1] == Row('+ sound', SOUND.config) and rows[2].parts == (SOUND.config, BOTH.config)
    results = read_results(reversed(rows), [0, 1], tmp_path)
    found = section(results, dataset='AVSynth', epochs=2, batch_size=8, seeds=[0, 1])
    store(metafile, found)
    lines = metafile.read_text().splitlines()
    assert lines[:4] == METAFILE.splitlines()[:4]
    assert lines[4:8] == ['  Epochs: 2', '  Batch Size: 8', '  Seeds: [0, 1]', '  Rows:  # a comment']
    assert lines[8] == (
        "    - {Row: both, Config: configs/mmt/b.py, top-1: [0.12346, null], ARI: '0.125', homogeneity: '0.250'}"
    )
    assert read_rows(metafile) == rows
    kept = yaml.safe_load(metafile.read_text())['Ablation']
    assert {entry['Row']: entry for entry in kept.pop('Rows')} == {entry['Row']: entry for entry in found.pop('Rows')}
    assert kept == found
    assert '| both | `configs/mmt/b.py` | 0.123 | 0.125 | 0.250 | 0.123 |  |' in markdown_block(
        yaml.safe_load(metafile.read_text())['Ablation'], 'a.png'
    )
