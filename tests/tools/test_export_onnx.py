import json

import numpy as np
import onnxruntime

from mmav.apis import AVInferencer
from tests.inference.models import config, write_model
from tests.toys import run_tool

TOOL = 'deployment/export_onnx.py'


def test_exported_file_says_of_a_clip_what_the_inferencer_says(clip, tmp_path, capsys):
    path, checkpoint = write_model(tmp_path, config())
    assert run_tool(TOOL, path, checkpoint, '--out', tmp_path / 'out' / 'm.onnx') == 0
    assert 'largest difference from PyTorch' in capsys.readouterr().out
    description = json.loads((tmp_path / 'out' / 'm.json').read_text())
    inferencer = AVInferencer(path, checkpoint, show_progress=False)
    item = inferencer.read(clip)
    feeds = {name: value.numpy() for name, value in item['inputs'].items()}
    feeds |= {f'{name}_mask': mask[None].numpy() for name, mask in item['masks'].items()}
    (scores,) = onnxruntime.InferenceSession(str(tmp_path / 'out' / 'm.onnx')).run(None, feeds)
    best = inferencer(clip)[0]['predictions'][0]
    assert description['classes'][scores[0].argmax()] == best['label']
    assert np.isclose(scores[0].max(), best['score'], atol=1e-4)


def test_mistakes_are_one_line_and_leave_no_file(tmp_path, capsys):
    path, checkpoint = write_model(tmp_path, config())
    out = ['--out', tmp_path / 'm.onnx']
    for arguments, message in (
        ([path, tmp_path / 'no.pth', *out], "no checkpoint '"),
        ([path, checkpoint, *out, '--drop', 'sound'], "cannot drop 'sound'"),
        ([path, checkpoint, '--out', tmp_path / 'm.pt'], 'has to end in .onnx'),
        ([path, checkpoint, *out, '--opset', 9], 'opset 9 is none of'),
        ([tmp_path / 'no.py', checkpoint, *out], 'no config file'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('m.*onnx'))
