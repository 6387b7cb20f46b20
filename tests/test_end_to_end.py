"""The whole path on real files: clips in, checkpoint and accuracy out; kills, two processes, bad input, own clips."""

import csv
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.registry import init_default_scope

from mmav.config.reading import load_config
from mmav.evaluation.predictions import load_predictions
from mmav.preparation.avsynth import generate
from mmav.registry import MODELS
from tests import toys
from tests.processes import run_tool_in_pair

CONFIG = toys.ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'
FOLDER_CONFIG = toys.ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'
SMALL = [
    'train_dataloader.batch_size=4',
    'val_dataloader.dataset.indices=4',
    'train_cfg.max_epochs=2',
    'default_hooks.logger.interval=1',
    'model.backbones.video.drop_path_rate=0.2',
    'model.backbones.audio.drop_path_rate=0.2',
]
ALONE = [f'{loader}_dataloader.num_workers=0' for loader in ('train', 'val', 'test')]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('avsynth')
    generate(folder, train=16, val=16, test=16, jobs=1, progress=False)
    return folder


def start(*command: object, cwd: Path | None = None, **env: str) -> subprocess.Popen:
    """Starts a tool as a user does, as leader of a process group so that a kill reaches its workers."""
    words = [str(word) for word in command]
    full = toys.tool_environment(**env)
    return subprocess.Popen(
        words, cwd=cwd, env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def finish(process: subprocess.Popen) -> str:
    output = process.communicate(timeout=240)[0].decode()
    assert process.returncode == 0, output
    return output


def fork_training(data: Path, work_dir: Path, *options: str) -> multiprocessing.Process:
    """Starts training in a fork of this process, which need not import torch, as leader of a process group."""
    toys.import_all()
    command = ['train.py', CONFIG, '--data-root', data, '--work-dir', work_dir, '--deterministic', *options]
    process = multiprocessing.get_context('fork').Process(target=_train, args=([*command, '--cfg-options', *SMALL],))
    process.start()
    return process


def _train(command: list) -> None:
    os.setsid()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # its threads do not survive a fork
    sys.exit(toys.run_tool(*command))


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """Work dir of a run of two epochs that nothing interrupted, with persistent workers."""
    work_dir = tmp_path_factory.mktemp('trained')
    process = fork_training(data, work_dir)
    process.join()
    assert process.exitcode == 0
    return work_dir


def test_killed_and_resumed_equals_uninterrupted(data, trained, tmp_path):
    process = fork_training(data, tmp_path, '--resume')
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / 'epoch_1.pth').exists() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert (tmp_path / 'epoch_1.pth').exists() and not (tmp_path / 'epoch_2.pth').exists()
    # as a kill during a save of MMEngine alone would have left it
    (tmp_path / 'epoch_2.pth').write_bytes((tmp_path / 'epoch_1.pth').read_bytes()[:5000])
    # as a user goes on: by a process that knows nothing of the first
    command = [sys.executable, toys.ROOT / 'tools' / 'train.py', CONFIG, '--data-root', data, '--work-dir', tmp_path]
    output = finish(start(*command, '--deterministic', '--resume', '--cfg-options', *SMALL))
    assert re.search(r"epoch_2\.pth' is damaged", output) and 'resumed epoch: 1' in output
    one, two = (torch.load(folder / 'epoch_2.pth', weights_only=True) for folder in (trained, tmp_path))
    torch.testing.assert_close(one['state_dict'], two['state_dict'], rtol=0, atol=0)
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)


def test_stopped_in_mid_epoch_equals_uninterrupted(data, trained, tmp_path, capsys):
    """With dropout of paths, augmentation and persistent workers; stopped after 2 of the second epoch's 4 batches."""
    config = tmp_path / 'stopped.py'
    config.write_text(
        f"_base_ = [{str(CONFIG)!r}]\ncustom_imports = dict(imports=['tests.toys'])\n"
        "custom_hooks = [dict(type='SignalHook', number=15, after_iter=6)]\n"
    )
    command = ['train.py', config, '--data-root', data, '--work-dir', tmp_path / 'w', '--deterministic', '--resume']
    threads = torch.get_num_threads()
    # as in the process that was not interrupted
    torch.set_num_threads(1)
    try:
        assert toys.run_tool(*command, '--cfg-options', *SMALL) == 0
        assert 'stopped by SIGTERM' in capsys.readouterr().err
        assert sorted(path.name for path in (tmp_path / 'w').glob('*.pth')) == ['epoch_1.pth', 'iter_6.pth']
        assert toys.run_tool(*command, '--cfg-options', *SMALL) == 0
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    one, two = (torch.load(folder / 'epoch_2.pth', weights_only=True) for folder in (trained, tmp_path / 'w'))
    torch.testing.assert_close(one['state_dict'], two['state_dict'], rtol=0, atol=0)
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)


