from mmav.analysis.memory_report import as_data, cards_table, text_report, verdict
from mmav.engine.memory.plan import GIB
from tests.visualization.test_memory_plot import plan


def test_tables_and_verdicts():
    text = text_report(plan())
    assert 'weights and buffers' in text and 'gradients' not in text.split('together')[0]
    assert 'GPU memory needed                         5.20' in ' '.join(text.split('\n')) or '5.20' in text
    assert 'backbones.video.blocks.0' in text and '1 GMACs' in text
    lines = verdict(plan()).splitlines()
    assert (
        lines[0]
        == 'fits: needs 5.2 of 8.0 GiB; blocks: 1 all, 1 lean, 1 full; 1.0 % of the operations are computed again'
    )
    assert lines[1] == (
        "in the config: activation_checkpointing = dict(lean=['backbones.video.blocks.1'], "
        "full=['backbones.video.blocks.0'])"
    )
    refused = verdict(plan(gpu_memory=5 * GIB))
    assert refused.startswith('does not fit: a step of 2 clips in bfloat16 needs 5.2 GiB of 5.0, even if all blocks')
    assert '\n' not in refused


def test_data_and_table_of_cards():
    data = as_data(plan())
    assert data['needed'] == round(4.2 * GIB) + GIB and data['fits'] and data['blocks'][0]['level'] == 'full'
    table = cards_table({'a step': [plan(gpu_memory=4 * GIB), plan()]}).splitlines()
    assert '| 4 GiB | 5.20 GiB: does not fit |' in table[2]
    assert '| 8 GiB | 5.20 GiB | 1 all, 1 full, 1 lean | 1.0 % | `dict(lean=' in table[3]
