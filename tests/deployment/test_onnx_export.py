"""Exported models against PyTorch: every registered backbone, neck and head, in few exports."""

import json

import numpy as np
import onnx
import pytest
import torch

from mmav.apis import AVInferencer
from mmav.deployment import onnx_export
from mmav.deployment.onnx_export import export_graph, export_onnx, measure_difference, open_session
from mmav.errors import MmavError
from mmav.models.necks import Avg
from mmav.registry import MODELS
from tests import resnet
from tests.inference.models import AUDIO, BOTTLENECK, CLASSES, VIDEO, config, write_model

PLAIN = dict(embed_dims=16, num_layers=1, num_heads=2, init_std=0.5)
VIT = dict(type='ViT', input_size=(4, 32, 32), patch_kernel=(2, 16, 16), patch_stride=(2, 16, 16), **PLAIN)
AST = dict(type='AST', input_size=(16, 200), **PLAIN)
HIERA = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))
TIMM = dict(type='TimmBackbone', input_size=(4, 32, 32))
FUSION = dict(embed_dims=16, num_blocks=1, num_heads=2)
VERB_NOUN = dict(type='VerbNounHead', num_verbs=3, num_nouns=5)
VIDEOMAE = dict(model_type='videomae', image_size=32, num_frames=4, hidden_size=16, num_hidden_layers=1)
VIDEOMAE |= dict(num_attention_heads=2, intermediate_size=16, initializer_range=0.5)
MODELS_OF = dict(
    mmt=(dict(VIDEO, attention='tiled'), dict(AUDIO, attention='flex'), BOTTLENECK, None),
    mbt=(VIT, AST, dict(BOTTLENECK, update='average'), VERB_NOUN),
    late=(VIT, AST, dict(type='Avg'), None),
    concat=(VIT, AST, dict(type='Concat'), None),
    merged=(VIT, AST, dict(type='MergedAttention', **FUSION), None),
    outside=(dict(resnet.VIDEO, input_size=(4, 32, 32)), AST, BOTTLENECK, None),
    conv=(
        dict(type='ConvEncoder', input_size=(4, 32, 32), widths=(8, 16)),
        dict(type='ConvEncoder', input_size=(16, 200), in_channels=1, widths=(8, 16)),
        dict(type='Avg'),
        None,
    ),
    hiera=(
        dict(type='Hiera', arch=HIERA, input_size=(4, 32, 32)),
        dict(type='Hiera', arch=HIERA, input_size=(16, 200), in_channels=1),
        dict(type='Concat'),
        None,
    ),
    frames=(
        dict(type='PerFrame', backbone=dict(VIT, input_size=(32, 32), patch_kernel=(16, 16), patch_stride=(16, 16))),
        dict(type='TimmBackbone', model_name='test_convnext', input_size=(16, 200), model_args=dict(output_stride=8)),
        dict(type='Concat'),
        None,
    ),
    timm=(
        dict(TIMM, model_name='test_resnet'),
        dict(TIMM, model_name='test_vit', input_size=(16, 200), model_args=dict(patch_size=8)),
        BOTTLENECK,
        None,
    ),
    transformers=(dict(type='HFBackbone', model=VIDEOMAE), AST, dict(type='Avg'), None),
    several=(VIT, AST, BOTTLENECK, dict(type='MultiLabelHead', num_classes=len(CLASSES))),
    sound=(None, dict(AUDIO, input_size=(16, 120), cls_token=False, attention='triton'), dict(type='Avg'), None),
)


def make(tmp_path, video, audio, neck, head=None, **options):
    backbones = {name: part for name, part in dict(video=video, audio=audio).items() if part}
    cfg = config(tuple(backbones), head=head, **options)
    cfg.model['backbones'], cfg.model['neck'] = backbones, neck  # update() would merge them
    classes = dict(verb=['a', 'b', 'c'], noun=list('vwxyz')) if head == VERB_NOUN else CLASSES
    return AVInferencer(*write_model(tmp_path, cfg, classes=classes), device='cpu', show_progress=False)


def test_every_registered_part_is_exported_here():
    MODELS.import_from_location()
    used = {part['type'] for parts in MODELS_OF.values() for part in parts if part} | {'ClsHead'}
    ours = {
        name
        for name, part in MODELS.module_dict.items()
        if part.__module__.startswith(('mmav.models.backbones.', 'mmav.models.necks.', 'mmav.models.heads.'))
    }
    assert ours - used == {'ContrastiveHead'}  # of training only