def test_two_processes(data, tmp_path, capfd):
    options = ['--cfg-options', *SMALL, 'train_cfg.max_epochs=1', *ALONE]
    run_tool_in_pair(tmp_path, 'train.py', CONFIG, '--data-root', data, '--work-dir', tmp_path / 'w', *options)
    assert '[1][2/2]' in capfd.readouterr().out  # 16 clips, 2 processes of batch 4
    assert [path.name for path in (tmp_path / 'w').glob('*.pth')] == ['epoch_1.pth']
    assert len(list((tmp_path / 'w').glob('*/*.log'))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['w']  # nothing is left in the current folder

    outputs = ['--out', tmp_path / 'm.json', '--dump', tmp_path / 'p.pkl', '--work-dir', tmp_path / 't']
    # 15 clips do not divide by 2 processes
    options = ['--cfg-options', 'test_dataloader.dataset.indices=15', 'test_dataloader.batch_size=4', *ALONE]
    checkpoint = tmp_path / 'w' / 'epoch_1.pth'
    common = [CONFIG, checkpoint, '--data-root', data]
    finish(start(toys.ROOT / 'tools' / 'dist_test.sh', *common[:2], 2, *common[2:], *outputs, *options))
    rows, _ = load_predictions(tmp_path / 'p.pkl')
    assert [row['sample_idx'] for row in rows] == list(range(15))
    assert (
        toys.run_tool('test.py', *common, '--out', tmp_path / 'm1.json', '--work-dir', tmp_path / 't1', *options) == 0
    )
    two, one = (json.loads((tmp_path / name).read_text()) for name in ('m.json', 'm1.json'))
    assert {k: two[k] for k in ('top1', 'top5', 'broken')} == {k: one[k] for k in ('top1', 'top5', 'broken')}


def untrained(folder: Path) -> Path:
    torch.manual_seed(0)
    init_default_scope('mmav')
    model = MODELS.build(load_config(str(CONFIG)).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'untrained.pth')
    return folder / 'untrained.pth'


def edited(data: Path, folder: Path, split: str, edit) -> Path:
    """A copy of a dataset that shares its clips; ``edit`` changes the rows of a manifest."""
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / f'{split}.csv').unlink()
    with open(data / f'{split}.csv', newline='') as file:
        rows = list(csv.reader(file))
    with open(folder / f'{split}.csv', 'w', newline='') as file:
        csv.writer(file).writerows(edit(rows))
    return folder


def test_a_broken_test_clip_is_reported_and_counts_as_wrong(data, tmp_path, capsys):
    checkpoint = untrained(tmp_path)
    (tmp_path / 'torn.mp4').write_bytes(b'no film')
    root = edited(data, tmp_path / 'd', 'test', lambda rows: [*rows, [str(tmp_path / 'torn.mp4'), rows[1][1]]])
    command = ['test.py', CONFIG, checkpoint, '--work-dir', tmp_path / 'w', '--out', tmp_path / 'm.json']
    command += ['--dump', tmp_path / 'p.pkl', '--data-root']
    metrics = {}
    for name, folder in (('whole', data), ('torn', root)):
        assert toys.run_tool(*command, folder, '--cfg-options', *ALONE) == 0
        metrics[name] = json.loads((tmp_path / 'm.json').read_text())
    assert metrics['whole']['broken'] == 0 and metrics['torn']['broken'] == 1
    for k in ('top1', 'top5'):
        assert metrics['torn'][k] == pytest.approx(metrics['whole'][k] * 16 / 17)
    assert 'counted as wrong, cannot be read' in capsys.readouterr().out
    rows, _ = load_predictions(tmp_path / 'p.pkl')
    assert rows[16]['broken'] and rows[0]['broken'] is None
    # and the sheet shows what was predicted
    sheet = ['analysis_tools/plot_predictions.py', CONFIG, tmp_path / 'p.pkl', tmp_path / 's.png', '--data-root', root]
    assert toys.run_tool(*sheet, '--num', '3') == 0
    assert (tmp_path / 's.png').stat().st_size > 10_000
    other = [*sheet[:-1], edited(data, tmp_path / 'e', 'test', lambda rows: [rows[0], *rows[:0:-1]])]
    assert toys.run_tool(*other) == 2
    assert "the predictions are not of this config's test set" in capsys.readouterr().err


