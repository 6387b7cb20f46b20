"""``compile`` of a config, with the configs that are shipped; code is generated for the smallest of them only."""

import shutil

import pytest
import torch
from mmengine.registry import init_default_scope
from torch._dynamo.utils import counters
from torch._inductor.exc import InvalidCxxCompiler

from mmav.engine import turn_on_activation_checkpointing
from mmav.engine.compilation import compile_options, require_compiler
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.structures import AVDataSample
from tests import toys
from tests.models.test_contracts import BACKBONES, build, defaults
from tests.processes import run_tool_in_pair

FUSED = 'optim_wrapper.optimizer.fused=True'  # as in the schedules
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))


def graphs(run):
    """How many graphs a call becomes, and why it breaks into them."""
    torch._dynamo.reset()
    explained = torch._dynamo.explain(run)()
    return explained.graph_count, [str(reason.reason) for reason in explained.break_reasons]


@pytest.mark.parametrize('name', BACKBONES)
def test_every_encoder_is_one_graph(name):
    """Every one that is registered, in training with dropped paths, and in inference."""
    known = defaults(name)
    small = dict(input_size={2: (32, 32), 3: (4, 16, 16)}[len(known['input_size'])])
    small.update(dict(arch=ARCH) if 'arch' in known else {})
    small.update(dict(drop_path_rate=0.2) if 'drop_path_rate' in known else {})
    small.update(dict(q_strides=known['q_strides'][:1]) if known.get('q_strides') else {})
    encoder = build(name, **small)
    x = torch.randn(2, known['in_channels'], *small['input_size'])
    assert graphs(lambda: encoder.train()(x)) == (1, [])
    with torch.inference_mode():
        assert graphs(lambda: encoder.eval()(x)) == (1, [])


def test_a_break_is_counted():
    def run():
        x = torch.ones(3)
        return x + 1 if x.sum() > 2 else x - 1

    count, reasons = graphs(run)
    assert count > 1 and len(reasons) == count - 1


@pytest.mark.parametrize('checkpointing', [False, True])
def test_the_whole_loss_is_one_graph(checkpointing):
    init_default_scope('mmav')
    torch.manual_seed(0)
    model = AVClassifier(
        dict(
            video=dict(
                type='MViTv2',
                arch=ARCH,
                input_size=(4, 16, 16),
                drop_path_rate=0.2,
                token_drop=dict(axes=(0.5, 0.0, 0.0)),
            ),
            audio=dict(
                type='AST', input_size=(32, 32), embed_dims=16, num_layers=1, num_heads=2, token_drop=dict(ratio=0.5)
            ),
        ),
        dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2),
        dict(type='ClsHead', num_classes=3),
        contrast=dict(type='ContrastiveHead', embed_dims=8, losses=[dict(type='AVCLoss')]),
    ).train()
    turn_on_activation_checkpointing(model, checkpointing)
    inputs = dict(video=torch.randn(2, 1, 3, 4, 16, 16), audio=torch.randn(2, 1, 1, 32, 32))
    samples = [AVDataSample().set_gt_label(i) for i in range(2)]
    assert graphs(lambda: model(inputs, samples, mode='loss')) == (1, [])


@pytest.fixture(scope='module')
def data(make_clip, tmp_path_factory):
    """A data root for the configs on AVSynth, with one in ``action`` for those of verbs and nouns: five clips."""
    folder = tmp_path_factory.mktemp('data')
    clips = [make_clip('compiled.mp4', seconds=0.5, size=(64, 64))] * 4 + [
        make_clip('compiled_mute.mp4', seconds=0.5, audio=None)
    ]
    write_data(folder, clips, dict(label=('classes', 16)))
    (folder / 'action').mkdir()
    write_data(folder / 'action', clips, dict(verb=('verbs', 4), noun=('nouns', 4)))
    return folder


def write_data(folder, clips, parts):
    for name, number in parts.values():
        (folder / f'{name}.txt').write_text(''.join(f'{name} {i}\n' for i in range(number)))
    rows = [','.join([str(clip), *[str((i + k) % 4) for k in range(len(parts))]]) for i, clip in enumerate(clips)]
    for split in ('train', 'val', 'test'):
        (folder / f'{split}.csv').write_text('\n'.join([','.join(['path', *parts]), *rows]) + '\n')


SHORT = [f'{loader}_dataloader.{option}' for loader in ('train', 'val') for option in ('num_workers=0', 'batch_size=2')]
SHORT += ['train_cfg.max_epochs=1', 'val_dataloader.dataset.indices=1']
DEPTH = dict(num_layers=1, num_heads=1, embed_dims=8, stage_blocks='[]')
SHALLOW = [f'model.backbones.video.arch.{name}={value}' for name, value in DEPTH.items()]
BOTH = [*SHALLOW, *(option.replace('video', 'audio') for option in SHALLOW)]
BOTH += ['model.backbones.audio.q_strides=[]', 'model.neck.num_blocks=1', 'model.neck.embed_dims=16']

