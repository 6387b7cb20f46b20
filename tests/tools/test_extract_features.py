"""From a folder to a model by features: extract, train, stop, resume, test, join with the encoders, classify a file."""

import json

import pytest
import torch
from mmengine.config import Config

from mmav.checkpoints import load_checkpoint_file
from mmav.evaluation.predictions import load_predictions
from mmav.inference import AVInferencer
from tests.engine.features.conftest import base, clips_folder  # noqa: F401 (fixtures)
from tests.toys import run_tool

EXTRACT, MERGE = 'extract_features.py', 'model_converters/merge_checkpoints.py'


@pytest.fixture(scope='module')
def run(clips_folder, tmp_path_factory):  # noqa: F811
    """A folder with features and a work dir with two epochs of training on them, with EMA, resumed in between."""
    folder, config = tmp_path_factory.mktemp('run'), clips_folder / 'config.py'
    assert run_tool(EXTRACT, config, '--out', folder / 'features', '--workers', 0) == 0
    train = ['train.py', config, '--features', folder / 'features', '--work-dir', folder / 'work']
    options = ['--cfg-options', 'optim_wrapper.optimizer.lr=0.02']
    assert run_tool(*train, *options, 'train_cfg.max_epochs=1') == 0
    assert run_tool(*train, '--resume', *options) == 0
    return folder


def test_the_losses_are_those_of_frozen_encoders(run, clips_folder):  # noqa: F811
    """By the tools, with ``freeze='all'``."""
    config = clips_folder / 'plain.py'
    config.write_text(
        f'_base_ = [{str(clips_folder / "config.py")!r}]\n'
        'model = dict(backbones=dict(video=dict(freeze="all"), audio=dict(freeze="all")))\n'
        'train_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))\n'
        'default_hooks = dict(logger=dict(type="LoggerHook", interval=1), runtime_info=dict(type="RuntimeInfoHook"), '
        'seed=dict(type="SeedHook"), sampler_seed=dict(type="DistSamplerSeedHook"))\n'
    )
    found = []
    for name, options in (('live', []), ('cached', ['--features', run / 'features'])):
        start = ['--cfg-options', f'load_from={run}/work/epoch_2.pth']  # neck and head
        assert run_tool('train.py', config, '--work-dir', run / name, *options, *start) == 0
        (log,) = (run / name).glob('*/vis_data/scalars.json')
        found.append([line['loss'] for line in map(json.loads, log.read_text().splitlines()) if 'loss' in line])
    assert len(found[0]) == 6
    assert found[1] == pytest.approx(found[0], abs=1e-6)


def test_from_features_to_a_file(run, clips_folder):  # noqa: F811
    config, trained, whole = clips_folder / 'config.py', run / 'work/epoch_2.pth', run / 'whole.pth'
    checkpoint = load_checkpoint_file(trained)
    assert not any(name.startswith('backbones.') for name in checkpoint['state_dict'])
    assert checkpoint['meta']['epoch'] == 2
    assert run_tool(MERGE, trained, run / 'features/encoders.pth', '--out', whole) == 0
    test = ['test.py', config, '--work-dir', run / 'test']
    assert run_tool(*test[:2], trained, *test[2:], '--features', run / 'features', '--dump', run / 'a.pkl') == 0
    assert run_tool(*test[:2], whole, *test[2:], '--dump', run / 'b.pkl') == 0
    rows, others = (load_predictions(str(run / name))[0] for name in ('a.pkl', 'b.pkl'))
    assert len(rows) == len(others) == 4
    for one, other in zip(rows, others, strict=True):
        assert (one['path'], one['broken']) == (other['path'], other['broken'])
        if one['broken'] is None:
            torch.testing.assert_close(*(torch.as_tensor(row['scores']['label']) for row in (one, other)))
    infer = AVInferencer(Config.fromfile(config), whole, show_progress=False)
    assert {each['label'] for each in infer(str(clips_folder / 'a.mp4'))[0]['predictions']} == {'x', 'y', 'z'}
    # in one piece, as in testing
    sample = infer.forward(infer.collate_fn([infer.read(str(clips_folder / 'a.mp4'))]))[0]
    torch.testing.assert_close(sample.pred_score, torch.as_tensor(rows[0]['scores']['label']))


def test_the_config_of_the_run_is_that_of_features(run):
    written, trained = run / 'work/config.py', run / 'work/epoch_2.pth'
    assert run_tool('test.py', written, trained, '--work-dir', run / 'again', '--out', run / 'metrics.json') == 0
    metrics = json.loads((run / 'metrics.json').read_text())
    assert metrics['broken'] == 1 and 0 <= metrics['top1'] <= 1


def test_mistakes_are_one_line(run, clips_folder, capsys):  # noqa: F811
    config = clips_folder / 'config.py'
    for arguments, message in (
        (['train.py', config, '--features', run / 'nothing'], 'has no features for train_dataloader'),
        ([EXTRACT, config, run / 'none.pth', '--out', run / 'f'], 'no checkpoint'),
        ([EXTRACT, config, '--out', run / 'features', '--dtype', 'float16'], 'holds features of another run (dtype'),
        ([EXTRACT, config, '--out', run / 'features', '--launcher', 'slurm'], 'needs the environment variable SLURM'),
        ([MERGE, run / 'work/epoch_2.pth', '--out', run / 'x.pth'], 'no encoder of them is given'),
    ):
        assert run_tool(*arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith('error: ') and message in error
    with pytest.raises(Exception, match='reads features, not files: give the config with encoders'):
        AVInferencer(str(run / 'work/config.py'), str(run / 'work/epoch_2.pth'))


def test_joined_lists_are_refused_before_anything_is_written(clips_folder, tmp_path, capsys):  # noqa: F811
    config = tmp_path / 'joined.py'
    joined = "dict(_delete_=True, type='ConcatDataset', datasets=[_base_.train_dataloader.dataset] * 2)"
    config.write_text(f"_base_ = '{clips_folder / 'config.py'}'\ntrain_dataloader = dict(dataset={joined})\n")
    assert run_tool(EXTRACT, config, '--out', tmp_path / 'f') == 2
    assert 'extract each of the lists with a config of its own' in capsys.readouterr().err
    assert not (tmp_path / 'f').exists()


def test_processes_of_a_launcher_share_the_work(clips_folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr('mmav.engine.features.extraction.SHARD_CLIPS', 2)
    for rank in (1, 0):
        place = dict(RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank, MASTER_ADDR='localhost', MASTER_PORT=29500)
        for name, value in place.items():
            monkeypatch.setenv(name, str(value))
        given = ['--split', 'train', '--workers', 0, '--launcher', 'pytorch']
        assert run_tool(EXTRACT, clips_folder / 'config.py', '--out', tmp_path / 'f', *given) == 0
        shards = sorted(path.name for path in (tmp_path / 'f/train').glob('*.safetensors'))
        assert len(shards) == (1 if rank else 3)
        assert (tmp_path / 'f/encoders.pth').is_file() == (not rank)
    assert "train: 6 clips in '" in capsys.readouterr().out