def spoilt(data: Path, folder: Path, split: str, name: str) -> Path:
    """A copy of a dataset, of one list of which a third of the clips are replaced by one file."""
    return edited(data, folder, split, lambda rows: [[name, r[1]] if i % 3 == 1 else r for i, r in enumerate(rows)])


def the_error(capsys) -> str:
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    return error


def test_too_many_broken_clips_end_testing(data, tmp_path, capsys):
    checkpoint = untrained(tmp_path)
    (tmp_path / 'torn.mp4').write_bytes(b'no film')
    command = ['test.py', CONFIG, checkpoint, '--work-dir', tmp_path / 'w', '--out', tmp_path / 'm.json']
    options = ['--cfg-options', *ALONE]
    for name, message in (
        ('gone.mp4', r'6 of the 16 clips of .*test.csv cannot be read: there is no .*gone.mp4, for one; that is more'),
        (
            str(tmp_path / 'torn.mp4'),
            r'6 of the 16 clips seen of .*test.csv cannot be read, more than max_broken_share',
        ),
    ):
        root = spoilt(data, tmp_path / f'd_{Path(name).stem}', 'test', name)
        assert toys.run_tool(*command, '--data-root', root, *options) == 2
        assert re.search(message, the_error(capsys)) and not (tmp_path / 'm.json').exists()
    assert toys.run_tool(*command, '--data-root', root, *options, 'test_dataloader.dataset.max_broken_share=0.5') == 0
    assert json.loads((tmp_path / 'm.json').read_text())['broken'] == 6
    empty = tmp_path / 'empty'
    empty.mkdir()
    for path in data.glob('*.*'):
        shutil.copy(path, empty)
    assert toys.run_tool(*command, '--data-root', empty, *options) == 2
    assert 'none of the 16 clips' in the_error(capsys)


def test_too_many_broken_clips_in_validation_end_training(data, tmp_path, capsys):
    (tmp_path / 'torn.mp4').write_bytes(b'no film')
    best = ['default_hooks.checkpoint.save_best=top1', 'default_hooks.checkpoint.rule=greater']
    for name, kept in (('gone.mp4', []), (str(tmp_path / 'torn.mp4'), ['epoch_1.pth'])):
        root = spoilt(data, tmp_path / f'd_{Path(name).stem}', 'val', name)
        command = ['train.py', CONFIG, '--data-root', root, '--work-dir', tmp_path / f'w_{Path(name).stem}']
        assert toys.run_tool(*command, '--cfg-options', *SMALL, *ALONE, *best) == 2
        assert re.search(r'of the 4 clips .*val.csv cannot be read', the_error(capsys))
        assert [path.name for path in command[-1].glob('*.pth')] == kept


def test_fewer_clips_than_a_batch_and_an_option_without_effect_are_one_line(data, tmp_path, capsys):
    command = ['train.py', CONFIG, '--data-root', data, '--work-dir', tmp_path / 'w', '--cfg-options', *ALONE]
    for option, message in (
        ('train_dataloader.batch_size=17', '16 clips are fewer than batch_size=17'),
        ('max_epochs=1', 'set param_scheduler.1.end and train_cfg.max_epochs'),
        ('val_dataloader.prefetch_factor=4', 'prefetch_factor has no effect with val_dataloader.num_workers=0'),
        ('auto_scale_lr.base_batch_size=8', 'base_batch_size has no effect without --auto-scale-lr'),
    ):
        assert toys.run_tool(*command, option) == 2
        assert message in the_error(capsys)


MISTAKES = dict(
    column=(lambda rows: [['file', 'label'], *rows[1:]], r'train\.csv.*path'),
    label=(lambda rows: [rows[0], [rows[1][0], 'bonce'], *rows[2:]], r'train\.csv.*row 2.*bonce'),
    files=(
        lambda rows: [rows[0], *([f'nowhere/{i}.mp4', rows[1][1]] for i in range(9))],
        r'clips .*cannot be read|can be read',
    ),
)


