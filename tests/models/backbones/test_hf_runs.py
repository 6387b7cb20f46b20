"""Encoders of transformers in the whole library: trained, resumed, tested, used on a file, exported, looked into."""

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmav.analysis.complexity import count_model
from mmav.analysis.grad_cam.clips import look
from mmav.analysis.grad_cam.figure import draw_cam_figure
from mmav.analysis.grad_cam.pictures import CamRow
from mmav.apis import AVInferencer
from mmav.config.check import check_config
from mmav.datasets import av_collate
from mmav.deployment.onnx_export import export_onnx
from mmav.engine.memory.plan import plan_step
from mmav.engine.runner import AVRunner
from mmav.errors import ConfigError, MmavError
from mmav.models import Backbone
from mmav.models.backbones import HFBackbone
from mmav.registry import DATASETS, MODELS
from mmav.structures import Tokens
from mmav.visualization.grad_cam import GradCAM
from tests.inference.models import write_model
from tests.models.hf_families import FAMILIES

# every family: one of audio with some of video, which tell their tokens side by side
GROUPS = {
    'ast': ('videomae', 'hiera'),
    'wav2vec2': ('clip', 'vit'),
    'hubert': ('vjepa2',),
    'wavlm': ('vivit',),
    'whisper': ('timesformer', 'siglip', 'dinov2'),
    'clap': ('pe_video',),
    'pe_audio': ('dinov2_registers',),
}
WAVEFORMS = ('wav2vec2', 'hubert', 'wavlm', 'pe_audio')


@MODELS.register_module()
class SideBySide(Backbone):
    """Several backbones that read the same clips; the widths of their tokens are joined.

    Args:
        parts: Their configs.
    """

    def __init__(self, parts):
        built = [MODELS.build(part) for part in parts]
        super().__init__(built[0].input_size, built[0].in_channels, sum(part.out_dims for part in built))
        self.parts = nn.ModuleList(built)
        self.expected = built[0].expected

    @classmethod
    def expected_of(cls, arguments):
        return HFBackbone.expected_of(arguments['parts'][0])

    def forward(self, x):
        cls = torch.cat([part(x).cls for part in self.parts], dim=1)
        return Tokens(cls, cls[:, None], (1, 1, 1))


def test_every_family_is_in_a_group():
    assert {*GROUPS, *(name for group in GROUPS.values() for name in group)} == set(FAMILIES)


def config(root, clip, audio, videos, **model):
    """The config of a user: a manifest of one clip, the front end and norm of the encoders."""
    (root / 'all.csv').write_text('path,label\n' + f'{clip},a\n{clip},b\n')
    (root / 'classes.txt').write_text('a\nb\n')
    for name in (audio, *videos):
        if not (root / name).exists():
            FAMILIES[name].write(str(root / name))
    parts = {
        name: dict(type='HFBackbone', model=str(root / name), input_size=FAMILIES[name].size)
        for name in (audio, *videos)
    }
    for name in videos:
        parts[name]['input_size'] = (4, 32, 32)
    step = dict(HFBackbone.expected_of(parts[audio]).front_end)
    if step['type'] == 'Waveform':
        step['target_samples'] = FAMILIES[audio].size[0]
    pipeline = [
        dict(type='LoadClip', num_frames=4, mode='uniform', short_side=36, window=1.0),
        dict(type='CenterCrop', size=32),
        step,
        dict(type='PackAVInputs'),
    ]
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    loader |= dict(collate_fn=dict(type='av_collate'))
    dataset = dict(type='AVDataset', ann_file=str(root / 'all.csv'), classes=str(root / 'classes.txt'))
    dataset |= dict(pipeline=pipeline)
    video = parts[videos[0]] if len(videos) == 1 else dict(type='SideBySide', parts=[parts[name] for name in videos])
    return Config(
        dict(
            default_scope='mmav',
            model=dict(
                type='AVClassifier',
                data_preprocessor=dict(type='AVDataPreprocessor', norm=dict(video='backbone', audio='backbone')),
                backbones=dict(video=video, audio=parts[audio]),
                neck=dict(type='Concat'),
                head=dict(type='ClsHead', num_classes=2),
                **model,
            ),
            train_dataloader=dict(**loader, dataset=dataset),
            test_dataloader=dict(**loader, dataset=dict(**dataset, test_mode=True)),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
            train_cfg=dict(max_epochs=1),
            test_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            work_dir=str(root / 'work'),
            log_level='ERROR',
        )
    )


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tmp_path_factory.mktemp('hf')