ONE_LAYER = ['model.backbones.audio.num_layers=1', 'model.backbones.audio.embed_dims=32']


def command(config, data, work_dir):
    return ['train.py', toys.ROOT / 'configs' / config, '--data-root', data, '--work-dir', work_dir]


def train(config, data, work_dir, *options, flags=()):
    """Trains a shipped config, shortened; returns the losses of its iterations, and why graphs broke."""
    torch._dynamo.reset()
    counters.clear()
    assert toys.run_tool(*command(config, data, work_dir), *flags, '--cfg-options', *SHORT, *options) == 0
    saved = torch.load(work_dir / 'epoch_1.pth', weights_only=True)
    assert not any('_orig_mod' in name for name in saved['state_dict'])
    return saved['message_hub']['log_scalars']['train/loss']['values'], dict(counters['graph_break'])


AST = 'ast/ast_tiny_avsynth.py'
# a last batch of another size, with a clip without sound, is compiled for itself
WITH_LAST = [*ONE_LAYER, 'train_dataloader.drop_last=False']


@pytest.fixture(scope='module')
def plain_ast(data, tmp_path_factory):
    """Losses of the smallest config that nothing compiles, and its log."""
    folder = tmp_path_factory.mktemp('plain')
    losses, _ = train(AST, data, folder, *WITH_LAST)
    (log,) = folder.glob('*/*.log')
    return losses, log.read_text()


@pytest.mark.parametrize('name', ['ast', 'mmt'])
def test_a_shipped_config_trains_the_same(name, data, plain_ast, tmp_path):
    if name == 'ast':
        plain, _ = plain_ast
        losses, breaks = train(AST, data, tmp_path / 'compiled', *WITH_LAST, 'compile.backend=aot_eager')
    else:
        config = 'mmt/mmt_tiny_avc_imc_avsynth.py'
        plain, _ = train(config, data, tmp_path / 'plain', *BOTH)
        losses, breaks = train(config, data, tmp_path / 'compiled', *BOTH, 'compile.backend=eager')
    assert counters['stats']['unique_graphs'] >= 1 and not breaks
    # the same but for rounding, which grows from one step to the next
    torch.testing.assert_close(losses, plain, rtol=1e-3, atol=1e-3)


EVERYTHING = """
_base_ = [{parent!r}]
mix = dict(type='MixupCutmix', num_classes=dict(verb=4, noun=4), prob=0.5)
model = dict(
    data_preprocessor=dict(batch_augment=mix),
    contrast=dict(type='ContrastiveHead', embed_dims=8, losses=[dict(type='AVCLoss'), dict(type='ALLoss')]),
)
activation_checkpointing = True
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
optim_wrapper = dict(
    accumulative_counts=2, constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75)
)
"""


