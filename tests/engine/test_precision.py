"""What numbers a run computes with, decided for hardware that need not be there."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmav.config.amp import named_amp
from mmav.config.reading import load_config
from mmav.engine import AVRunner, precision
from mmav.engine.precision import Hardware, decide, this_hardware, weakest, with_numbers
from mmav.errors import ConfigError
from tests import synthetic, toys

CPU, MPS = Hardware(), Hardware('mps')
A100 = Hardware('cuda', 'NVIDIA A100-SXM4-40GB', bfloat16=True)
V100 = Hardware('cuda', 'Tesla V100-SXM2-32GB')
T4 = Hardware('cuda', 'Tesla T4')
TINY = 'configs/mmt/mmt_tiny_avsynth.py'
PAPER = [
    *('mmt/mmt_k4_l4_vggsound', 'mmt/mmt_avg_kinetics_sounds', 'mmt/mmt_concat_epic_kitchens', 'mat/mat_base_vggsound'),
    *('ast/ast_base_kinetics_sounds', 'mbt/mbt_b_epic_kitchens', 'mvitv2/mvitv2_base_vggsound'),
]


def numbers(amp='auto', hardware=A100, training=True, **config):
    cfg = dict(precision=dict(amp=amp), env_cfg=dict(cudnn_benchmark=True), optim_wrapper=dict(optimizer={}))
    return decide(cfg | config, hardware, training=training)


FAST = 'cuDNN chooses its fastest kernels (benchmark)'
EMULATED = 'has to emulate (--amp float16 is faster)'
TABLE = [
    (A100, 'auto', 'bfloat16', True, f'bfloat16 autocast, TF32 in what stays float32, {FAST}'),
    (A100, 'none', None, True, f'float32, TF32, {FAST}'),
    (A100, 'float16', 'float16', True, f'float16 autocast with loss scaling, TF32 in what stays float32, {FAST}'),
    (V100, 'auto', 'float16', True, f'float16 autocast with loss scaling, as {V100.name} has no bfloat16, {FAST}'),
    (T4, 'auto', 'float16', True, f'float16 autocast with loss scaling, as {T4.name} has no bfloat16, {FAST}'),
    (T4, 'bfloat16', 'bfloat16', True, f'bfloat16 autocast, which {T4.name} {EMULATED}, {FAST}'),
    (T4, 'none', None, True, f'float32, {FAST}'),
    (CPU, 'auto', None, None, 'float32, as there is no GPU (--amp bfloat16 is there to try, and slow on most CPUs)'),
    (CPU, 'none', None, None, 'float32'),
    (CPU, 'bfloat16', 'bfloat16', None, 'bfloat16 autocast'),
    (MPS, 'auto', None, None, "float32, as half types are taken unasked on CUDA only, not on 'mps' (see --amp)"),
]  # fmt: skip


@pytest.mark.parametrize(('hardware', 'asked', 'amp', 'tf32', 'text'), TABLE)
def test_what_is_decided_and_said(hardware, asked, amp, tf32, text):
    decided = numbers(asked, hardware)
    assert (decided.amp, decided.tf32, decided.benchmark, decided.text) == (amp, tf32, tf32, f'Numbers: {text}')


def test_deterministic_undoes_tf32_and_benchmark():
    decided = numbers(randomness=dict(deterministic=True))
    assert (decided.amp, decided.tf32, decided.benchmark) == ('bfloat16', False, False)
    assert decided.text == 'Numbers: bfloat16 autocast, no TF32 in what stays float32, deterministic algorithms only'


def test_evaluation_is_in_float32_unless_it_is_asked_for():
    assert numbers(training=False).text == f'Numbers: float32, TF32, {FAST}'
    half = numbers(training=False, precision=dict(eval_amp='auto'), hardware=V100)
    assert half.amp == 'float16' and half.text.startswith('Numbers: float16 autocast, as Tesla V100')
    asked = numbers(training=False, precision=dict(eval_amp='auto'), hardware=CPU)
    assert asked.amp is None and asked.text.startswith('Numbers: float32, as there is no GPU')
    own = numbers(training=False, test_cfg=dict(fp16=True))
    assert own.amp is None and own.text.startswith('Numbers: as test_cfg.fp16 says')


def test_a_config_without_precision_is_left_as_it_was():
    decided = decide(dict(optim_wrapper={}), A100)
    assert (decided.amp, decided.tf32, decided.benchmark) == (None, None, False)
    assert decide(dict(precision=dict(tf32=False)), A100).tf32 is False


WRAPPERS = [
    (dict(type='AutocastOptimWrapper'), 'auto', A100, 'bfloat16'),
    (dict(type='AutocastOptimWrapper'), 'none', CPU, 'bfloat16'),
    (dict(type='AmpOptimWrapper', loss_scale=512.0), 'auto', A100, 'float16'),
    (dict(type='AmpOptimWrapper'), 'float16', V100, 'float16'),
    (dict(type='AmpOptimWrapper', dtype='bfloat16'), 'bfloat16', A100, 'bfloat16'),
    (dict(type=nn.Linear), 'auto', A100, None),
]


@pytest.mark.parametrize(('wrapper', 'asked', 'hardware', 'amp'), WRAPPERS)
def test_a_wrapper_of_the_configs_choice_stays(wrapper, asked, hardware, amp):
    wrapper = dict(wrapper, optimizer={})
    decided = numbers(asked, hardware, optim_wrapper=wrapper)
    assert decided.amp == named_amp(wrapper) == amp and 'as optim_wrapper.type=' in decided.text
    assert with_numbers(wrapper, decided) == wrapper


def test_a_plain_wrapper_becomes_the_one_for_the_numbers():
    for decided, kind in ((numbers(), 'Autocast'), (numbers(hardware=V100), 'Amp'), (numbers('none'), '')):
        assert with_numbers(dict(optimizer={}), decided).get('type', 'OptimWrapper') == f'{kind}OptimWrapper'


REFUSED = [
    (dict(precision=dict(amp='bf16')), r"precision\.amp='bf16': choose one of auto, none, bfloat16, float16, did you"),
    (dict(precision=dict(eval_amp=None)), r'precision\.eval_amp=None: choose one of'),
    (dict(precision=dict(tf32='yes')), r"precision\.tf32='yes': give True or False"),
    (dict(precision='bfloat16'), r'precision=.bfloat16.: give a dict, such as'),
    (dict(precision=dict(amp='float16')), r"precision\.amp='float16' \(--amp float16\) needs a CUDA .*take bfloat16"),
    (dict(optim_wrapper=dict(type='AmpOptimWrapper')), r"optim_wrapper\.type='AmpOptimWrapper' \(float16\) needs"),
    (
        dict(precision=dict(amp='bfloat16'), optim_wrapper=dict(type='AmpOptimWrapper')),
        r"amp='bfloat16', but optim_wrapper\.type='AmpOptimWrapper', which is for float16, is there: leave",
    ),
    (dict(precision=dict(amp='bfloat16'), optim_wrapper=dict(type='Other')), r"but optim_wrapper\.type='Other' is"),
    (dict(optim_wrapper=dict(constructor='Two'), precision=dict(amp='bfloat16')), r"type='Two' is there"),
]  # fmt: skip


@pytest.mark.parametrize(('config', 'message'), REFUSED)
def test_what_cannot_be_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        decide(config, CPU)


@pytest.mark.parametrize('name', PAPER)
def test_models_of_paper_size_train_in_half_types_on_a_gpu_and_small_ones_as_they_were_measured(name):
    cfg = load_config(str(toys.ROOT / 'configs' / f'{name}.py'))
    assert decide(cfg, A100).text == f'Numbers: bfloat16 autocast, TF32 in what stays float32, {FAST}'
    assert decide(cfg, V100).amp == 'float16'
    assert decide(cfg, A100, training=False).amp is None
    small = load_config(str(toys.ROOT / TINY))
    assert decide(small, A100).amp is None and not any(decide(small, CPU).text.count(word) for word in ('16', 'TF32'))


def settings():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark


def test_pytorchs_settings_are_changed_for_the_time_of_a_run_only():
    before = settings()
    assert before == ('highest', True, False)  # PyTorch's own
    with numbers().in_force():
        assert settings() == ('high', True, True)
        with numbers(randomness=dict(deterministic=True)).in_force():
            assert settings() == ('highest', False, False)
        assert settings() == ('high', True, True)
    with pytest.raises(ZeroDivisionError), numbers().in_force():
        _ = 1 / 0
    with numbers(hardware=CPU).in_force():  # torch would let oneDNN round, too
        assert settings() == before
    assert settings() == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, 'conv'), reason='PyTorch before 2.9 has one setting for all')
def test_settings_of_pytorchs_newer_interface_do_not_stop_a_run():
    torch.backends.cudnn.conv.fp32_precision = 'ieee'
    try:
        with pytest.raises(RuntimeError):
            _ = torch.backends.cudnn.allow_tf32
        with numbers().in_force():
            assert torch.backends.cudnn.conv.fp32_precision == 'tf32' and torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = True
    assert settings()[1]


def test_this_machine():
    hardware = this_hardware()
    assert hardware.kind == ('cuda' if torch.cuda.is_available() else 'cpu')
    assert hardware.kind == 'cuda' or hardware == CPU
    assert this_hardware('mps') == MPS


def test_processes_on_different_cards_decide_alike(monkeypatch):
    monkeypatch.setattr(precision, 'all_gather_object', lambda own: [A100, V100, A100])
    assert weakest(A100) == V100
    monkeypatch.setattr(precision, 'all_gather_object', lambda own: [own, A100])
    assert weakest(A100) == A100 and decide(dict(precision=dict(amp='auto')), weakest(CPU)).amp is None


@pytest.fixture
def on(monkeypatch):
    """Lets a runner believe that it runs on other hardware; it computes on the CPU all the same."""
    return lambda hardware: monkeypatch.setattr('mmav.engine.building.this_hardware', lambda: hardware)


def runner(folder, **config):
    cfg = Config(synthetic.experiment(8, optimizer=dict(type='SGD', lr=0.05)))
    cfg.update(experiment_name=folder.name, work_dir=str(folder), precision=dict(amp='auto', eval_amp='none'), **config)
    cfg.update(val_dataloader=cfg.test_dataloader, val_cfg={}, val_evaluator=cfg.test_evaluator)
    cfg.train_cfg.max_epochs = 1
    return AVRunner.from_cfg(cfg)


def test_a_runner_trains_and_validates_in_what_was_decided(tmp_path, on, monkeypatch):
    on(A100)
    seen = []
    work = runner(tmp_path / 'a', env_cfg=dict(cudnn_benchmark=True))
    assert settings()[2] is False  # not yet
    head = work.model.head
    plain = head.forward

    def forward(streams):
        types = {fc(stream).dtype for fc, stream in zip(head.fcs.values(), streams.values(), strict=True)}
        seen.append((head.training, types.pop(), settings()))
        return plain(streams)

    monkeypatch.setattr(head, 'forward', forward)
    work.train()
    assert type(work.optim_wrapper).__name__ == 'AutocastOptimWrapper'
    fast = ('high', True, True)
    assert set(seen) == {(True, torch.bfloat16, fast), (False, torch.float32, fast)}
    assert settings() == ('highest', True, False)


def test_the_first_lines_of_the_log_tell(tmp_path, capsys, on):
    on(CPU)
    config = toys.write_config(tmp_path, "precision = dict(amp='auto')\n")
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [i for i, line in enumerate(lines) if 'Numbers: float32, as there is no GPU' in line]
    assert line < min(i for i, text in enumerate(lines) if 'Epoch(train)' in text) and line < 8
    checkpoint = tmp_path / 'w' / 'epoch_4.pth'
    for extra, told in (([], 'Numbers: float32'), (['--amp', 'bfloat16'], 'Numbers: bfloat16 autocast')):
        assert toys.run_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 't', *extra) == 0
        assert any(text.endswith(told) for text in capsys.readouterr().out.splitlines())
    again = [config, '--work-dir', tmp_path / 'w', '--resume', tmp_path / 'w' / 'epoch_2.pth']
    assert toys.run_tool('train.py', *again, '--amp') == 0
    assert 'epoch_2.pth was trained in float32: the run continues in bfloat16' in capsys.readouterr().out
    assert torch.load(checkpoint, weights_only=True)['meta']['numbers'] == 'bfloat16'


@pytest.mark.parametrize('scope', ['mmav', 'mmengine'])
def test_a_wrapper_may_be_named_with_its_registry(scope):
    def wrapper(name):
        return dict(type=f'{scope}.{name}', optimizer={})

    assert with_numbers(wrapper('OptimWrapper'), numbers())['type'] == 'AutocastOptimWrapper'
    decided = numbers(optim_wrapper=wrapper('AutocastOptimWrapper'))
    assert decided.amp == 'bfloat16' and "optim_wrapper.type='AutocastOptimWrapper'" in decided.text
    with pytest.raises(ConfigError, match=r"type='AmpOptimWrapper' \(float16\) needs a CUDA GPU"):
        numbers(hardware=CPU, optim_wrapper=wrapper('AmpOptimWrapper'))
    assert named_amp(dict(type='another.AmpOptimWrapper')) is None


UNFIT = [
    (dict(type='AutocastOptimWrapper', dtype='float16'), A100, r"dtype='float16': type='Autocast\w+' is for bfloat16;"),
    (dict(type='AmpOptimWrapper', dtype='float32'), A100, r"dtype='float32': .* is for float16 or bfloat16; leave"),
    (dict(type='AmpOptimWrapper', dtype='bfloat16'), CPU, r"type='AmpOptimWrapper' \(bfloat16\) needs a CUDA GPU"),
]


@pytest.mark.parametrize(('wrapper', 'hardware', 'message'), UNFIT)
def test_a_type_that_a_wrapper_does_not_take_is_refused_at_once(wrapper, hardware, message):
    with pytest.raises(ConfigError, match=message):
        numbers(hardware=hardware, optim_wrapper=wrapper)


def test_mmengines_fp16_of_evaluation_beside_ours_is_refused():
    for loop in ('val_cfg', 'test_cfg'):
        with pytest.raises(ConfigError, match=rf'eval_amp=.bfloat16. .*but {loop}\.fp16=True is there'):
            numbers(training=False, precision=dict(eval_amp='bfloat16'), **{loop: dict(fp16=True)})
    assert numbers(training=False, hardware=CPU, val_cfg=dict(fp16=True)).text == (
        'Numbers: as val_cfg.fp16 says in validation, else float32'
    )


def strict():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def test_a_deterministic_run_leaves_nothing_to_the_next_one_of_a_process(tmp_path, on, monkeypatch):
    on(A100)
    seen = []

    def run(name, **config):
        work = runner(tmp_path / name, **config)
        note = work.model.head.register_forward_pre_hook(lambda *_: seen.append(strict()))
        work.train()
        note.remove()
        return work

    before = strict()
    assert run('a', randomness=dict(seed=0, deterministic=True), env_cfg=dict(cudnn_benchmark=True)).deterministic
    assert set(seen) == {(True, True, False)} and strict() == before == (False, False, False)
    seen.clear()
    run('b', env_cfg=dict(cudnn_benchmark=True))
    assert set(seen) == {(False, False, True)} and strict() == before


def test_a_runner_without_a_config_takes_what_it_is_given(tmp_path, on):
    on(A100)
    work = AVRunner(
        model=toys.ToyModel(),
        work_dir=str(tmp_path),
        env_cfg=dict(cudnn_benchmark=True),
        experiment_name=tmp_path.name,
    )
    assert work.numbers.benchmark
    work = AVRunner(
        model=toys.ToyModel(),
        work_dir=str(tmp_path),
        randomness=dict(deterministic=True),
        experiment_name=f'{tmp_path.name} 2',
    )
    assert work.numbers.deterministic and not strict()[0]  # MMEngine alone asks for a seed beside it


def test_what_validation_cannot_do_ends_a_training_before_it_begins(tmp_path, capsys):
    config = toys.write_config(tmp_path, "precision = dict(eval_amp='float16')\n")
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 2
    assert "precision.eval_amp='float16'" in capsys.readouterr().err
    assert not list((tmp_path / 'w').glob('**/*.log'))
