"""One command from prepared lists to the paper's tables, on a miniature tree; it goes on, collects, and refuses."""

import csv
import subprocess

from mmav.preparation.manifests import prepare
from mmav.preparation.miniature import make_miniature
from mmav.preparation.vggsound import read_vggsound
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/reproduce_paper.py'


def test_rows_of_a_miniature_tree(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_miniature('vggsound', 'tree', train=8, test=4, progress=False)
    prepare(read_vggsound(['tree/vggsound.csv']), 'tree', 'tree')
    words = ['vggsound', '--miniature', '--data-root', 'tree', '--work-dir', 'w', '--only', 'Avg']
    assert run_tool(TOOL, *words) == 0
    told = capsys.readouterr().out
    assert 'VGGSound: train.csv 8 (paper: 159,223), test.csv 4 (paper: 12,790)' in told
    assert '2 runs, 0 of them done' in told and 'figures of the tables are not yet run' in told
    page = (tmp_path / 'w' / 'tables.md').read_text()
    assert 'top-1, paper (12,790 clips) | top-1, here (4 clips)' in page and 'Made small (--miniature)' in page
    with open(tmp_path / 'w' / 'tables.csv', newline='') as file:
        rows = {(row['table'], row['row'], row['metric']): row for row in csv.DictReader(file)}
    average = rows['Table 3', 'Avg', 'top1']
    assert (average['paper'], average['paper_test_clips'], average['here_test_clips']) == ('0.624', '12790', '4')
    assert 0 <= float(average['here']) <= 1 and average['seeds_ended'] == '1'
    assert rows['Table 5', 'audio only, MAT', 'ari']['here'] and not rows['Table 3', '+AL', 'top1']['here']
    assert '| +AL | `configs/mmt/mmt_k4_l4_al_vggsound.py` | 63.5 | not yet run |' in page

    # nothing is done twice, and the tables need no data
    assert run_tool(TOOL, *words) == 0
    assert '2 runs, 2 of them done' in capsys.readouterr().out
    (tmp_path / 'w' / 'tables.md').unlink()
    assert run_tool(TOOL, 'vggsound', '--miniature', '--work-dir', 'w', '--collect') == 0
    collected = (tmp_path / 'w' / 'tables.md').read_text()
    assert collected == page.replace('| train | 159,223 | 8 |', '| train | 159,223 | - |')


def refusal(capsys, *words):
    assert run_tool(TOOL, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_refusals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refusal(capsys, 'vgsound').startswith(
        "error: no dataset 'vgsound', did you mean 'vggsound'?: choose vggsound"
    )
    assert "no folder 'none' of VGGSound: prepare it with `mmav prepare-vggsound" in refusal(
        capsys, 'vggsound', '--data-root', 'none', '--dry-run'
    )
    assert "no row 'AVC', did you mean '+AVC'?" in refusal(capsys, 'vggsound', '--only', 'AVC', '--dry-run')
    assert 'needs 1, 2, 4, 8, 16, 32 or 64' in refusal(capsys, 'vggsound', '--gpus', 6)
    assert 'leave --slurm out' in refusal(capsys, 'vggsound', '--miniature', '--slurm', '')
    assert 'in the root of the repository' in refusal(capsys, 'vggsound', '--slurm', '')
    assert 'leave --dry-run out' in refusal(capsys, 'vggsound', '--collect', '--dry-run')
    assert 'name it in place of all' in refusal(capsys, 'all', '--collect', '--results', 'a')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    assert 'there is no GPU here' in refusal(capsys, 'vggsound')


def test_the_script_tells_its_usage():
    done = subprocess.run([ROOT / 'tools' / 'reproduce_paper.sh'], capture_output=True, text=True)
    assert done.returncode == 2 and 'usage: tools/reproduce_paper.sh DATASET [options]' in done.stderr
