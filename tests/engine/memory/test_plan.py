"""The memory that the paper's configs take, counted on fake tensors; equal blocks are counted once a process."""

import copy

import pytest
import torch
from mmengine.config import Config

from mmav.config.edits import training_views
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.memory.budget import setting
from mmav.engine.memory.fake_gpu import backward, fake_gpu
from mmav.engine.memory.plan import GIB, _Step, plan_step
from mmav.errors import ConfigError
from tests import resnet
from tests.toys import ROOT

SMALL = 'mat/mat_tiny_avsynth.py'


def config(name):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    if cfg.get('num_classes') == 'auto':
        cfg.merge_from_dict(dict(num_classes=10, model=dict(head=dict(num_classes=10))))
    return cfg


@pytest.fixture(scope='module')
def flagship():
    return config('mmt/mmt_k4_l4_vggsound.py')


@pytest.fixture(scope='module')
def flagship_plan(flagship):
    return plan_step(flagship, dtype='bfloat16', gpus=8)


def whole_step(cfg, checkpointing, dtype='bfloat16'):
    """The peak, and the operations, of a step that is run as a whole, block by block."""
    with fake_gpu():
        step = _Step(cfg, None, dtype, 1)
        turn_on_activation_checkpointing(step.model, checkpointing)
        with step.meter:
            loss = step._loss()
            start = [(loss, torch.empty_like(loss))]
            del loss
            backward(start)
    return step.meter


def test_the_flagships_share_of_a_gpu(flagship, flagship_plan):
    """8 clips of 2 views, both encoders, fusion, head, losses, optimizer, as the config stands."""
    plan = flagship_plan
    assert flagship.get('activation_checkpointing') is None
    assert (plan.batch_size, training_views(flagship)) == (8, dict(video=2, audio=2))
    assert plan.needed <= 30 * GIB, plan.needed / GIB
    assert set(plan.levels.values()) == {'lean'} and len(plan.blocks) == 24 + 24 + 4 * 2
    weights = plan.parts['weights']
    assert plan.parts['optimizer'] == pytest.approx(2 * weights, rel=1e-3) and plan.parts['buckets'] > 0.99 * weights
    assert sum(plan.parts.values()) == plan.peak_bytes
    assert plan.extra < 0.01


def test_equal_to_the_whole_step(flagship, flagship_plan):
    whole = whole_step(flagship, 'lean')
    beside = flagship_plan.parts['buckets'] + flagship_plan.parts['optimizer']
    assert flagship_plan.peak_bytes - beside == pytest.approx(whole.peak, rel=0.001)
    assert flagship_plan.macs == whole.macs and flagship_plan.extra == whole.again / whole.macs


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_all_levels_are_equal_to_the_whole_step(dtype):
    cfg = config(SMALL)
    levels = [f'backbones.audio.blocks.{number}' for number in range(4)]
    asked = dict(lean=levels[1], attention=levels[2], full=levels[3])
    plan, whole = plan_step(cfg, dtype=dtype, checkpointing=asked), whole_step(cfg, asked, dtype)
    assert list(plan.levels.values()) == ['all', 'lean', 'attention', 'full']
    assert plan.peak_bytes - plan.parts['optimizer'] == pytest.approx(whole.peak, rel=0.01)
    assert plan.macs == whole.macs and plan.extra == whole.again / whole.macs


def test_a_head_of_any_number_of_labels():
    cfg = config(SMALL)
    one = plan_step(cfg)
    loss = dict(type='BCELoss', class_weight='balanced')  # which no training clips have set
    cfg.model.head = dict(type='MultiLabelHead', num_classes=cfg.model.head.num_classes, loss=loss)
    assert plan_step(cfg).peak_bytes == pytest.approx(one.peak_bytes, rel=0.01)


