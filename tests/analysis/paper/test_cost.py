"""What the rows take: operations as they are counted by hand, memory from the planner, hours at a stated rate."""

import pytest

from mmav.analysis.complexity import count_model
from mmav.analysis.paper.cost import RowCost, batch_of, cost_of, report
from mmav.analysis.paper.shrinking import shrink
from mmav.errors import ConfigError
from tests.configs.digests import ROOT, config_of

CLIPS = {'train.csv': 100, 'test.csv': 10}


@pytest.fixture(scope='module')
def small():
    cfg = shrink(config_of(ROOT / 'configs/mat/mat_base_vggsound.py'), epochs=4)
    cfg.train_cfg.val_interval = 2
    return cfg


def test_operations(small):
    forward = count_model(small.model)[-1].explicit
    cost = cost_of('MAT', small, CLIPS)
    # the test has 5 views, each of the two validations one; a backward pass counts as two forward passes
    assert cost.testing == forward * 10 * (5 + 2) and cost.training == 3 * forward * 100 * 4
    assert cost.macs == cost.training + cost.testing and (cost.needed, cost.epochs) == (None, 4)


def test_memory_of_a_gpu(small):
    plan = cost_of('MAT', small, CLIPS, gpus=32, gpu_memory=40)
    assert plan.fits and 1 < plan.needed / 2**30 < 1.1  # CUDA's own, and little more
    assert not cost_of('MAT', small, CLIPS, gpus=32, gpu_memory=0.5).fits
    # two views of each clip, as the config trains; the GPU's form of attention takes more operations
    assert plan.training > 1.9 * cost_of('MAT', small, CLIPS).training


def test_the_batch_is_the_papers():
    assert [batch_of(gpus) for gpus in (1, 8, 64)] == [64, 8, 1]
    with pytest.raises(ConfigError, match="--gpus 3: the paper's batch of 64 clips needs 1, 2, 4, 8"):
        batch_of(3)


def test_the_report():
    costs = [RowCost('a', 2**34, True, 0.5, 1e18, 5e17, 50), RowCost('b', 2**36, False, 0.0, 1e18, 0.0, 50)]
    text = report(costs, seeds=2, gpus=8, gpu_memory=40, tflops=100)
    assert '64.0 GiB, does not fit' in text and 'all rows, 2 seeds: 6,000 PMACs' in text
    # 6e18 multiply-accumulates are 1.2e19 operations: 120,000 s of one GPU
    assert '33 GPU hours, 4.2 hours on 8 GPUs of 40 GiB: counted, not measured, at 100 TFLOP/s' in text
    assert 'GPU hours,' not in report(costs, seeds=1, gpus=None, gpu_memory=0, tflops=100)
