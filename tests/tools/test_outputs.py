"""No tool takes the place of a file that is not its own, and each says so, or that it cannot write, before its work."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from mmav.errors import OutputError
from mmav.evaluation import predictions
from mmav.evaluation.predictions import load_predictions, save_predictions
from mmav.preparation.avsynth import generate
from tests.toys import ROOT, run_tool, write_config

CONFIG = ROOT / 'configs/mmt/mmt_tiny_avsynth.py'
DUMP = ['nothing.pkl']
AN, DEMO = 'analysis_tools', ['../demo/av_demo.py', '--config', CONFIG, '--checkpoint', 'nothing.pth']
# a tool, its arguments before the file that it writes, and how that ends; what is read is not there: nothing is read
# before the file is asked for
FILES = [
    (f'{AN}/analyze_logs.py', ['nowhere', '--out'], '.png'),
    (f'{AN}/analyze_logs.py', ['nowhere', '--json'], '.json'),
    (f'{AN}/average_predictions.py', [*DUMP, '--out'], '.json'),
    (f'{AN}/average_predictions.py', [*DUMP, '--dump'], '.pkl'),
    (f'{AN}/benchmark_attention.py', [CONFIG, '--json'], '.json'),
    (f'{AN}/benchmark_data.py', [CONFIG, '--json'], '.json'),
    (f'{AN}/benchmark_inference.py', [CONFIG, 'nothing.pth', '--json'], '.json'),
    (f'{AN}/benchmark_model.py', [CONFIG, '--json'], '.json'),
    (f'{AN}/browse_dataset.py', [CONFIG, '--data-root', 'nowhere', '--out'], '.png'),
    (f'{AN}/cluster_features.py', [*DUMP, '--out'], '.json'),
    (f'{AN}/compare_peers.py', ['--cases', 'memory', '--json'], '.json'),
    (f'{AN}/find_thresholds.py', [*DUMP, '--out'], '.json'),
    (f'{AN}/get_flops.py', [CONFIG, '--json'], '.json'),
    (f'{AN}/plot_embeddings.py', [*DUMP, '--out'], '.pdf'),
    (f'{AN}/plot_embeddings.py', [*DUMP, '--json'], '.json'),
    (f'{AN}/plot_predictions.py', [CONFIG, *DUMP], '.jpg'),
    ('data/audio_stats.py', [CONFIG, '--data-root', 'nowhere', '--json'], '.json'),
    ('data/avsynth/make_avsynth.py', ['new', '--sheet'], '.png'),
    ('submit.py', ['csv', *DUMP, '--out'], '.csv'),
    ('model_converters/convert_weights.py', ['nothing.pth'], '.pth'),
    ('model_converters/merge_checkpoints.py', ['nothing.pth', '--out'], '.pth'),
    ('model_converters/merge_lora.py', [CONFIG, 'nothing.pth', '--out'], '.pth'),
]
# likewise of a folder, and the name of a file in it
FOLDERS = [
    (f'{AN}/analyze_errors.py', [*DUMP, '--out'], 'confusion.png'),
    (f'{AN}/analyze_errors.py', [*DUMP, '--out'], 'classes.csv'),
    (f'{AN}/compare_predictions.py', ['a.pkl', 'b.pkl', '--out'], 'report.json'),
    (f'{AN}/evaluate_features.py', ['nowhere', 'nothing.pkl', '--out'], 'evaluation.json'),
    (f'{AN}/grad_cam.py', [CONFIG, 'nothing.pth', '--score', '--out'], 'scores.json'),
    (DEMO[0], [*DEMO[1:], 'nothing.avi', '--out-dir'], 'predictions.json'),
    (DEMO[0], [*DEMO[1:], 'mine.avi', '--out-dir'], 'mine.mp4'),
]


def refused(capsys, tool, *arguments) -> str:
    assert run_tool(tool, *arguments) == 2
    # progress bars of the little that comes before
    lines = [line for line in capsys.readouterr().err.splitlines() if line and '/s]' not in line]
    assert len(lines) == 1 and lines[0].startswith('error: '), lines
    return lines[0]


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    monkeypatch.setattr('benchmarks.peers.require_peers', lambda cases: None)


@pytest.mark.parametrize(('tool', 'arguments', 'suffix'), FILES)
def test_files(tmp_path, capsys, tool, arguments, suffix):
    out = tmp_path / f'mine{suffix}'
    out.write_bytes(b'mine')
    assert 'is there and was not written by' in refused(capsys, tool, *arguments, out)
    assert out.read_bytes() == b'mine'
    assert 'Not a directory' in refused(capsys, tool, *arguments, out / f'x{suffix}')
    (tmp_path / f'folder{suffix}').mkdir()
    assert 'it is a folder' in refused(capsys, tool, *arguments, tmp_path / f'folder{suffix}')
    message = refused(capsys, tool, *arguments, tmp_path / 'x.jsn')
    assert 'x.jsn' in message and ('has to end in' in message or 'end it in .png' in message or '.png' in message)
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f'folder{suffix}'}


@pytest.mark.parametrize(('tool', 'arguments', 'name'), FOLDERS)
def test_folders(tmp_path, capsys, tool, arguments, name):
    out = tmp_path / 'out'
    out.mkdir()
    (out / name).write_bytes(b'mine')
    assert f"{name}' is there and was not written by" in refused(capsys, tool, *arguments, out)
    assert (out / name).read_bytes() == b'mine' and [path.name for path in out.iterdir()] == [name]
    for place in (out / name, out / name / 'deep'):
        message = refused(capsys, tool, *arguments, place)
        assert 'is a file' in message or 'Not a directory' in message


def test_inputs(tmp_path, capsys):
    rows = [dict(path='a', start=None, end=None, label=0, scores=np.ones(2), broken=None, sample_idx=0)]
    save_predictions(tmp_path / 'a.pkl', rows)
    before = (tmp_path / 'a.pkl').read_bytes()
    os.link(tmp_path / 'a.pkl', tmp_path / 'b.pkl')
    for name in ('a.pkl', 'b.pkl'):
        message = refused(capsys, f'{AN}/average_predictions.py', 'a.pkl', '--dump', name)
        assert f"'{name}' is read by this command and would be lost" in message
    assert (tmp_path / 'a.pkl').read_bytes() == before
    # a model's description stands beside it
    (tmp_path / 'net.json').write_bytes(b'mine')
    (tmp_path / 'net.pth').write_bytes(b'mine')
    tool = ['deployment/export_onnx.py', CONFIG, 'net.pth', '--no-check', '--out', 'net.onnx']
    assert "net.json' is there and was not written by" in refused(capsys, *tool)


def test_the_same_command_again(tmp_path, capsys):
    rows = [dict(path='a', start=None, end=None, label=0, scores=np.ones(2), broken=None, sample_idx=0)]
    save_predictions(tmp_path / 'a.pkl', rows)
    for _ in range(2):
        assert run_tool(f'{AN}/average_predictions.py', 'a.pkl', '--out', 'm.json', '--dump', 'b.pkl') == 0
    capsys.readouterr()
    # another tool does not
    assert 'was written by average_predictions.py' in refused(
        capsys, f'{AN}/analyze_logs.py', 'nowhere', '--json', 'm.json'
    )


def test_metrics_are_shown_whatever_becomes_of_the_predictions(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    assert run_tool('train.py', config, '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=1') == 0

    def full(path, data):
        raise OutputError(f"cannot write '{path}': No space left on device")

    monkeypatch.setattr(predictions, 'write_output', full)
    options = ['--work-dir', 't', '--out', 'm.json', '--dump', 'p.pkl']
    capsys.readouterr()
    assert run_tool('test.py', config, 'w/epoch_1.pth', *options) == 2
    captured = capsys.readouterr()
    assert 'top1: ' in captured.out and json.loads((tmp_path / 'm.json').read_text())['top1'] >= 0
    assert captured.err.endswith("error: cannot write 'p.pkl': No space left on device\n")

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for wrong in (['--out', 'toy.py'], ['--dump', 'p.json'], ['--out', 'toy.py/m.json'], ['--dump', 'w/epoch_1.pth']):
        assert run_tool('test.py', config, 'w/epoch_1.pth', '--work-dir', 't2', *wrong) == 2
    assert not (tmp_path / 't2').exists()


def test_the_config_itself_is_not_replaced_by_its_copy(tmp_path):
    config = write_config(tmp_path)
    before = config.read_text()
    for _ in range(2):
        options = ['--cfg-options', 'train_cfg.max_epochs=1', 'default_hooks.checkpoint.interval=9']
        assert run_tool('train.py', config, '--work-dir', tmp_path, *options) == 0
    assert config.read_text() == before
    assert 'max_epochs=1' in next(tmp_path.glob('*/toy.py')).read_text().replace(' ', '')


def test_a_work_dir_that_cannot_be_made(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)
    (tmp_path / 'work_dirs').write_text('')
    for tool, arguments in (('train.py', []), ('test.py', [config])):
        message = refused(capsys, tool, config, *arguments)
        assert message.endswith('give a folder for logs and checkpoints with --work-dir'), message
    assert 'work_dirs/av_demo' in refused(capsys, DEMO[0], config, *DEMO[1:])
    assert 'work_dirs' in refused(capsys, f'{AN}/browse_dataset.py', CONFIG)
    assert 'with --work-dir' in refused(capsys, f'{AN}/run_ablation.py', '--page', '')
    assert 'with --work-dir' in refused(capsys, 'demo.py')


def test_training_replaces_no_checkpoints_of_others(tmp_path, capsys):
    config = write_config(tmp_path)
    (tmp_path / 'w').mkdir()
    for name in ('epoch_1.pth', 'averaged_epoch_1-4.pth'):
        (tmp_path / 'w' / name).write_bytes(b'mine')
        assert 'which no training wrote there' in refused(capsys, 'train.py', config, '--work-dir', 'w')
        assert (tmp_path / 'w' / name).read_bytes() == b'mine'
        (tmp_path / 'w' / name).unlink()
    common = ['--work-dir', 'v', '--cfg-options', 'train_cfg.max_epochs=1']
    for _ in range(2):  # its own it does
        assert run_tool('train.py', config, *common) == 0
    capsys.readouterr()
    message = refused(capsys, 'train.py', config, *common, 'load_from=v/epoch_1.pth')
    assert "load_from='v/epoch_1.pth' lies in the work dir and may be replaced" in message


def test_a_demo_deletes_no_checkpoints_of_others(tmp_path, capsys):
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / 'epoch_3.pth').write_bytes(b'mine')
    # as a demo of a version without records left it
    (tmp_path / 'w' / 'summary.json').write_bytes(b'mine')
    for name in ('summary.json, epoch_3.pth', 'epoch_3.pth'):
        message = refused(capsys, 'demo.py', '--work-dir', 'w', '--data-root', 'd')
        assert f"'w' holds {name}, which this demo did not write" in message
        assert "move the folder away, or give another folder with --work-dir (make demo ARGS='" in message
        (tmp_path / 'w' / 'summary.json').unlink(missing_ok=True)
    assert os.listdir(tmp_path / 'w') == ['epoch_3.pth']


def test_a_refused_file_of_a_folder_names_the_option(tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'predictions.json').write_bytes(b'mine')
    message = refused(capsys, DEMO[0], 'mine.avi', *DEMO[1:], '--out-dir', 'out')
    assert message.endswith('give another one with --out-dir, or move the file away')


def test_check_media(tmp_path, capsys, clip):
    shutil.copy(clip, tmp_path / 'a.mp4')
    (tmp_path / 'train.csv').write_text('path,label\na.mp4,dog\n')
    for name in ('train_clean.csv', 'check_report.csv', 'check_report.json'):
        (tmp_path / name).write_bytes(b'mine')
        assert f"{name}' is there and was not" in refused(capsys, 'data/check_media.py', tmp_path, '--jobs', 1)
        assert (tmp_path / name).read_bytes() == b'mine'
        (tmp_path / name).unlink()
    (tmp_path / 'check_journal.jsonl').write_bytes(b'mine')
    assert 'is not the journal of an earlier run' in refused(capsys, 'data/check_media.py', tmp_path, '--jobs', 1)
    (tmp_path / 'check_journal.jsonl').unlink()
    # a folder that cannot be written to
    message = refused(capsys, 'data/check_media.py', tmp_path, '--out', tmp_path / 'train.csv')
    assert 'is a file: give another one with --out' in message
    for _ in range(2):
        assert run_tool('data/check_media.py', tmp_path, '--jobs', 1) == 0


def test_prepare_media(tmp_path, capsys, clip):
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.mkdir()
    new.mkdir()
    shutil.copy(clip, old / 'a.mp4')
    (old / 'train.csv').write_text('path,label\na.mp4,dog\n')
    (old / 'classes.txt').write_text('dog\n')
    tool = ['data/prepare_media.py', old, new, '--jobs', 1, '--short-side', 16]
    for name in ('a.mp4', 'train.csv', 'classes.txt', 'prepare_failed.csv'):
        (new / name).write_bytes(b'mine')
        assert f"{name}' is there and was not" in refused(capsys, *tool)
        assert (new / name).read_bytes() == b'mine'
        (new / name).unlink()
    # by way of a link the new file would be the old one
    (new / 'a.mp4').symlink_to(old / 'a.mp4')
    assert "is the source 'a.mp4' itself" in refused(capsys, *tool)
    (new / 'a.mp4').unlink()
    for options in ([], [], ['--crf', 30, '--force']):
        assert run_tool(*tool, *options) == 0
    assert (old / 'a.mp4').read_bytes() == clip.read_bytes() != (new / 'a.mp4').read_bytes()


def test_prepared_lists(tmp_path, capsys):
    (tmp_path / 'clips').mkdir()
    (tmp_path / 'clips' / 'glLQrEijrKg_000300.mp4').write_bytes(b'x')
    (tmp_path / 'test.csv').write_text('glLQrEijrKg_000300.mp4,playing hammond organ\n')
    # the official list, in the folder that the manifests go to
    tool = ['data/vggsound/prepare_vggsound.py', 'test.csv', '--clips', 'clips', '--out', '.']
    before = (tmp_path / 'test.csv').read_bytes()
    assert "test.csv' is there and was not written by" in refused(capsys, *tool)
    assert (tmp_path / 'test.csv').read_bytes() == before and not (tmp_path / 'classes.txt').exists()
    for _ in range(2):
        assert run_tool(*tool[:-1], 'new') == 0
    with (tmp_path / 'new' / 'test.csv').open('a') as file:
        file.write('mine.mp4,mine\n')
    capsys.readouterr()
    assert "test.csv' is there and was changed since" in refused(capsys, *tool[:-1], 'new')


def test_avsynth(tmp_path, capsys):
    generate(tmp_path / 'd', train=16, val=16, test=16, size=32, seconds=1, jobs=1, progress=False)
    (tmp_path / 'file').write_bytes(b'mine')
    assert 'Not a directory' in refused(capsys, 'data/avsynth/make_avsynth.py', 'file/deep')
    assert 'is a file: give a folder' in refused(capsys, 'data/avsynth/make_avsynth.py', 'file')


def test_dumps_are_read_again(tmp_path):
    rows = [dict(path='a\udcff', start=None, end=None, label=0, scores=np.ones(2), broken=None, sample_idx=0)]
    save_predictions(tmp_path / 'a.pkl', rows)
    assert load_predictions(tmp_path / 'a.pkl')[0][0]['path'] == 'a\udcff'