@pytest.mark.parametrize(('audio', 'videos'), GROUPS.items())
def test_frozen_it_is_trained_resumed_tested_used_and_exported(audio, videos, root, tmp_path, clip):
    cfg = config(root, clip, audio, videos)
    for part in cfg.model.backbones.values():
        part['freeze'] = 'all'
    check_config(cfg)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), audio
    AVRunner.from_cfg(cfg).train()
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    cfg.train_cfg.max_epochs = 2
    cfg.experiment_name = f'{audio} again'
    cfg.resume = True
    second = AVRunner.from_cfg(cfg)
    second.train()
    after = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['state_dict']
    assert saved.keys() == after.keys()
    changed = {key for key in saved if not torch.equal(saved[key], after[key])}
    assert changed and all(key.startswith('head.') for key in changed)
    assert second.test()['top1'] == 0.5  # of one clip with two labels
    inferencer = AVInferencer(cfg, str(tmp_path / 'epoch_2.pth'), device='cpu', show_progress=False)
    assert inferencer(str(clip))[0]['predictions'][0]['label'] in ('a', 'b')
    if 'dinov2_registers' in videos:  # its positions are resized by an operator that ONNX does not have
        told = r'^this model \(HFBackbone, HFBackbone, Concat\) cannot be exported to ONNX: Exporting the operator'
        with pytest.raises(MmavError, match=told):
            export_onnx(inferencer, tmp_path / 'm.onnx')
        return
    audio_input = export_onnx(inferencer, tmp_path / 'm.onnx')['preprocessing']['audio']
    assert audio_input['layout'] == ('B, 1, T' if audio in WAVEFORMS else 'B, 1, F, T')
    assert audio_input['normalised_in_graph']['std'] == ([6.0] if audio == 'ast' else [1.0])


@pytest.mark.parametrize(('audio', 'videos'), GROUPS.items())
def test_unfrozen_each_encoder_learns(audio, videos, root, clip):
    cfg = config(root, clip, audio, videos)
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = model.data_preprocessor(av_collate([dataset[0], dataset[1]]), training=True)
    sum(model(**data, mode='loss').values()).backward()
    learned = {name.split('model.')[0] for name, value in model.named_parameters() if value.grad is not None}
    assert len({name for name in learned if name.startswith('backbones.')}) == 1 + len(videos)


@pytest.mark.parametrize(('name', 'modality'), [('wavlm', 'audio'), ('videomae', 'video')])
def test_operations_and_memory_are_counted(name, modality):
    part = dict(type='HFBackbone', model=FAMILIES[name].config, input_size=FAMILIES[name].size)
    model = dict(type='AVClassifier', backbones={modality: part}, neck=dict(type='Avg'))
    model['head'] = dict(type='ClsHead', num_classes=3)
    cost = count_model(model)[0]
    backbone = MODELS.build(part)
    assert cost.parameters == sum(parameter.numel() for parameter in backbone.parameters()) and cost.explicit > 0
    loader = dict(batch_size=2, dataset=dict(type='AVDataset', pipeline=[dict(type='LoadClip')]))
    optimizer = dict(optimizer=dict(type='AdamW', lr=1e-3))
    plan = plan_step(Config(dict(model=model, train_dataloader=loader, optim_wrapper=optimizer)))
    assert plan.peak_bytes > plan.parts['weights'] >= 4 * cost.parameters


def test_grad_cam_of_mean_tokens_and_a_line_for_class_tokens(root, clip):
    cfg = config(root, clip, 'hubert', ('vjepa2',))
    inferencer = AVInferencer(*write_model(root, cfg, classes=('a', 'b')), device='cpu', show_progress=False)
    seen = look(inferencer, str(clip))
    data = inferencer.model.data_preprocessor(av_collate([seen.item]))
    maps = GradCAM(inferencer.model)(data['inputs'])
    assert maps['audio'].shape == (1, 1, 8000) and maps['video'].shape == (1, 1, 4, 32, 32)
    assert all(values.max() == 1 and values.min() < 1 for values in maps.values())
    row = CamRow('hubert', spectrogram=seen.item['inputs']['audio'][0, 0].numpy(), axes=seen.sound)
    row = row._replace(sound_cam=maps['audio'][0, 0].numpy())
    draw_cam_figure([row], root / 'cam.png')
    with Image.open(root / 'cam.png') as picture:
        assert len(set(picture.convert('L').getdata())) > 50
    cfg = config(root, clip, 'hubert', ('vivit',))
    model = MODELS.build(cfg.model)
    with pytest.raises(ConfigError, match=r'tokens that HFBackbone returns for video, only on its class embedding'):
        GradCAM(model)(data['inputs'])