def test_frozen_parts_take_less_memory():
    """The first two of four blocks frozen, with LoRA in the others; and everything frozen."""

    def tuned(**options):
        cfg = config(SMALL)
        cfg.merge_from_dict(dict(model=dict(backbones=dict(audio=options))))
        return cfg

    plain, none = (plan_step(cfg, dtype='bfloat16') for cfg in (config(SMALL), tuned(freeze='all')))
    cfg = tuned(freeze=2, lora=dict(rank=4))
    part, whole = plan_step(cfg, dtype='bfloat16', checkpointing=False), whole_step(cfg, False)
    assert part.peak_bytes - part.parts['optimizer'] == pytest.approx(whole.peak, rel=0.001)
    assert part.macs == whole.macs and none.macs < part.macs < plain.macs
    assert [block.kept > 0 for block in part.blocks] == [False, False, True, True]
    assert not any(block.kept for block in none.blocks) and none.others < plain.others
    assert none.peak_bytes < 0.5 * plain.peak_bytes
    assert none.parts['optimizer'] < 0.02 * plain.parts['optimizer']
    assert part.parts['optimizer'] < 0.2 * plain.parts['optimizer']
    assert none.parts['weights'] == plain.parts['weights'] < part.parts['weights']


def test_dropped_tokens_take_less_memory():
    cfg = config(SMALL)
    cfg.model.backbones.audio.update(arch=dict(embed_dims=32, num_layers=1, num_heads=1, stage_blocks=()), q_strides=())
    plain = plan_step(cfg, dtype='bfloat16')
    cfg.model.backbones.audio.token_drop = dict(axes=(0.0, 0.5))
    half, whole = plan_step(cfg, dtype='bfloat16'), whole_step(cfg, 'lean')
    assert half.peak_bytes - half.parts['optimizer'] == pytest.approx(whole.peak, rel=0.01)
    assert half.macs == whole.macs < 0.5 * plain.macs
    for dropped, block in zip(half.blocks, plain.blocks, strict=True):
        assert dropped.kept < 0.6 * block.kept


def test_mat_takes_what_the_paper_says():
    """16.8 GB for 64 spectrograms: 0.26 GiB for each, weights and optimizer included."""
    cfg = config('mat/mat_base_vggsound.py')
    clips = 64 // training_views(cfg)['audio']
    lean = plan_step(cfg, batch_size=clips, dtype='bfloat16')
    assert lean.peak_bytes / 64 <= 0.26 * GIB, lean.peak_bytes / 64 / GIB
    full = plan_step(cfg, batch_size=clips, dtype='bfloat16', checkpointing=True)
    assert full.peak_bytes / 64 <= 0.1 * GIB, full.peak_bytes / 64 / GIB


# One config for each pair of encoders of the paper's size, with its neck and the most clips a GPU has of it: what has
# one encoder takes less. tests/test_configs.py finds out whether one is missing.
PLANNED = (
    'cav_mae/cav_mae_ft_vggsound.py',
    'mbt/mbt_b_vggsound.py',
    'mbt/mbt_recipe_audioset20k.py',
    'mmt/mmt_avg_vggsound.py',
    'mmt/mmt_concat_vggsound.py',
    'mmt/mmt_k4_l4_crema_d.py',
    'mmt/mmt_k4_l4_no_mat_vggsound.py',
    'mmt/mmt_k4_l4_token_drop_vggsound.py',
    'mmt/mmt_k4_l4_vggsound.py',
    'mmt/mmt_k4_merged_vggsound.py',
)


@pytest.mark.parametrize('name', PLANNED)
def test_every_config_of_the_paper_fits(name):
    plan = plan_step(config(name), dtype='bfloat16', gpus=8)
    assert plan.needed <= 40 * GIB, f'{plan.needed / GIB:.1f} GiB'


def test_a_plan_for_a_small_gpu():
    cfg = config(SMALL)
    free, least = (plan_step(cfg, batch_size=256, checkpointing=level) for level in ('lean', True))
    memory = (free.needed + least.needed) // 2
    plan = plan_step(cfg, batch_size=256, gpu_memory=memory)
    assert plan.fits and plan.needed <= memory
    assert free.extra < plan.extra < least.extra
    # what the plan says is what its levels take
    asked = dict(lean=True) | {
        level: [name for name, own in plan.levels.items() if own == level] for level in ('attention', 'full')
    }
    counted = plan_step(cfg, batch_size=256, checkpointing=asked)
    assert counted.peak_bytes == plan.peak_bytes and counted.extra == plan.extra
    tight = plan_step(cfg, batch_size=256, gpu_memory=round(1.01 * GIB))
    assert not tight.fits and tight.peak_bytes <= least.peak_bytes


