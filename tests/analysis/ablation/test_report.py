import yaml

from mmav.analysis.ablation.files import read_ablation
from mmav.analysis.ablation.report import entries, markdown_block, markdown_table, section, store
from mmav.analysis.ablation.rows import Row

SOUND, BOTH = Row('sound', 'configs/mat/mat_tiny_avsynth.py'), Row('both', 'configs/mmt/mmt_tiny_avsynth.py')
AVERAGE = Row('average', 'avg', parts=(SOUND.config, BOTH.config))


def test_table_of_what_has_ended():
    both = [dict(top1=0.5, ari=0.125, homogeneity=0.25), dict(top1=0.7, ari=0.375, homogeneity=0.25)]
    results = {SOUND: [None, None], BOTH: both, AVERAGE: [None, dict(top1=0.8)]}  # of an average there are no clusters
    lines = markdown_table(entries(results), [0, 1], 'AVSynth').splitlines()
    assert lines[0] == '| AVSynth | config | top-1 | ARI | homogeneity | top-1, seed 0 | top-1, seed 1 |'
    assert lines[2] == '| sound | `configs/mat/mat_tiny_avsynth.py` | not yet run |  |  |  |  |'
    spread = '0.600 ± 0.141 | 0.250 ± 0.177 | 0.250 ± 0.000'
    assert lines[3] == f'| both | `configs/mmt/mmt_tiny_avsynth.py` | {spread} | 0.500 | 0.700 |'
    assert lines[4] == '| average | the two above | 0.800 |  |  |  | 0.800 |'
    assert len({line.count('|') for line in lines}) == 1


METAFILE = """Models:
  - {Name: a, Epochs: 10}  # of another section
Ablation:
  Dataset: AVSynth
  Epochs: 4
  Batch Size: 16
  Seeds: [0, 1, 2]
  Rows:  # a comment
    - {Row: both, Config: configs/mmt/mmt_tiny_avsynth.py, top-1: [0.1, 0.2, 0.3], ARI: 0.500 ± 0.100}
    - {Row: '+ sound', Config: configs/mat/mat_tiny_avsynth.py, top-1: [0.1]}
    - {Row: average, Config: avg, Parts: [configs/mat/mat_tiny_avsynth.py, configs/mmt/mmt_tiny_avsynth.py], top-1: []}
"""


def test_a_metafile_keeps_its_order_and_all_else(tmp_path):
    metafile = tmp_path / 'metafile.yml'
    metafile.write_text(METAFILE)
    rows = read_ablation(metafile).rows
    assert rows[1] == Row('+ sound', SOUND.config) and rows[2].parts == (SOUND.config, BOTH.config)
    reached = {BOTH.title: [dict(top1=0.123456789, ari=0.125, homogeneity=0.25), None]}
    results = {row: reached.get(row.title, [None, None]) for row in reversed(rows)}
    found = section(results, dataset='AVSynth', epochs=2, batch_size=8, seeds=[0, 1])
    store(metafile, found)
    lines = metafile.read_text().splitlines()
    assert lines[:4] == METAFILE.splitlines()[:4]
    assert lines[4:8] == ['  Epochs: 2', '  Batch Size: 8', '  Seeds: [0, 1]', '  Rows:  # a comment']
    assert lines[8] == (
        '    - {Row: both, Config: configs/mmt/mmt_tiny_avsynth.py, top-1: [0.12346, null], '
        "ARI: '0.125', homogeneity: '0.250'}"
    )
    assert read_ablation(metafile).rows == rows
    kept = yaml.safe_load(metafile.read_text())['Ablation']
    assert {entry['Row']: entry for entry in kept.pop('Rows')} == {entry['Row']: entry for entry in found.pop('Rows')}
    assert kept == found
    assert '| both | `configs/mmt/mmt_tiny_avsynth.py` | 0.123 | 0.125 | 0.250 | 0.123 |  |' in markdown_block(
        yaml.safe_load(metafile.read_text())['Ablation'], 'a.png'
    )
