"""Training on features is training with frozen encoders and no augmentation: the same losses, for all parts."""

import copy

import pytest
import torch

from mmav.config.check import check_config, find_problems
from mmav.datasets.features import FeatureStore, write_features
from mmav.engine.building import BuildingRunner
from mmav.engine.features.encoders import load_encoders
from mmav.engine.features.twin import find_split, make_twin
from mmav.errors import ConfigError, FeatureError
from mmav.registry import MODELS
from tests.engine.features.conftest import extract_all

STEPS = 20
BOTTLENECK = dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_tokens=2, num_heads=2, init_std=0.3)
VERB_NOUN = dict(type='VerbNounHead', num_verbs=2, num_nouns=3)
AVC = dict(type='AVCLoss', loss_weight=0.25)
AST = dict(
    model_type='audio-spectrogram-transformer', hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, patch_size=8, num_mel_bins=16, max_length=32, hidden_dropout_prob=0.5,
)  # fmt: skip
OF_OTHERS = dict(
    video=dict(type='TimmBackbone', model_name='test_resnet', input_size=(4, 16, 16), freeze='all'),  # with BatchNorm
    audio=dict(type='HFBackbone', model=AST, freeze='all'),
)
CASES = dict(
    sequential=dict(neck=BOTTLENECK, contrast=[AVC], modality_dropout=dict(video=0.3, audio=0.3)),
    average=dict(neck=dict(BOTTLENECK, update='average', token_grids=dict(video=(1, 2, 2), audio=(1, 3)))),
    merged=dict(neck=dict(type='MergedAttention', embed_dims=16, num_blocks=1, num_heads=2), contrast=['ALLoss']),
    avg=dict(neck=dict(type='Avg')),
    concat=dict(neck=dict(type='Concat'), head=VERB_NOUN, contrast=[AVC]),
    of_others=dict(neck=dict(BOTTLENECK, token_grids=dict(audio=(1, 2))), backbones=OF_OTHERS),
    several=dict(neck=dict(type='Concat'), head=dict(type='MultiLabelHead', num_classes=3), contrast=[AVC]),
    two_views=dict(neck=dict(type='Concat'), contrast=['IMCLoss', 'IMALLoss', AVC], views=2),
)


def configure(cfg, case):
    """The config of a case, without augmentation: the training pipeline is the test pipeline."""
    cfg.model.neck = case['neck']
    cfg.model.backbones = case.get('backbones', cfg.model.backbones)
    cfg.model.head = case.get('head', cfg.model.head)
    losses = [each if isinstance(each, dict) else dict(type=each) for each in case.get('contrast', ())]
    if losses:
        cfg.model.contrast = dict(type='ContrastiveHead', embed_dims=8, losses=losses)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipeline = cfg.test_pipeline
        if case.get('views'):
            pipeline = [
                dict(pipeline[0], num_views=2),
                pipeline[1],
                dict(type='AudioViews', num_views=2),
                *pipeline[2:],
            ]
        cfg[loader].dataset.pipeline = copy.deepcopy(pipeline)
        if case.get('head', {}).get('type') == 'MultiLabelHead':
            cfg[loader].dataset.update(ann_file='several.csv', multi_label=True)
        elif 'head' in case:
            cfg[loader].dataset.update(ann_file='actions.csv', classes=dict(verb=['u', 'v'], noun=['x', 'y', 'z']))
    if 'modality_dropout' in case:
        cfg.train_dataloader.dataset.modality_dropout = case['modality_dropout']
    return cfg


class Remembering:
    """A pipeline without randomness, which reads each clip once."""

    def __init__(self, pipeline):
        self.pipeline, self.known = pipeline, {}

    def __call__(self, results):
        key = (results['sample_idx'], results['dropout'])
        if key not in self.known:
            self.known[key] = self.pipeline(results)
        return self.known[key]