@pytest.mark.parametrize(('edit', 'message'), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_bad_manifest_is_one_line(data, tmp_path, capsys, edit, message):
    root = edited(data, tmp_path / 'd', 'train', edit)
    options = ['--cfg-options', *SMALL, *ALONE]
    assert toys.run_tool('train.py', CONFIG, '--data-root', root, '--work-dir', tmp_path / 'w', *options) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert len(errors) == 1 and re.search(message, errors[0])


def test_an_intra_modal_loss_without_its_two_views_is_one_line(data, tmp_path, capsys):
    config = CONFIG.with_name('mmt_tiny_avc_imc_avsynth.py')
    options = ['--cfg-options', *SMALL, *ALONE, 'train_dataloader.dataset.pipeline.0.num_views=1']
    assert toys.run_tool('train.py', config, '--data-root', data, '--work-dir', tmp_path / 'w', *options) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert len(errors) == 1 and 'IMCLoss compares 2 views of each modality, video has 1: set num_views=2' in errors[0]


def test_a_folder_without_a_manifest_is_one_line(tmp_path, capsys):
    assert toys.run_tool('train.py', CONFIG, '--data-root', tmp_path, '--work-dir', tmp_path / 'w') == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r'error: .*(classes\.txt|train\.csv)', line)


def test_own_clips(make_clip, tmp_path):
    """Any length, size, frame rate and sample rate, with or without sound; labels as names or indices."""
    clips = [
        make_clip('own_plain.mp4', seconds=1.0),
        make_clip('own_fast.mp4', seconds=3.0, fps=30, size=(64, 48), sample_rate=44100, channels=2),
        make_clip('own_silent.mp4', seconds=0.5, audio=None),
        make_clip('own_wide.mp4', seconds=2.0, fps=5, size=(48, 128), sample_rate=8000),
    ]
    (tmp_path / 'classes.txt').write_text('a cat\na dog\nan owl\n')
    rows = [
        'path,label',
        *(f'{clip},{label}' for clip, label in zip(clips, ('a dog', '0', 'an owl', '2'), strict=True)),
    ]
    for name in ('train.csv', 'test.csv'):
        (tmp_path / name).write_text('\n'.join(rows) + '\n')
    options = ['--cfg-options', 'train_dataloader.batch_size=2', 'train_cfg.max_epochs=1', *ALONE]
    assert (
        toys.run_tool('train.py', FOLDER_CONFIG, '--data-root', tmp_path, '--work-dir', tmp_path / 'w', *options) == 0
    )
    (checkpoint,) = (tmp_path / 'w').glob('epoch_1.pth')
    command = ['test.py', FOLDER_CONFIG, checkpoint, '--data-root', tmp_path, '--dump', tmp_path / 'p.pkl']
    assert toys.run_tool(*command, '--work-dir', tmp_path / 't', '--cfg-options', *ALONE) == 0
    predictions, classes = load_predictions(tmp_path / 'p.pkl')
    assert classes == dict(label=['a cat', 'a dog', 'an owl'])
    assert [row['label']['label'] for row in predictions] == [1, 0, 2, 2]
    assert all(row['scores']['label'].shape == (3,) and row['broken'] is None for row in predictions)


def test_verbs_and_nouns(make_clip, tmp_path):
    """Two labels a clip, mixed in training, with features in testing, and what the tools make of the predictions."""
    clips = [make_clip('action_0.mp4', seconds=1.0), make_clip('action_1.mp4', seconds=0.5, audio=None)]
    (tmp_path / 'verbs.txt').write_text('cut\nwash\n')
    (tmp_path / 'nouns.txt').write_text('cup\nonion\npan\n')
    for name in ('train.csv', 'test.csv'):
        (tmp_path / name).write_text(f'path,verb,noun\n{clips[0]},wash,0\n{clips[1]},cut,pan\n')
    config = tmp_path / 'actions.py'
    config.write_text(f"""_base_ = [{str(FOLDER_CONFIG)!r}]
classes = dict(_delete_=True, verb='verbs.txt', noun='nouns.txt')
mix = dict(type='MixupCutmix', num_classes=dict(verb=2, noun=3))
head = dict(_delete_=True, type='VerbNounHead', num_verbs=2, num_nouns=3)
model = dict(data_preprocessor=dict(batch_augment=mix), head=head, keep_features=True)
num_classes = None
train_dataloader = dict(batch_size=2, dataset=dict(classes=classes))
test_dataloader = dict(dataset=dict(classes=classes))
val_dataloader = test_dataloader
val_evaluator = dict(_delete_=True, type='ActionAccuracy', unseen_participants=['action'])
test_evaluator = [
    dict(type='ActionAccuracy', unseen_participants=['action']),
    dict(type='ClusterMetrics', part='noun'),
    dict(type='KNN', k=1, part='noun', features=['feature', 'video']),
]
train_cfg = dict(max_epochs=1)
""")
    common = ['--data-root', tmp_path, '--cfg-options', *ALONE]
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', *common) == 0
    outputs = ['--dump', tmp_path / 'p.pkl', '--out', tmp_path / 'm.json', '--work-dir', tmp_path / 't']
    assert toys.run_tool('test.py', config, tmp_path / 'w' / 'epoch_1.pth', *outputs, *common) == 0
    metrics = json.loads((tmp_path / 'm.json').read_text())
    assert metrics['action_top1'] == metrics['unseen_action_top1'] and metrics['homogeneity'] == 1
    assert (
        metrics['knn_top1'] == metrics['video_knn_top1'] == 0
    )  # of two clips each has the other's noun for a neighbour
    rows, classes = load_predictions(tmp_path / 'p.pkl')
    assert [row['label'] for row in rows] == [dict(verb=1, noun=0), dict(verb=0, noun=2)]
    assert classes['noun'] == ['cup', 'onion', 'pan'] and rows[0]['feature'].ndim == 1
    assert [list(row['features']) for row in rows] == [['video', 'audio', 'fused'], ['video', 'fused']]  # one is silent
    tools = 'analysis_tools'
    assert toys.run_tool(f'{tools}/cluster_features.py', tmp_path / 'p.pkl', '--part', 'noun') == 0
    sheet = [config, tmp_path / 'p.pkl', tmp_path / 's.png', '--data-root', tmp_path]
    assert toys.run_tool(f'{tools}/plot_predictions.py', *sheet) == 0 and (tmp_path / 's.png').stat().st_size > 0


