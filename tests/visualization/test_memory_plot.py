import pytest

from mmav.engine.memory.plan import GIB, BlockPlan, Plan
from mmav.visualization.memory_plot import draw_plan


def plan(**changes):
    blocks = [
        BlockPlan('backbones.video.blocks.0', 'full', 0, 4 * GIB, 10**9),
        BlockPlan('backbones.video.blocks.1', 'lean', GIB, 2 * GIB, 10**6),
        BlockPlan('neck.blocks.0.video', 'all', GIB, GIB, 0),
    ]
    parts = dict(weights=GIB, gradients=0, activations=3 * GIB)
    values = dict(peak_bytes=4 * GIB, parts=parts, blocks=blocks, others=GIB, macs=10**11, extra=0.01)
    return Plan(**{**values, 'gpu_memory': 8 * GIB, 'batch_size': 2, 'dtype': 'bfloat16', **changes})


@pytest.mark.parametrize('memory', [None, 8 * GIB])
def test_bars_are_what_the_plan_says(tmp_path, figure, memory):
    draw_plan(plan(gpu_memory=memory), 'a $title', tmp_path / 'plan.png')
    assert (tmp_path / 'plan.png').stat().st_size > 5000
    axes, peak = figure[0].axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [0, 1, 1, 4, 1, 0]  # kept, then computed again
    assert [bar.get_hatch() for bar in axes.patches[:3]] == ['xx', '', '']
    assert [bar.get_height() for bar in peak.patches] == [1, 3]
    assert {'video', 'neck'} <= {text.get_text() for text in axes.texts}
    assert ('GPU' in {text.get_text() for text in peak.texts}) is (memory is not None)


@pytest.mark.parametrize('blocks', [1, 0])
def test_a_small_model_on_a_large_gpu(tmp_path, figure, blocks):
    draw_plan(plan(gpu_memory=400 * GIB, blocks=plan().blocks[:blocks]), 'small', tmp_path / 'plan.png')
    axes, peak = figure[0].axes
    assert peak.get_ylim()[1] < 5 and 'GPU: 400' in {text.get_text() for text in peak.texts}
    assert {'weights 1.0', 'activations 3.0'} <= {text.get_text() for text in peak.texts}
    assert axes.get_legend() is None  # it would lie on bars