def test_processes_averages_and_spread_weights():
    cfg = config(SMALL)
    one = plan_step(cfg)
    weights = one.parts['weights']
    buckets = plan_step(cfg, gpus=8).parts['buckets']  # in one piece: the weights' own are rounded up
    assert 0.95 * weights < buckets <= weights
    cfg.custom_hooks = [dict(type='EMAHook')]
    assert plan_step(cfg).peak_bytes - one.peak_bytes == weights
    cfg.custom_hooks, cfg.fsdp = [], True
    eighth = plan_step(cfg, gpus=8)
    assert eighth.parts['optimizer'] == one.parts['optimizer'] // 8 and eighth.parts['weights'] < weights
    assert plan_step(cfg, gpus=1).peak_bytes == one.peak_bytes


def test_a_module_without_blocks_that_is_computed_again():
    cfg = config(SMALL)
    asked = dict(lean=True, full='backbones.audio.patch_embed')
    plan, whole = plan_step(cfg, checkpointing=asked), whole_step(cfg, asked, 'float32')
    assert plan.macs == whole.macs and plan.extra == whole.again / whole.macs
    assert plan.peak_bytes - plan.parts['optimizer'] == pytest.approx(whole.peak, rel=0.01)
    assert setting(plan) == dict(lean=True, full=['backbones.audio.patch_embed'])


def test_a_model_without_blocks(monkeypatch):
    monkeypatch.setattr('mmav.engine.memory.plan.BLOCKS', ())
    monkeypatch.setattr('mmav.engine.memory.count.BLOCKS', ())
    plan = plan_step(config(SMALL), gpu_memory=2 * GIB)
    assert plan.fits and not plan.blocks and setting(plan) == {}


def test_a_network_from_outside():
    """torchvision's ResNet: its activations are counted, and its layers can be recomputed as a whole."""
    cfg = config(SMALL)
    cfg.model.backbones = dict(video=dict(resnet.VIDEO))
    kept, again = (plan_step(cfg, dtype='float32', checkpointing=value) for value in (None, True))
    assert kept.whole == [] and again.whole == [f'backbones.video.blocks.{k}' for k in range(4)]
    assert again.extra > 0.1 and again.others < kept.others
    for plan, value in ((kept, False), (again, True)):
        whole = whole_step(cfg, value, 'float32')
        assert plan.macs == whole.macs and plan.peak_bytes - plan.parts['optimizer'] == pytest.approx(
            whole.peak, rel=0.01
        )


def test_nothing_is_left_behind():
    state = torch.get_rng_state()
    plan_step(config(SMALL))
    assert torch.equal(torch.get_rng_state(), state)


def test_mistakes():
    cfg = config(SMALL)
    for options, message in (
        (dict(compile=True), 'compile: the compiler decides what is kept'),
        ({'train_dataloader.batch_size': 0}, '^0 clips on each GPU: give 1 to 100000'),
        ({'model.backbones.audio.attention': 'flex'}, "^attention='flex' is compiled on a GPU"),
    ):
        wrong = copy.deepcopy(cfg)
        wrong.merge_from_dict(options)
        with pytest.raises(ConfigError, match=message):
            plan_step(wrong)
    with pytest.raises(ConfigError, match="dtype='half': choose one of float32, bfloat16, float16"):
        plan_step(cfg, dtype='half')
    with pytest.raises(ConfigError, match=r"model.type='ToyModel': memory can only be planned for an AVClassifier"):
        plan_step(Config(dict(model=dict(type='ToyModel'))))


def test_attention_of_our_own_on_a_gpu():
    """Triton's operator, of which PyTorch knows what we have told it, keeps no bias."""
    cfg = config(SMALL)
    folded = plan_step(cfg, dtype='bfloat16', checkpointing=False)
    cfg.model.backbones.audio.attention = 'triton'
    plan, whole = plan_step(cfg, dtype='bfloat16', checkpointing=False), whole_step(cfg, False)
    assert plan.peak_bytes - plan.parts['optimizer'] == pytest.approx(whole.peak, rel=0.01)
    assert plan.peak_bytes < folded.peak_bytes
    assert plan_step(cfg, dtype='bfloat16', checkpointing='lean').peak_bytes < plan.peak_bytes