def losses_of(cfg, model):
    """The losses of training by the engine's data loader, sampler and seeds, and one step of AdamW after each."""
    loader = BuildingRunner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=3)
    loader.dataset.pipeline = Remembering(loader.dataset.pipeline)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    found, epoch = [], 0
    while len(found) < STEPS:
        loader.dataset.set_epoch(epoch)
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            data = model.data_preprocessor(batch, training=True)
            losses = model(**data, mode='loss')
            total = sum(value for name, value in losses.items() if 'loss' in name)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            found.append([float(losses[name].detach()) for name in sorted(losses) if 'loss' in name])
        epoch += 1
    return torch.tensor(found[:STEPS], dtype=torch.float64)


@pytest.fixture
def folder(clips_folder):
    rows = (clips_folder / 'train.csv').read_text().splitlines()[1:]
    actions = [f'{path},{int(label) % 2},{label}' for path, label in (row.split(',') for row in rows)]
    (clips_folder / 'actions.csv').write_text('path,verb,noun\n' + '\n'.join(actions))
    several = [f'{path},{label}|{(int(label) + 1) % 3}' for path, label in (row.split(',') for row in rows[:-1])]
    (clips_folder / 'several.csv').write_text('path,label\n' + '\n'.join([*several, rows[-1].split(',')[0] + ',']))
    return clips_folder


@pytest.mark.parametrize('name', CASES)
def test_losses_are_those_of_frozen_encoders(name, cfg, folder, tmp_path):
    cfg = configure(cfg, CASES[name])
    live = load_encoders(cfg, None)
    extract_all(cfg, tmp_path, model=live)
    if 'backbones' in CASES[name]:
        live.train()  # in which freeze='all' leaves its encoders in eval mode
    for part in (live.neck, live.head, live.contrast):
        if part is not None:
            part.train().requires_grad_(True)
    twin = copy.deepcopy(cfg)
    assert make_twin(twin, str(tmp_path)) == []
    check_config(twin)
    cached = MODELS.build(twin.model).train()
    assert all(not list(backbone.parameters()) for backbone in cached.backbones.values())
    rest = {key: value.clone() for key, value in live.state_dict().items() if not key.startswith('backbones.')}
    cached.load_state_dict(rest)
    expected = losses_of(cfg, live)
    torch.testing.assert_close(losses_of(twin, cached), expected, rtol=0, atol=1e-6)
    assert expected[0].sum() != expected[-1].sum()  # it does learn


@pytest.mark.parametrize('drop', [(), ('audio',)])
def test_predictions_are_those_of_the_encoders(drop, cfg, extracted):
    twin = copy.deepcopy(cfg)
    make_twin(twin, str(extracted.folder))
    cached = MODELS.build(twin.model).eval()
    cached.load_state_dict({k: v for k, v in extracted.model.state_dict().items() if not k.startswith('backbones.')})
    found = []
    for config, model in ((cfg, extracted.model.eval()), (twin, cached)):
        config.test_dataloader.dataset.drop = list(drop)
        with torch.inference_mode():
            samples = [s for b in BuildingRunner.build_dataloader(config.test_dataloader) for s in model.test_step(b)]
        found.append(samples)
    assert len(found[0]) == len(found[1]) == 4
    for one, other in zip(*found, strict=True):
        assert (one.path, one.start, one.end, one.sample_idx, one.broken) == (
            other.path, other.start, other.end, other.sample_idx, other.broken)  # fmt: skip
        assert one.gt_label == other.gt_label
        if one.broken is None:
            torch.testing.assert_close(one.pred_score, other.pred_score, rtol=0, atol=1e-6)
    assert [sample.broken is None for sample in found[0]] == [True, True, True, False]


def test_what_the_config_loses_is_said(cfg, extracted):
    cfg.model.data_preprocessor.batch_augment = dict(type='MixupCutmix', num_classes=3)
    cfg.activation_checkpointing = 'lean'
    cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', trained_only=True))
    cfg.train_dataloader.num_workers = 2
    lost = ['RandomFlip', 'MixupCutmix', 'activation_checkpointing', 'trained_only of checkpoints']
    assert make_twin(cfg, str(extracted.folder)) == lost
    assert cfg.default_hooks == dict(checkpoint=dict(type='CheckpointHook'))  # or it would be refused in training
    assert cfg.train_dataloader.num_workers == 0
    assert cfg.val_dataloader.dataset.features == str(extracted.folder / 'test')
    assert list(find_problems(cfg)) == []


