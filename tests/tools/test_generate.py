"""Tables of READMEs and the results that configs expect are those of the metafiles."""

import re
import runpy
import shutil

import numpy as np
import pytest

from mmav.analysis.ablation.outcomes import Outcome, Outcomes, write_outcomes
from mmav.errors import MmavError
from tests.toys import ROOT, run_tool

TOOL = 'docs/generate.py'


@pytest.fixture
def root(tmp_path):
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    shutil.copy(ROOT / 'README.md', tmp_path)
    return tmp_path


def out_of_date(root):
    generated = runpy.run_path(str(ROOT / 'tools' / TOOL))['generated'](root)
    return {path.relative_to(root).as_posix(): text for path, text in generated if path.read_text() != text}


def test_nothing_is_out_of_date(capsys):
    assert run_tool(TOOL, '--check') == 0, f'{capsys.readouterr().err}; run: make docs'


def test_a_figure_goes_to_all_its_places(root):
    metafile = root / 'configs' / 'mmt' / 'metafile.yml'
    metafile.write_text(metafile.read_text().replace('66.2', '12.34').replace('0.54375', '0.98765'))
    found = out_of_date(root)
    paper = 'configs/mmt/mmt_k4_l4_avc_imc_vggsound.py'
    assert set(found) == {'configs/mmt/README.md', paper}
    assert 'Expected: top-1 12.34 (paper, Table 3, +AVC+IMC); not yet run here.' in found[paper]
    assert '[paper: 12.34](mmt_k4_l4_avc_imc_vggsound.py)' in found['configs/mmt/README.md']
    assert '| AVBottleneck | `configs/mmt/mmt_tiny_avsynth.py` | 0.560 ± 0.381 |' in found['configs/mmt/README.md']


def test_figures_of_a_folders_own_ablation(root):
    folder = root / 'configs' / 'natural'
    config = 'configs/natural/mmt_nano_natural.py'
    right = np.arange(10) < 9
    runs = {
        ('AVBottleneck', seed): Outcome(right, 'd', dict(top1=top1), 1.0) for seed, top1 in enumerate((0.123, 0.125))
    }
    (folder / 'outcomes.json').unlink(missing_ok=True)
    write_outcomes(Outcomes('top1', '', 10, {'AVBottleneck': config}, runs), folder / 'outcomes.json')
    found = out_of_date(root)
    assert '0.124 ± 0.001 (2 seeds) |' in found['configs/natural/README.md']
    assert 'Expected: top-1 0.124 ± 0.001 (measured here, 2 seeds).' in found[config]


def test_what_is_by_hand_stays(root):
    page, config = root / 'configs' / 'ast' / 'README.md', root / 'configs' / 'ast' / 'ast_tiny_avsynth.py'
    page.write_text(page.read_text().replace('52.3', '1.0') + 'more\n')
    config.write_text(config.read_text().replace('Expected:', 'Data: d\nExpected: old\n').replace('"""A', '"""An', 1))
    found = out_of_date(root)
    text = (ROOT / 'configs' / 'ast' / 'README.md').read_text()
    assert found.pop('configs/ast/README.md') == text + 'more\n'
    changed = found.pop('configs/ast/ast_tiny_avsynth.py')
    assert changed.startswith('"""An') and '\nData: d\nExpected: top-1 0.249 ± 0.024 after 4' in changed
    assert not found


def test_a_part_that_is_missing_is_one_line(root):
    config = root / 'configs' / 'ast' / 'ast_tiny_avsynth.py'
    config.write_text(config.read_text().replace('Expected:', 'Result:'))
    with pytest.raises(MmavError, match=r"ast_tiny_avsynth\.py' has 0 parts of the form '\^Expected:"):
        out_of_date(root)
    config.unlink()
    with pytest.raises(MmavError, match=r'ast_tiny_avsynth\.py., which the metafile has as ast_tiny_avsynth: remove'):
        out_of_date(root)


def test_the_first_page_has_the_sizes_of_the_metafiles(root):
    metafile = root / 'configs' / 'mbt' / 'metafile.yml'
    text = metafile.read_text()
    size = re.search(r'mbt_b_vggsound$.*?Parameters: (\d+)', text, re.DOTALL | re.MULTILINE)[1]
    metafile.write_text(text.replace(size, '987654321'))
    assert (
        '| [MBT](configs/mbt/README.md) | ViT-B | ViT-B | averaged bottleneck | 987.7 M |'
        in out_of_date(root)['README.md']
    )


def test_a_metafile_that_is_damaged_is_one_line(root):
    metafile = root / 'configs' / 'mbt' / 'metafile.yml'
    metafile.write_text(metafile.read_text() + ' : [\n')
    with pytest.raises(MmavError, match=r"mbt/metafile\.yml' is not YAML: .+"):
        out_of_date(root)
