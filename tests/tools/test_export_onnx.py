import json

import numpy as np
import torch

from mmav.apis import AVInferencer
from mmav.deployment.onnx_export import open_session
from tests.apis.models import config, write_model
from tests.toys import run_tool

TOOL = 'deployment/export_onnx.py'


def test_from_a_checkpoint_to_the_same_answers_on_files(clip, silent, tmp_path, capsys):
    files = write_model(tmp_path, config())
    out = tmp_path / 'new' / 'mmt.onnx'
    assert run_tool(TOOL, *files, '--out', out) == 0
    printed = capsys.readouterr().out
    assert 'input  audio_mask    bool' in printed and 'largest difference from PyTorch: ' in printed
    description = json.loads(out.with_suffix('.json').read_text())
    assert description['checkpoint'] == 'model.pth' and description['config'] == str(files[0])
    inferencer = AVInferencer(*files, device='cpu', show_progress=False)
    items = [inferencer.read(str(path)) for path in (clip, silent)]
    given = {m: torch.stack([item['inputs'][m][0] for item in items]).numpy() for m in ('video', 'audio')}
    given |= {f'{m}_mask': np.array([bool(item['masks'][m]) for item in items]) for m in ('video', 'audio')}
    assert given['audio_mask'].tolist() == [True, False]
    (scores,) = open_session(str(out)).run(['probabilities'], given)
    for result, ours in zip(inferencer([str(clip), str(silent)], topk=None), scores, strict=True):
        theirs = {description['classes'][i]: float(p) for i, p in enumerate(ours)}
        for prediction in result['predictions']:
            assert abs(theirs[prediction['label']] - prediction['score']) < 1e-4


def test_mistakes_are_one_line(tmp_path, capsys):
    cfg, checkpoint = write_model(tmp_path, config())
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'head.fcs.fused.weight': torch.zeros(2, 2)}), other)
    (tmp_path / 'file').touch()
    out = ['--out', tmp_path / 'm.onnx', '--no-check']
    for arguments, message in (
        (['nowhere.py', checkpoint, *out], "error: no config file 'nowhere.py'\n"),
        ([cfg, 'nowhere.pth', *out], "error: no checkpoint 'nowhere.pth'"),
        ([cfg, other, *out], '1 of another shape (head.fcs.fused.weight (2, 2) for (4, 32))'),
        ([cfg, checkpoint, *out, '--drop', 'sound'], "error: cannot drop 'sound': the model reads "),
        ([cfg, checkpoint, '--out', tmp_path / 'm.txt'], 'the name has to end in .onnx'),
        ([cfg, checkpoint, '--no-check', '--out', tmp_path / 'file' / 'm.onnx', '--drop', 'audio'], 'cannot write'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        captured = capsys.readouterr().err
        assert message in captured and captured.count('\n') == 1
    assert not list(tmp_path.glob('m.*onnx'))