def test_with_everything_else_that_training_has(data, tmp_path):
    parent = str(toys.ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth_action.py')
    (tmp_path / 'everything.py').write_text(EVERYTHING.format(parent=parent))
    options = [*BOTH, 'model.backbones.video.drop_path_rate=0.2', 'train_dataloader.drop_last=False']
    options += ['train_cfg.max_epochs=1', 'compile.backend=eager']
    losses, breaks = train(tmp_path / 'everything.py', data / 'action', tmp_path / 'w', *options, flags=['--amp'])
    assert len(losses) == 3 and all(loss > 0 for loss in losses) and not breaks


def test_lean_blocks_and_budgets_are_for_runs_that_are_not_compiled(data, plain_ast, tmp_path, capsys):
    """There they train the same to the bit; where a compiler decides what is kept, they would have no effect."""
    lean, budget = 'activation_checkpointing=lean', 'activation_checkpointing.budget'
    plain, log = plain_ast
    assert "activation_checkpointing='lean' keeps less" in log
    assert torch.equal(train(AST, data, tmp_path / 'lean', *WITH_LAST, lean)[0], plain)
    assert torch.equal(train(AST, data, tmp_path / 'budget', *WITH_LAST, f'{budget}=2GiB')[0], plain)
    assert 'needs 1.0 of 2.0 GiB; blocks: 1 lean' in capsys.readouterr().out
    words = [*command(AST, data, tmp_path / 'w'), '--cfg-options', *SHORT, *ONE_LAYER]
    assert toys.run_tool(*words, lean, 'compile.backend=eager') == 2
    assert "activation_checkpointing='lean' has no effect with compile" in capsys.readouterr().err
    assert toys.run_tool(*words, f'{budget}=1025MiB', 'train_dataloader.batch_size=512') == 2
    assert 'in float32 needs ' in capsys.readouterr().err


def test_two_processes(data, tmp_path):
    """With a loss that gathers the batches of both, where a graph breaks; and blocks that compute twice."""
    words = command('mmt/mmt_tiny_avc_avsynth.py', data, tmp_path / 'w')
    options = [*SHORT, *BOTH, 'compile.backend=eager', 'activation_checkpointing=True', 'train_dataloader.batch_size=1']
    run_tool_in_pair(tmp_path, *words, '--cfg-options', *options, 'train_dataloader.dataset.indices=2')
    saved = torch.load(tmp_path / 'w' / 'epoch_1.pth', weights_only=True)
    (loss,) = saved['message_hub']['log_scalars']['train/loss_avc']['values']
    assert loss > 0


def test_a_compiled_run_is_resumed_and_tested(data, tmp_path):
    small = [*ONE_LAYER, 'compile.backend=eager']
    train(AST, data, tmp_path, *small)
    words = command(AST, data, tmp_path)
    options = ['--cfg-options', *SHORT, 'train_cfg.max_epochs=2', *ONE_LAYER]
    assert toys.run_tool(*words, '--resume', *options) == 0  # without compiling
    folders = ['--data-root', data, '--work-dir', tmp_path / 't']
    # one of the five test clips is without sound
    loader = ['test_dataloader.num_workers=0', 'test_dataloader.dataset.max_broken_share=0.5']
    checkpoint, options = [words[1], tmp_path / 'epoch_2.pth'], [*small, *loader]
    assert toys.run_tool('test.py', *checkpoint, *folders, '--cfg-options', *options) == 0


@pytest.mark.skipif(shutil.which('g++') is None, reason='generates C++')
def test_the_default_backend(data, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch._inductor.config.cpp, 'simdlen', 1)  # compiles faster, for any processor
    small = ['embed_dims=8', 'num_layers=1', 'num_heads=1']
    options = ['train_dataloader.dataset.indices=2', *(f'model.backbones.audio.{option}' for option in small)]
    plain, _ = train(AST, data, tmp_path / 'plain', *options)
    losses, breaks = train(AST, data, tmp_path / 'compiled', *options, 'compile=True')
    torch.testing.assert_close(losses, plain, rtol=1e-3, atol=1e-3)
    assert not breaks


def test_a_model_of_ones_own_trains_the_same(tmp_path):
    config = toys.write_config(tmp_path)
    for name, options in (('a', []), ('b', ['compile.backend=eager'])):
        torch._dynamo.reset()
        run = ['--work-dir', tmp_path / name, '--cfg-options', 'train_cfg.max_epochs=1', FUSED, *options]
        assert toys.run_tool('train.py', config, *run) == 0
    one, two = (torch.load(tmp_path / name / 'epoch_1.pth', weights_only=True) for name in 'ab')
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (one, two)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-4)
    torch.testing.assert_close(one['state_dict'], two['state_dict'])
    (log,) = (tmp_path / 'b').glob('*/*.log')
    assert "The first iterations compile the model's losses (eager)" in log.read_text()


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    config = toys.write_config(tmp_path)

    @torch._dynamo.register_backend
    def fails(graph, inputs):
        raise RuntimeError('it was made to')

    for option, message in (
        ('compile=eager', "compile='eager': give True, False or a dict"),
        ('compile.backend=egaer', "compile.backend='egaer': torch.compile has no such backend, did you mean 'eager'"),
        ('compile.mod=default', "compile.mod: torch.compile has no such argument, did you mean 'mode'"),
        ('compile.mode=fast', "compile.mode='fast': choose one of default, "),
        ('compile.fullgraph=yes', "compile.fullgraph='yes': give True or False"),
        ('compile.backend=fails', 'compile: the backend fails failed, '),
    ):
        assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', option) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
        assert message in line


def test_without_a_compiler(monkeypatch):
    def find():
        raise InvalidCxxCompiler

    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('torch._inductor.cpp_builder.get_cpp_compiler', find)
    with pytest.raises(ConfigError, match=r'the backend inductor needs a C\+\+ compiler .* compile.backend=aot_eager'):
        require_compiler(compile_options(True))
    require_compiler(dict(backend='aot_eager'))


def test_options():
    assert compile_options(None) is compile_options(False) is compile_options(dict(disable=True)) is None
    assert compile_options({}) == compile_options(True) == dict(dynamic=False)
    assert compile_options(dict(dynamic=None, mode='default')) == dict(dynamic=None, mode='default')
    with pytest.raises(ConfigError, match='compile.mode and compile.options: give one of them'):
        compile_options(dict(mode='default', options={}))
