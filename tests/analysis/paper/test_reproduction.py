"""How the rows of the paper are started: on GPUs with the paper's batch, under Slurm, and what each file says."""

import pytest
import yaml

from mmav.analysis.paper.figures import DATASETS
from mmav.analysis.paper.reproduction import Choices, Reproduction
from mmav.errors import ConfigError, MmavError, OutputError

DATASET = DATASETS['vggsound']


def of(tmp_path, **choices):
    return Reproduction(DATASET, Choices('data/vggsound', tmp_path / 'w', **choices))


def test_gpus_share_the_papers_batch(tmp_path):
    own = ['train_dataloader.batch_size=32', 'activation_checkpointing.budget=auto']
    assert of(tmp_path, gpus=2).options == own
    assert of(tmp_path, gpus=2, options=('train_dataloader.batch_size=4',)).options == [
        own[1],
        'train_dataloader.batch_size=4',
    ]
    assert of(tmp_path, gpus=2, options=('activation_checkpointing=lean',)).options[0] == own[0]
    assert of(tmp_path, gpus=2, miniature=True).options == [] == of(tmp_path).options


def test_launchers(tmp_path):
    assert of(tmp_path).launcher is None
    assert of(tmp_path, gpus=4).launcher.endswith('/tools/dist_STAGE.sh CONFIG 4')
    slurm = of(tmp_path, gpus=8, slurm='--time=2-0').launcher
    assert slurm.startswith('sbatch --wait --gpus-per-node=8 --ntasks-per-node=8 --time=2-0 /')
    assert slurm.endswith('/tools/slurm_STAGE.sh CONFIG')


def test_a_row_brings_what_it_averages(tmp_path):
    work = of(tmp_path, rows=('Avg', '+AVC'), seeds=(3, 4), gpus=8)
    titles = ['audio only, MAT', 'video only, MViTv2-B', 'Avg', '+AVC']
    assert [row.title for row in work.rows] == titles
    content = yaml.safe_load(work.write_rows().read_text())
    assert [row['Row'] for row in content['Rows']] == titles and content['Seeds'] == [3, 4]
    assert content['Options'] == work.options
    assert all({each['Better'], each['Than']} <= set(titles) for each in content['Comparisons'])
    commands = work.commands(work.work())
    assert len(commands) == 2 * 3 * 2  # three rows are trained, each with two seeds: train and test
    assert 'dist_train.sh' in commands[0] and '--resume --cfg-options train_dataloader.batch_size=8' in commands[0]
    assert 'mat_base_vggsound.py' in commands[1] and 'mat_base_vggsound_seed3/epoch_50.pth 8' in commands[1]
    assert 'randomness.seed=4' in commands[-1]


def test_what_is_refused_leaves_the_file_of_the_rows_as_it_was(tmp_path):
    of(tmp_path).work()
    (tmp_path / 'w' / 'options.txt').write_text('train_cfg.max_epochs=2\n')
    before = (tmp_path / 'w' / 'rows.yml').read_text()
    with pytest.raises(MmavError, match='holds runs of other options'):
        of(tmp_path, seeds=(7,), options=('train_cfg.max_epochs=3',)).work()
    with pytest.raises(MmavError, match='lr'):
        of(tmp_path, options=('optim_wrapper.lrr=3',)).work()
    assert (tmp_path / 'w' / 'rows.yml').read_text() == before
    assert sorted(path.name for path in (tmp_path / 'w').glob('[!.]*')) == ['options.txt', 'rows.yml']


def test_nothing_has_ended(tmp_path):
    work = of(tmp_path)
    work.write_rows()
    tables = work.collect(None)
    assert all(not cell.here for table in tables for row in table.rows for cell in row.cells.values())
    page = (tmp_path / 'w' / 'tables.md').read_text()
    assert page.count('not yet run') >= 2 * (4 + 8 + 3) and '| test | 12,790 | - |' in page


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match=r"no row '\+AVX', did you mean '\+AVC'\?: choose 'audio only, AST', "):
        of(tmp_path, rows=('+AVX',))
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / 'tables.md').write_text('mine')
    with pytest.raises(OutputError, match='give another one with --work-dir'):
        of(tmp_path)