def test_settings_without_effect_are_refused(cfg, extracted):
    for name in ('model.backbones.video.freeze', 'train_dataloader.dataset.pipeline.0.num_frames'):
        with pytest.raises(ConfigError, match=f'--cfg-options {name} has no effect with --features'):
            make_twin(copy.deepcopy(cfg), str(extracted.folder), options=[name])


def test_other_encoders_are_refused(cfg, extracted):
    cfg.model.backbones.video.init_std = 0.5  # of another network, as far as anybody can tell
    with pytest.raises(FeatureError, match=r'of other encoders.*backbones.video.init_std was 0.3, is 0.5'):
        make_twin(cfg, str(extracted.folder))


def test_what_matters_in_training_alone_may_differ(cfg, extracted):
    cfg.model.backbones.video.drop_path_rate = 0.1
    cfg.model.backbones.audio = None
    cfg.model.neck = dict(type='Avg')
    make_twin(cfg, str(extracted.folder))
    assert list(cfg.model.backbones) == ['video']
    assert cfg.train_dataloader.dataset.modalities == ['video']


def test_fewer_tokens_than_the_neck_reads_are_refused(cfg, tmp_path):
    for split in ('train', 'test'):
        features = {name: torch.zeros(4, 1, 1, 16) for name in ('video', 'audio')}
        write_features(tmp_path / split, features, dict(label=[0] * 4), classes=dict(label=['x', 'y', 'z']))
    twin = copy.deepcopy(cfg)
    cfg.train_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = str(tmp_path)
    make_twin(twin, str(tmp_path))  # made elsewhere: nobody knows of other tokens
    store = FeatureStore(tmp_path / 'train')
    assert store.stored('video').encoder_grid is None


def test_class_embeddings_alone_are_refused_for_a_neck_that_reads_tokens(cfg, extracted, tmp_path):
    extract_all(copy.deepcopy(cfg), tmp_path, model=extracted.model, tokens='cls')
    with pytest.raises(ConfigError, match=r'reads video tokens, all of .*holds only class embeddings: give the neck'):
        make_twin(copy.deepcopy(cfg), str(tmp_path))
    cfg.model.neck.token_grids = dict(video=(0,), audio=(0,))
    make_twin(cfg, str(tmp_path))


def test_the_split_of_a_loader(cfg, extracted, tmp_path):
    assert find_split(cfg, str(extracted.folder), 'val_dataloader') == extracted.folder / 'test'
    assert find_split(cfg, str(extracted.folder / 'train'), 'train_dataloader') == extracted.folder / 'train'
    with pytest.raises(FeatureError, match=r'no features for train_dataloader \(no features at all\)'):
        find_split(cfg, str(tmp_path), 'train_dataloader')
    with pytest.raises(FeatureError, match=r'for test_dataloader.*--split test'):
        find_split(cfg, str(extracted.folder / 'train'), 'test_dataloader')


def test_features_of_the_test_set_alone_are_enough_to_test(cfg, extracted, tmp_path):
    """The config that is left has nothing of training, which MMEngine would miss the rest of."""
    (tmp_path / 'test').symlink_to(extracted.folder / 'test')
    make_twin(cfg, str(tmp_path), loaders=['test_dataloader'])
    assert cfg.train_dataloader is None and cfg.optim_wrapper is None
    check_config(cfg)


def test_without_the_manifest_the_stored_clips_are_used(cfg, extracted):
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = '/nowhere'
    cfg.model.head.num_classes = 'auto'
    make_twin(cfg, str(extracted.folder))
    assert 'ann_file' not in cfg.train_dataloader.dataset
    loader = BuildingRunner.build_dataloader(cfg.train_dataloader)
    assert len(loader.dataset) == 6
    assert loader.dataset.metainfo['classes'] == ('x', 'y', 'z')