def write_paper_dataset(folder: Path, dataset: str, clip: Path) -> None:
    """A data root as the paper's configs expect it: one clip, four rows of it in each list."""
    header, rows = 'path,label', [f'{clip},{label}' for label in (0, 1, 0, 1)]
    if dataset == 'epic_kitchens':
        header = 'path,start,end,verb,noun'
        rows = [
            f'{clip},{k * 0.4},{k * 0.4 + 0.8},{verb},{noun}' for k, (verb, noun) in enumerate([(3, 4), (96, 299)] * 2)
        ]
        for part, number in (('verb', 97), ('noun', 300)):
            (folder / f'{part}s.txt').write_text('\n'.join(f'{part} {i}' for i in range(number)) + '\n')
            (folder / f'EPIC_100_tail_{part}s.csv').write_text(f'{part}\n3\n')
    else:
        (folder / 'classes.txt').write_text('\n'.join(f'class {i}' for i in range(309)) + '\n')
    for name in ('train.csv', 'test.csv'):
        (folder / name).write_text('\n'.join([header, *rows]) + '\n')


@pytest.mark.parametrize('dataset', ['vggsound', 'epic_kitchens'])
def test_the_papers_configs_train_and_test(dataset, make_clip, tmp_path):
    """The full MMT's data, augmentation, mixing, losses and five test views, with encoders of two blocks.

    The configs on Kinetics-Sounds are those on VGGSound but for lists and number of classes.
    """
    write_paper_dataset(tmp_path, dataset, make_clip('P18_01.mp4', seconds=2.5, size=(64, 80)))
    parent = toys.ROOT / 'configs' / 'mmt' / f'mmt_k4_l4_avc_imc_{dataset}.py'
    config = tmp_path / 'small.py'
    config.write_text(f"""_base_ = [{str(parent)!r}]
arch = dict(_delete_=True, embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
video = dict(arch=arch, patch_stride=(2, 16, 16), kv_stride=(1, 2, 2))
audio = dict(arch=dict(**arch), patch_stride=(16, 16), q_strides=((1, 2),))
model = dict(pretrained=False, backbones=dict(video=video, audio=audio), neck=dict(embed_dims=16, num_heads=2))
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
param_scheduler = None
""")
    common = ['--data-root', tmp_path, '--cfg-options', *ALONE]
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', *common) == 0
    (scalars,) = (tmp_path / 'w').glob('*/vis_data/scalars.json')
    logged = json.loads(scalars.read_text().splitlines()[0])
    losses = {name: value for name, value in logged.items() if name.startswith('loss')}
    assert set(losses) == {'loss', 'loss_cls', 'loss_avc', 'loss_imc_video', 'loss_imc_audio'}
    assert losses['loss'] == pytest.approx(sum(losses.values()) / 2, rel=1e-5)
    outputs = ['--out', tmp_path / 'm.json', '--work-dir', tmp_path / 't']
    assert toys.run_tool('test.py', config, tmp_path / 'w' / 'epoch_1.pth', *outputs, *common) == 0
    metrics = json.loads((tmp_path / 'm.json').read_text())
    wanted = {'action_top1', 'noun_top5', 'tail_verb_top1', 'unseen_action_top1'}
    assert (wanted if dataset == 'epic_kitchens' else {'top1', 'top5'}) <= set(metrics) and metrics['broken'] == 0