@pytest.mark.parametrize('name', MODELS_OF)
def test_onnxruntime_says_what_pytorch_says(name, tmp_path):
    inferencer = make(tmp_path, *MODELS_OF[name])
    description = export_onnx(inferencer, tmp_path / 'new' / 'm.onnx', notes=dict(config='c.py'))
    data = (tmp_path / 'new' / 'm.onnx').read_bytes()
    session = open_session(data)
    batch = 4
    generator = torch.Generator().manual_seed(3)
    video = torch.randint(0, 256, (batch, 3, 4, 32, 32), dtype=torch.uint8, generator=generator)
    audio = torch.randn(batch, 1, 16, 200, generator=generator) * 4.5 - 5
    masks = dict(video=torch.tensor([True, True, False, False]), audio=torch.tensor([True, False, True, False]))
    given = {m: x for m, x in dict(video=video, audio=audio).items() if m in inferencer.modalities}
    with torch.inference_mode():
        scaled = dict(video=(video.float() - 115) / 57, audio=(audio + 5) / 4.5)
        used = masks if len(given) > 1 else None
        expected = inferencer.model({m: scaled[m][:, None] for m in given}, masks=used)
    if used:
        given |= {f'{m}_mask': mask for m, mask in masks.items()}
    found = session.run(None, {key: value.numpy() for key, value in given.items()})
    names = ['probabilities'] if len(expected) == 1 else list(expected)
    assert [output.name for output in session.get_outputs()] == names
    for ours, theirs in zip(expected.values(), found, strict=True):
        assert ours[0].max() - ours[0].min() > 0.1  # the weights tell something
        assert used is None or (ours[0] - ours[1]).abs().max() > 1e-3
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4, rtol=0)
    assert description == json.loads((tmp_path / 'new' / 'm.json').read_text())
    assert 0 <= description['check']['max_abs_difference'] <= 1e-4
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load_from_string(data).metadata_props}
    assert metadata['config'] == 'c.py' and metadata['preprocessing'] == description['preprocessing']
    assert [output['name'] for output in description['outputs']] == names
    lists = {part: list(each) for part, each in inferencer.classes.items()}
    assert metadata['classes'] == (lists if len(lists) > 1 else lists['label'])


def test_a_dropped_modality_is_no_input_and_its_encoder_is_left_out(tmp_path, monkeypatch):
    inferencer = make(tmp_path, VIT, AST, BOTTLENECK)
    description = export_onnx(inferencer, tmp_path / 'm.onnx', drop=['audio'])
    assert [value['name'] for value in description['inputs']] == ['video'] and description['dropped'] == ['audio']
    assert 'audio' not in description['preprocessing']
    names = [weight.name for weight in onnx.load(tmp_path / 'm.onnx').graph.initializer]
    assert names and not [name for name in names if 'backbones.audio' in name]
    # the comparison does compare: other weights, and it fails and leaves the file alone
    before = (tmp_path / 'm.onnx').read_bytes()
    graph, clip = export_graph(inferencer)
    with torch.no_grad():
        inferencer.model.head.fcs['fused'].bias[0] += 1
    with pytest.raises(MmavError, match='cannot run the exported model on 1 clips'):  # it knows no audio
        measure_difference(before, graph, clip)
    difference = measure_difference(before, *export_graph(inferencer, ['audio']))
    assert difference > 1e-3
    monkeypatch.setattr(onnx_export, '_trace', lambda *args: onnx.load_from_string(before))
    with pytest.raises(MmavError, match=r'differ by .* in a probability, more than 0\.0001: nothing was written'):
        export_onnx(inferencer, tmp_path / 'other.onnx', drop=['audio'])
    assert not list(tmp_path.glob('other*'))


class Fourier(Avg):
    """A neck that ONNX has no operator for."""

    def forward(self, tokens, masks=None):
        return {
            name: torch.linalg.eigvals(x[:, None] * x[..., None]).real for name, x in super().forward(tokens).items()
        }


def test_mistakes(tmp_path, monkeypatch):
    inferencer = make(tmp_path, None, AST, dict(type='Avg'))
    out = tmp_path / 'm.onnx'
    for options, message in (
        (dict(drop=['audoi']), "cannot drop 'audoi': the model reads audio, did you mean 'audio'"),
        (dict(drop=['audio']), 'dropping audio leaves the model nothing'),
        (dict(opset=12), 'opset 12 is none of 17 to 20'),
        (dict(out=tmp_path / 'm.pt'), r'm\.pt.: the name has to end in \.onnx'),
    ):
        with pytest.raises(MmavError, match=message):
            export_onnx(inferencer, **{'out': out, **options})
    inferencer.model.neck = Fourier(inferencer.model.neck.out_dims)
    with pytest.raises(MmavError, match=r'^this model \(AST, Fourier\) cannot be exported to ONNX: .*linalg_eigvals'):
        export_onnx(inferencer, out)
    monkeypatch.setattr(onnx_export.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(MmavError, match='onnx and onnxruntime not installed: pip install -r requirements/optional.txt'):
        export_onnx(inferencer, out)
    assert not list(tmp_path.glob('m.onnx'))


def test_logits_of_several_views_cannot_be_averaged_outside(tmp_path):
    inferencer = make(tmp_path, VIDEO, None, dict(type='Avg'), views=2)
    inferencer.model.view_average = 'logits'
    with pytest.raises(MmavError, match="view_average='logits' cannot be done with the probabilities"):
        export_onnx(inferencer, tmp_path / 'm.onnx')
    assert not list(tmp_path.glob('m.onnx'))
