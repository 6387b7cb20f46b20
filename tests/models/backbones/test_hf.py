"""Encoders of transformers beside transformers itself: tiny random models of every family, in folders it wrote."""

import copy
import json
import math
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models import AVClassifier, AVDataPreprocessor
from mmav.models.backbones import HFBackbone
from mmav.models.backbones.base import Expected, input_shape, layers_of
from mmav.models.backbones.hf_layout import to_input
from mmav.models.weights.hf_weights import load_hf_weights
from mmav.registry import TRANSFORMS
from mmav.structures import AVDataSample, Tokens
from tests.models.hf_families import FAMILIES, frames, waveform

VIT = FAMILIES['vit'].config
HEAD = dict(type='ClsHead', num_classes=3)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Family -> its folder, written when it is first asked for."""
    root, known = tmp_path_factory.mktemp('families'), {}

    def folder(name):
        if name not in known:
            known[name] = str(root / name)
            FAMILIES[name].write(known[name])
        return known[name]

    return folder


@pytest.fixture(scope='module')
def built(folders):
    """Family -> the backbone with the weights of its folder, in evaluation mode; tests do not change it."""
    known = {}

    def build(name):
        if name not in known:
            family = FAMILIES[name]
            parts = dict(type='HFBackbone', model=folders(name), input_size=family.size)
            model = AVClassifier({family.modality: parts}, dict(type='Avg'), HEAD)
            model.init_weights()
            known[name] = model.backbones[family.modality].eval()
        return known[name]

    return build


def normalised(backbone, modality, raw):
    processor = AVDataPreprocessor({modality: 'backbone'})
    processor.take_norms({modality: backbone})
    return processor.normalise(modality, raw[None])[:, 0]


def clip_of(backbone, family):
    """What a user has, and what our pipeline and preprocessor make of it (1, C, *size)."""
    if family.modality == 'video':
        clip = frames(backbone.input_size[0])
        raw = torch.from_numpy(clip).permute(3, 0, 1, 2)[None]
    else:
        step = dict(backbone.expected.front_end)
        if step['type'] == 'Waveform':
            step['target_samples'] = backbone.input_size[0]
        front_end = TRANSFORMS.build(step)
        clip = waveform(front_end.target_frames if front_end.axes == 'T' else 9000)
        raw = torch.from_numpy(front_end.spectrogram(clip))[None, None]
    return clip, normalised(backbone, family.modality, raw)


def theirs(folder, family, clip, *, low=False):
    """What transformers makes of a clip: the input by its processor, and the output of its model."""
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    encoder = whole.get_submodule(family.part)
    if family.modality == 'audio':
        processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        made = processor(clip, sampling_rate=processor.sampling_rate, return_tensors='pt')
    else:
        processor = getattr(transformers, family.processor).from_pretrained(folder)
        kind = dict(videos=clip) if 'VideoProcessor' in family.processor else dict(images=list(clip))
        made = processor(**kind, return_tensors='pt')
    x = made[encoder.main_input_name]
    options = dict(skip_predictor=True) if family.config['model_type'] == 'vjepa2' else {}
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=low):
        return x, encoder(x, **options)


@pytest.mark.parametrize('low', [False, True], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize('name', FAMILIES)
def test_tokens_are_those_of_transformers(name, low, folders, built):
    """From the same frames or samples, each by its own way: input, patches, class embedding.

    Also under autocast: there some processors give other values than float32 has, and both give the same ones.
    """
    family, backbone = FAMILIES[name], built(name)
    clip, x = clip_of(backbone, family)
    near = dict(rtol=2e-2, atol=2e-2) if low else dict(rtol=1e-4, atol=1e-5)
    wanted, output = theirs(folders(name), family, clip, low=low)
    given = to_input(backbone.model, backbone.layout.kind, x)
    torch.testing.assert_close(given, wanted.reshape(given.shape), rtol=1e-5, atol=1e-5)
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=low):
        tokens = backbone(x)
    assert tokens.grid == family.grid and math.prod(tokens.grid) == tokens.patches.shape[1]
    last = output.last_hidden_state
    last = last.flatten(2).transpose(1, 2) if last.dim() == 4 else last
    patches = last[:, family.tokens :].flatten(0, 1)  # of several frames one after another
    if name == 'timesformer':
        patches = patches.unflatten(0, (4, 4)).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(tokens.patches[0].float(), patches.float(), **near)
    pooled = output.get('pooler_output')
    if name in ('vit', 'vivit', 'timesformer'):  # a pooler that is a layer for classification is left out
        pooled = last[:, 0]
    pooled = last.mean(dim=1) if pooled is None else pooled
    torch.testing.assert_close(tokens.cls[0].float(), pooled.float().mean(dim=0), **near)


@pytest.mark.parametrize('name', FAMILIES)
def test_the_grid_says_where_patches_lie(name, built):
    """What changes at one place of the input changes the token there most."""
    backbone = built(name)
    x = torch.randn(1, *input_shape(backbone), generator=torch.Generator().manual_seed(0))
    grid, size = backbone(x).grid, x.shape[2:]
    # of another order of axes it would be another number in the sequence
    place = tuple(n // 2 if n > 20 else (n - 1) * (k % 2 == 0) for k, n in enumerate(grid))
    changed = x.clone()
    cell = tuple(
        slice(round(k * samples / n), round((k + 1) * samples / n))
        for k, n, samples in zip(place, grid, size, strict=True)
    )
    changed[(..., *cell)] += 5
    with torch.inference_mode():
        moved = (backbone(changed).patches - backbone(x).patches).norm(dim=-1)[0]
    found = np.unravel_index(int(moved.argmax()), grid)
    assert all(abs(a - b) <= (n > 20) * 2 for a, b, n in zip(found, place, grid, strict=True)), (found, place)


@pytest.mark.parametrize('name', FAMILIES)
def test_the_contract_of_a_backbone(name, built):
    """Gradients reach what is trained, blocks are layers, clips do not see each other, copies are equal."""
    backbone = copy.deepcopy(built(name))
    x = torch.randn(2, *input_shape(backbone), generator=torch.Generator().manual_seed(0))
    tokens = backbone.train()(x)
    assert isinstance(tokens, Tokens) and tokens.cls.shape == (2, backbone.out_dims)
    (tokens.cls.pow(3).sum() + tokens.patches.pow(3).sum()).backward()
    for key, parameter in backbone.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        # biases of keys have a gradient of zero
        assert reached == parameter.requires_grad or 'k_proj.bias' in key or 'key.bias' in key, key
    layers = layers_of(backbone, backbone.blocks)
    assert len(backbone.blocks) > 1 and {1, len(backbone.blocks)} <= set(layers.values())
    named = dict(backbone.named_parameters())
    assert backbone.no_weight_decay() <= set(named)
    assert {key for key in named if key.endswith(('cls_token', 'position_embeddings'))} <= backbone.no_weight_decay()
    backbone.eval()
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x[1:]).cls, backbone(x).cls[1:], rtol=1e-4, atol=1e-5)
        twin = copy.deepcopy(backbone)
        for parameter in backbone.parameters():
            parameter.mul_(1.01)
        assert not torch.equal(twin(x).cls, backbone(x).cls)
        twin.load_state_dict(backbone.state_dict())
        torch.testing.assert_close(twin(x).cls, backbone(x).cls)


@pytest.mark.parametrize('name', ['wav2vec2', 'timesformer', 'siglip', 'clap'])
def test_init_weights_draws_every_parameter_without_a_file(name):
    family = FAMILIES[name]
    before = torch.get_rng_state()
    backbone = HFBackbone(family.config, family.size, pool='attention' if name == 'siglip' else 'mean')
    assert torch.equal(torch.get_rng_state(), before)
    for parameter in backbone.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    backbone.init_weights()
    assert not any((parameter == 7.0).any() for parameter in backbone.parameters())


def test_a_damaged_folder_is_one_line(folders, tmp_path):
    folder = shutil.copytree(folders('clip'), tmp_path / 'clip')
    weights = folder / 'model.safetensors'
    content = weights.read_bytes()
    for damaged in (content[: len(content) // 2], b'', b'no weights at all'):
        weights.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"clip': cannot read its weights \(.*\)$") as caught:
            HFBackbone(str(folder), (3, 32, 32)).init_weights()
        assert '\n' not in str(caught.value)
    (folder / 'config.json').unlink()
    with pytest.raises(ConfigError, match=r"clip' has no config.json: give the folder that `hf download` or save_pret"):
        HFBackbone(str(folder), (3, 32, 32))


def test_weights_of_a_folder_are_counted_and_can_be_left_out(folders, caplog):
    parts = dict(type='HFBackbone', model=folders('clip'), input_size=(3, 32, 32))
    model = AVClassifier(dict(video=parts), dict(type='Avg'), HEAD)
    drawn = model.backbones['video'].model.state_dict()['embeddings.class_embedding'].clone()
    saved = safetensors.torch.load_file(f'{folders("clip")}/model.safetensors')
    model.init_weights()
    state = model.backbones['video'].model.state_dict()
    theirs = {key.removeprefix('vision_model.'): value for key, value in saved.items() if 'vision_model' in key}
    assert len(theirs) >= len(state) > 30
    assert not torch.equal(drawn, state['embeddings.class_embedding'])
    for key, value in state.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=0)
    scratch = AVClassifier(dict(video=parts), dict(type='Avg'), HEAD, pretrained=False)
    scratch.init_weights()
    other = scratch.backbones['video'].model.state_dict()
    assert not torch.equal(other['embeddings.class_embedding'], state['embeddings.class_embedding'])
    assert HFBackbone(folders('clip'), pretrained=False).init_cfg is None


def test_frozen_and_with_lora_it_computes_the_same_and_trains_little(folders, built):
    parts = dict(type='HFBackbone', model=folders('vit'), input_size=(3, 32, 32))
    x = torch.randn(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for tuning in (dict(freeze='all'), dict(freeze=1), dict(lora=dict(rank=2))):
        model = AVClassifier(dict(video=dict(parts, **tuning)), dict(type='Avg'), HEAD)
        model.init_weights()
        encoder = model.train().backbones['video']
        torch.testing.assert_close(encoder(x).cls, built('vit')(x).cls)
        trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        assert all('lora' in tuning or 'layers.0' not in name for name in trained)
        assert all('lora_' in name for name in trained) == ('freeze' not in tuning or tuning['freeze'] == 'all')
        assert bool(trained) == (tuning != dict(freeze='all'))
    drawn = AVClassifier(dict(video=dict(parts, model=VIT, lora=dict(rank=2))), dict(type='Avg'), HEAD)
    drawn.init_weights()


def test_a_saved_encoder_is_one_of_transformers(built, tmp_path):
    built('vit').save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    torch.testing.assert_close(again.state_dict(), built('vit').model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('name', 'embedding', 'wanted'),
    [
        ('clip', 'token', lambda out: out.last_hidden_state[:, 0]),
        ('clip', 'mean', lambda out: out.last_hidden_state[:, 1:].mean(dim=1)),
        ('vit', 'pooler', lambda out: out.pooler_output),
        ('ast', 'token', lambda out: out.last_hidden_state[:, :2].mean(dim=1)),
        ('dinov2_registers', 'mean', lambda out: out.last_hidden_state[:, 4:].mean(dim=1)),
    ],
)
def test_the_embedding_can_be_chosen(name, embedding, wanted, folders):
    family = FAMILIES[name]
    backbone = HFBackbone(folders(name), family.size, embedding=embedding).eval()
    load_hf_weights(backbone, folders(name))
    x = torch.randn(1, *input_shape(backbone), generator=torch.Generator().manual_seed(0))
    whole = transformers.AutoModel.from_pretrained(folders(name)).eval()
    with torch.inference_mode():
        output = whole.get_submodule(family.part)(to_input(backbone.model, backbone.layout.kind, x))
        torch.testing.assert_close(backbone(x).cls[0], wanted(output).mean(dim=0))
        frozen = [key for key, parameter in backbone.named_parameters() if not parameter.requires_grad]
    # what such an embedding does not depend on is not trained
    assert any('post_layernorm' in key for key in frozen) == (name == 'clip')


def test_positions_of_images_are_resized_where_transformers_can():
    small, large = HFBackbone(VIT), HFBackbone(VIT, (2, 48, 64))
    large.load_state_dict(small.state_dict())
    x = torch.randn(1, 3, 2, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        tokens = large.eval()(x)
        images = x[0].transpose(0, 1)
        wanted = small.model.eval()(images, interpolate_pos_encoding=True).last_hidden_state
    assert tokens.grid == (2, 3, 4)
    torch.testing.assert_close(tokens.patches[0], wanted[:, 1:].flatten(0, 1))


def test_what_trains_speech_models_elsewhere_is_off_until_asked_for():
    config = dict(FAMILIES['wav2vec2'].config, mask_time_prob=0.5, mask_time_length=2)
    config |= dict(attention_dropout=0.0, activation_dropout=0.0, hidden_dropout=0.0, feat_proj_dropout=0.0)
    quiet, loud = (HFBackbone(config, (800,), config=more) for more in (None, dict(apply_spec_augment=True)))
    loud.load_state_dict(quiet.state_dict())
    assert quiet.model.config.layerdrop == 0 and not quiet.model.config.apply_spec_augment
    x = torch.randn(1, 1, 800, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quiet.train()(x).cls, quiet.eval()(x).cls)
    assert not torch.equal(loud.train()(x).cls, quiet(x).cls)


def test_blocks_are_computed_again(built):
    model = AVClassifier(dict(video=dict(type='HFBackbone', model=VIT)), dict(type='Avg'), HEAD).train()
    plain = copy.deepcopy(model)
    levels = turn_on_activation_checkpointing(model, True)
    assert len(levels) == 2 and all('layer' in name for name in levels)
    x, samples = dict(video=torch.randn(1, 1, 3, 2, 32, 32)), [AVDataSample().set_gt_label(1)]
    for each in (plain, model):
        each.eval().backbones['video'].blocks[0].train()
        each(x, samples, mode='loss')['loss_cls'].backward()
    for (name, p), q in zip(plain.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=name)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(model=dict(model_type='vitt')), r"model.model_type='vitt': .* no such model, did you mean 'vit'"),
        (dict(model=dict(hidden_size=8)), r'model.model_type=None: transformers has no such model, see its'),
        (dict(model=dict(VIT, hiden_size=8)), r"model.hiden_size: unknown, ViTConfig .* mean 'hidden_size'"),
        (dict(model=dict(VIT, hidden_act='rellu')), r'cannot be built: '),
        (dict(model=3), r'model=3: give a folder, a name of the hub, or a dict with model_type$'),
        (dict(model='./nowhere'), r"^'./nowhere' is no folder: give one that holds config.json, or a name of the hub"),
        (
            dict(model='a/b'),
            (
                r"^'a/b': cannot get its config.json from the hub \(.*\); where there is a connection, `hf download "
                r'a/b --local-dir DIR`, and give that folder instead of the name$'
            ),
        ),
        (dict(model=dict(model_type='bert')), r'^model: BertModel reads text; HFBackbone takes encoders of'),
        (dict(model=VIT, pretrained=True), r'^pretrained=True: HFBackbone has only a dict, which has no'),
        (dict(model=VIT, embedding='cls'), r"^embedding='cls' is unknown: choose auto, token, mean or pooler$"),
        (dict(model=VIT, input_size=(32, 32)), r'^ViTModel reads images: give input_size=\(T, H, W\), got \(32'),
        (dict(model=VIT, pool='max'), r"^pool='max' is unknown: choose mean or attention"),
        (dict(model=VIT, part='encoder'), r"^part='encoder': ViTModel has no parts$"),
        (dict(model=VIT, config=dict(image_sise=32)), r'^config.image_sise: unknown, ViTConfig has no such entry'),
        (
            dict(model=FAMILIES['videomae'].config, input_size=(8, 32, 32)),
            r'^VideoMAEModel does not take inputs of size \(8, 32, 32\) \(.*\); its config is made for \(4, 32, 32\)$',
        ),
        (dict(model=FAMILIES['videomae'].config, pool='attention'), r"^pool='attention' has no effect: Video"),
        (dict(model=FAMILIES['videomae'].config, embedding='token'), r"^embedding='token': VideoMAEModel has no"),
        (dict(model=FAMILIES['wav2vec2'].config, embedding='pooler'), r"^embedding='pooler': Wav2Vec2Model has"),
        (dict(model=FAMILIES['pe_video'].config), r'^PeVideoEncoder does not say what size of images it'),
        (dict(model=VIT, processor=dict(do_normalise=True)), r'^processor.do_normalise: unknown'),
        (dict(model=VIT, processor=dict(image_mean='a')), r"^processor.image_mean='a': give a number, or one for each"),
        (dict(model=VIT, processor=dict(image_std=[1, 1])), r'^processor.image_std=\[1, 1\]: give a number, or one'),
        (dict(model=VIT, processor=[1]), r'^processor=\[1\]: give a dict of entries to change$'),
        (dict(model=VIT, config=[1]), r'^config=\[1\]: give a dict of entries to change$'),
        (dict(model=VIT, input_size=32), r'^input_size=32: give \(T, H, W\) of clips, .*, whole numbers above 0$'),
        (dict(model=VIT, input_size=(4, -32, 32)), r'^input_size=\(4, -32, 32\): give \(T, H, W\) of clips'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(arguments, message, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(ConfigError, match=message) as caught:
        HFBackbone(**arguments)
    assert '\n' not in str(caught.value)


def test_inputs_of_another_size_are_refused(built):
    backbone = built('vit')
    assert backbone(torch.zeros(1, 3, 5, 32, 32)).grid == (5, 2, 2)  # of any number of frames
    with pytest.raises(ConfigError, match=r'takes inputs of shape \(3, any, 32, 32\), got \(3, 5, 32, 40\): set its'):
        backbone(torch.zeros(1, 3, 5, 32, 40))
    assert built('hubert')(torch.zeros(1, 1, 900)).grid == (89,)
    with pytest.raises(ConfigError, match=r'takes inputs of shape \(1, any\), got \(1, 16, 900\)'):
        built('hubert')(torch.zeros(1, 1, 16, 900))


def test_of_several_encoders_one_must_be_named():
    pe = {name: FAMILIES[f'pe_{name}'].config for name in ('audio', 'video')}
    joint = dict(pe['video']['video_config'], audio_config=pe['audio']['audio_config'])
    joint = {**joint, 'video_config': pe['video']['video_config']}
    joint.pop('vision_config')
    model = dict(model_type='pe_audio_video', text_config=pe['audio']['text_config'], audio_video_config=joint)
    with pytest.raises(
        ConfigError,
        match=r"^model: PeAudioVideoModel has several encoders; name one: part='audio_model.audio_encoder' or",
    ):
        HFBackbone(model)
    backbone = HFBackbone(model, (800,), part='audio_model.audio_encoder')
    assert backbone(torch.zeros(1, 1, 800)).grid == (100,)
    assert HFBackbone(model, (4, 32, 32), part='video_model.video_encoder').out_dims == 16


def test_a_processor_that_is_missing_can_be_stated(folders, tmp_path):
    folder = shutil.copytree(folders('vit'), tmp_path / 'vit')
    (folder / 'preprocessor_config.json').unlink()
    with pytest.raises(
        ConfigError, match=r'preprocessor_config.json .*; or state the normalisation by processor=dict\('
    ) as caught:
        HFBackbone(str(folder))
    assert '\n' not in str(caught.value)
    stated = HFBackbone(str(folder), processor=dict(image_mean=[0.5], image_std=[0.25]))
    assert stated.expected == Expected(dict(mean=[127.5], std=[63.75]), size=(None, 32, 32))
    speech = shutil.copytree(folders('wav2vec2'), tmp_path / 'speech')
    (speech / 'preprocessor_config.json').unlink()
    with pytest.raises(ConfigError, match=r'cannot read its preprocessor_config.json'):
        HFBackbone(str(speech))


def test_a_class_of_a_processor_says_what_its_file_leaves_out(folders, tmp_path):
    folder = shutil.copytree(folders('vit'), tmp_path / 'vit')
    file = folder / 'preprocessor_config.json'
    file.write_text(json.dumps(dict(image_processor_type='ViTImageProcessor')))
    assert HFBackbone(str(folder)).expected.norm == dict(mean=[127.5] * 3, std=[127.5] * 3)
    file.write_text(json.dumps(dict(image_processor_type='A', do_normalize=True)))
    with pytest.raises(ConfigError, match=r'its processor does not say how images are normalised; give processor=dict'):
        HFBackbone(str(folder))


def test_what_is_imported_on_the_way_is_not_made_on_the_meta_device(monkeypatch):
    """A module of torchaudio holds a tensor; on the meta device, AST's own extractor could not be used any more."""
    monkeypatch.delitem(sys.modules, 'torchaudio.compliance.kaldi', raising=False)
    HFBackbone(FAMILIES['ast'].config)
    assert sys.modules['torchaudio.compliance.kaldi'].EPSILON.device.type == 'cpu'


def test_without_transformers_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ConfigError, match=r'^HFBackbone needs transformers, .*: pip install transformers$'):
        HFBackbone(VIT)
