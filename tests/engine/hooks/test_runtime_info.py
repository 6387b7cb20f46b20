import torch

from mmav.engine.hooks import deferred
from mmav.engine.hooks.deferred import DeferredScalars
from tests import toys


def test_losses_on_a_gpu_are_read_when_they_are_logged(tmp_path, monkeypatch):
    """The log and the checkpoints are the same as where each is read at once."""
    reads = []
    take = DeferredScalars.take
    monkeypatch.setattr(DeferredScalars, 'take', lambda scalars: reads.append(1) or take(scalars))
    logger = 'default_hooks.logger.interval=2'
    options = ['--cfg-options', 'train_cfg.max_epochs=2', logger, 'optim_wrapper.clip_grad.max_norm=1.0']
    for name in 'ab':
        assert toys.run_tool('train.py', toys.write_config(tmp_path), '--work-dir', tmp_path / name, *options) == 0
        if name == 'a':
            at_once = len(reads)
            monkeypatch.setattr(deferred, 'is_cpu', lambda value: False)
    # in every second of 6 iterations and at the end of an epoch, by two hooks; and before a checkpoint
    assert len(reads) - at_once < at_once
    one, two = (torch.load(tmp_path / name / 'epoch_2.pth', weights_only=True) for name in 'ab')
    for scalar in ('train/loss', 'train/grad_norm', 'train/lr'):
        values = [run['message_hub']['log_scalars'][scalar]['values'] for run in (one, two)]
        assert len(values[0]) == 6 and torch.equal(*values), scalar
