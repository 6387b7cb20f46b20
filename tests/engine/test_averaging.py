import pytest
import torch

from mmav.checkpoints import BASE, load_checkpoint_file
from mmav.engine.averaging import AVERAGED, MeanOfWeights, average_checkpoints, write_average
from mmav.errors import CheckpointError

CFG = "import os\nx = 1\nmodel = dict(type='Net', head=dict(loss={loss}, width={width}), sizes=[(1, 2)], **{{}})\n"


def state(seed, count, width=3):
    generator = torch.Generator().manual_seed(seed)
    return {
        'fc.weight': torch.randn(5, width, generator=generator),
        'half': torch.randn(4, generator=generator).half(),
        'norm.running_mean': torch.randn(3, generator=generator),
        'norm.num_batches_tracked': torch.tensor(count),
    }


def save(folder, name, seed, *, step=0, classes=None, width=3, **meta):
    meta = dict(epoch=step, iter=10 * step, **meta)
    if classes:
        meta['dataset_meta'] = dict(classes=classes)
    checkpoint = dict(meta=meta, state_dict=state(seed, step, width), optimizer=dict(state={0: torch.ones(3)}))
    torch.save(checkpoint, folder / name)
    return folder / name


def test_the_mean_is_that_of_a_loop(tmp_path):
    """AST's validate_wa, written out, in float64; counters are those of the checkpoint that trained longest."""
    paths = [save(tmp_path, f'{k}.pth', k, step=step) for k, step in enumerate((3, 5, 4))]
    found = average_checkpoints(paths)
    states = [state(k, step) for k, step in enumerate((3, 5, 4))]
    for name in ('fc.weight', 'half', 'norm.running_mean'):
        total = torch.zeros(states[0][name].shape, dtype=torch.float64)
        for each in states:
            total = total + each[name].double()
        expected = (total / 3.0).to(states[0][name].dtype)
        assert found['state_dict'][name].dtype == expected.dtype
        assert torch.equal(found['state_dict'][name], expected)
    assert found['state_dict']['norm.num_batches_tracked'] == 5
    assert [each['epoch'] for each in found['meta'][AVERAGED]] == [3, 5, 4] and found['meta']['epoch'] == 5
    assert 'optimizer' not in found
    write_average(tmp_path / 'out.pth', found)
    again = load_checkpoint_file(tmp_path / 'out.pth')
    torch.testing.assert_close(again['state_dict'], found['state_dict'], rtol=0, atol=0)


def test_equal_weights_stay_as_they_are():
    """So that the checksum of frozen weights still fits."""
    mean, value = MeanOfWeights(), torch.randn(1000)
    for _ in range(7):
        mean.add(dict(a=value))
    assert torch.equal(mean.mean()['a'], value)


def test_goes_on_from_a_checkpoint(tmp_path):
    whole, part, rest = MeanOfWeights(), MeanOfWeights(), MeanOfWeights()
    for seed in range(3):
        whole.add(state(seed, seed))
    for seed in range(2):
        part.add(state(seed, seed))
    torch.save(part.state_dict(), tmp_path / 'x.pth')
    rest.load_state_dict(torch.load(tmp_path / 'x.pth', weights_only=True))
    rest.add(state(2, 2))
    torch.testing.assert_close(rest.mean(), whole.mean(), rtol=0, atol=0)


def refuse(paths, message):
    with pytest.raises(CheckpointError, match=message):
        average_checkpoints(paths)


def test_what_is_not_alike_is_refused(tmp_path):
    one = save(tmp_path, 'one.pth', 0, classes=('a', 'b'))
    refuse([one], 'one checkpoint is its own average')
    refuse([one, one], 'is given twice')
    refuse([one, tmp_path / 'none.pth'], 'no checkpoint')
    refuse(
        [one, save(tmp_path, 'w.pth', 1, width=4)], r"'.*w.pth' cannot be averaged with .*one.pth': 1 of another shape"
    )
    refuse([one, save(tmp_path, 'c.pth', 1, classes=('a', 'c'))], 'was trained with other classes')
    refuse([one, save(tmp_path, 'b.pth', 1, **{BASE: dict(checksums={'x': 'y'})})], 'leave out different frozen')
    two = torch.load(one, weights_only=True)
    two['state_dict']['more'] = two['state_dict'].pop('half')
    torch.save(two, tmp_path / 'two.pth')
    refuse([one, tmp_path / 'two.pth'], r'1 missing \(half\), 1 unknown \(more\)')


def test_models_are_compared_but_for_what_acts_in_training(tmp_path):
    one = save(tmp_path, 'one.pth', 0, cfg=CFG.format(loss='dict(a=1)', width=3))
    same = save(tmp_path, 'same.pth', 1, cfg=CFG.format(loss='dict(a=2)', width=3))
    other = save(tmp_path, 'other.pth', 1, cfg=CFG.format(loss='dict(a=1)', width=4))
    unknown = save(tmp_path, 'unknown.pth', 1, cfg='not python (')
    average_checkpoints([one, same])
    average_checkpoints([one, unknown])
    refuse([one, other], r'different models \(model.head.width: 3 and 4\)')


def test_the_kind_of_labels_is_kept(tmp_path):
    paths = [save(tmp_path, f'{k}.pth', k, step=k, multi_label=True) for k in range(2)]
    assert average_checkpoints(paths)['meta']['multi_label'] is True
    refuse([paths[0], save(tmp_path, 'one.pth', 3, multi_label=False)], "one.pth' was trained with one label a clip")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    good, bad = save(tmp_path, 'good.pth', 0), save(tmp_path, 'bad.pth', 1)
    checkpoint = torch.load(bad, weights_only=True)
    checkpoint['state_dict']['fc.weight'][2, 1] = torch.nan
    torch.save(checkpoint, bad)
    with pytest.raises(CheckpointError, match=r"bad.pth' has weights that are not finite \(fc.weight\)"):
        average_checkpoints([good, bad])
