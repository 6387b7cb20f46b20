from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from mmav.checkpoints import load_checkpoint_file
from mmav.errors import CheckpointError
from mmav.models.weights.layouts import state_of
from mmav.models.weights.source import locate
from mmav.models.weights.table import PUBLIC_WEIGHTS


def test_a_name_is_a_file_in_torchs_cache(torch_home):
    source = locate('deit_b_distilled_384_in1k')
    assert source.path == torch_home / 'deit_base_distilled_patch16_384-d0272ac0.pth'
    assert source.address == source.row.address and str(source) == "'deit_b_distilled_384_in1k' (ImageNet-1K)"
    assert locate(source.address).path == source.path
    torch_home.mkdir(parents=True)
    source.path.write_bytes(b'of another version')
    with pytest.raises(CheckpointError, match='published is d0272ac0'):
        source.fetch()


def test_a_file_that_is_there_needs_no_network(torch_home):
    source = locate('mvitv2_b_in1k')
    with pytest.raises(CheckpointError, match=r"^cannot download 'mvitv2_b_in1k' \(no connection: ") as caught:
        source.fetch()
    assert f'get {source.row.address} on' in str(caught.value)
    assert str(caught.value).endswith(f'put it there: {torch_home / "MViTv2_B_in1k.pyth"}')
    assert torch_home.is_dir()  # the place is made for it
    source.path.write_bytes(b'\x80weights')
    assert source.fetch() == source.path


def test_an_address_is_fetched_into_the_cache(server, torch_home):
    server.files['own.pth'] = b'\x80weights'
    source = locate(server.address('well', 'own.pth'))
    assert source.fetch().read_bytes() == b'\x80weights'
    assert source.path.parent == torch_home and source.path.name.startswith('own-')


def test_what_another_program_put_there_is_looked_into(torch_home, tmp_path):
    torch_home.mkdir(parents=True)
    source = locate('mvitv2_b_in1k')
    source.path.write_bytes(b'version https://git-lfs.github.com/spec/v1')
    with pytest.raises(CheckpointError, match='is a Git LFS pointer.*, not weights: remove it to download it'):
        source.fetch()
    (tmp_path / 'a.pth').write_bytes(b'PK\x03\x04')
    with pytest.raises(CheckpointError, match=r"a\.pth' is only a part of a file, not weights: give the file itself$"):
        locate(str(tmp_path / 'a.pth')).fetch()


def test_a_path_stays_where_it_is(tmp_path):
    path = tmp_path / 'my weights.pth'
    with pytest.raises(
        CheckpointError, match=r"no checkpoint '.*my weights\.pth': give the path of a file, an address"
    ):
        locate(str(path)).fetch()
    path.write_bytes(b'\x80weights')
    for given in (str(path), path.as_uri()):
        assert locate(given).fetch() == path and not locate(given).address
    assert locate('~/a.pth').path == Path.home() / 'a.pth'


def test_a_file_without_an_ending_is_a_path_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights').write_bytes(b'\x80weights')
    assert locate('weights').path == Path('weights')


def test_an_unknown_name_is_told_with_the_nearest_and_all():
    with pytest.raises(CheckpointError, match="called 'mvitv2_b_ink1', did you mean 'mvitv2_b_in1k'?") as caught:
        locate('mvitv2_b_ink1')
    assert all(name in str(caught.value) for name in PUBLIC_WEIGHTS) and '\n' not in str(caught.value)


@pytest.mark.parametrize('nothing', [None, 3, '', '  ', ['a.pth']])
def test_what_is_no_text_is_no_source(nothing):
    with pytest.raises(CheckpointError, match=r'^give a name, an address or a path of weights, got '):
        locate(nothing)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ('MViTv2_B_in1k', "^no public weights are called 'MViTv2_B_in1k', did you mean 'mvitv2_b_in1k'"),
        ('x' * 500, '^no public weights are called'),
        (f'{"x" * 500}.pth', '^no checkpoint'),
        ('A.PTH', "^no checkpoint 'A.PTH'"),
        ('file://data/a.pth', '^.file://data/a.pth.: an address of a file has three slashes'),
        ('http://[::1/a.pth', r'^.http://\[::1/a.pth. is not an address \(Invalid IPv6 URL\): give it as'),
    ],
)
def test_slips_are_one_line(wrong, message, torch_home):
    with pytest.raises(CheckpointError, match=message):
        locate(wrong).fetch()


def test_other_kinds_of_address_are_refused():
    with pytest.raises(CheckpointError, match=r"'s3://a/b\.pth': only http, https and file can be read"):
        locate('s3://a/b.pth')


STATE = OrderedDict(weight=torch.ones(2))
OPTIMIZER = dict(
    state={0: dict(step=3, exp_avg=torch.ones(2))}, param_groups=[dict(lr=0.1, betas=(0.9, 0.999), params=[0])]
)


@pytest.mark.parametrize(
    'content',
    [
        dict(
            epoch=1, model_state=STATE, optimizer_state=OPTIMIZER, scaler_state=dict(scale=2.0), cfg='MODEL:\n  X: 1\n'
        ),
        dict(meta=dict(epoch=1, time='a', hook_msgs={}, CLASSES=['a', 'b']), state_dict=STATE),
        OrderedDict((f'module.v.{key}', value) for key, value in STATE.items()),
        dict(model=STATE),
        STATE,
    ],
    ids=['facebookresearch/mvit, SlowFast', 'OpenMMLab', 'AST', 'DeiT', 'timm, torchvision'],
)
@pytest.mark.parametrize('zipped', [True, False], ids=['torch 1.6 on', 'before'])
def test_what_publishers_keep_beside_weights_is_data(content, zipped, tmp_path):
    """What their training code saves, which is read without running code, in both formats of torch."""
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    (value,) = state_of(load_checkpoint_file(tmp_path / 'a.pth')).values()
    assert torch.equal(value, torch.ones(2))
