import pytest
from mmengine.model.wrappers import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR
from torch import optim
from torch.nn.parallel import DistributedDataParallel

from mmav.config.signatures import call_signature


class Base:
    def __init__(self, width, depth, *, kind='a'): ...


class Passes(Base):
    def __init__(self, extra, **kwargs):
        super().__init__(depth=3, **kwargs)


class PassesPositional(Base):
    def __init__(self, *args, **kwargs):
        super().__init__('wide', *args, **kwargs)


class Silent(Passes):
    """Has no constructor of its own."""


class Takes(Base):
    def __init__(self, **kwargs):
        self.own = kwargs.pop('own', 1)
        super().__init__(**kwargs)


class Keeps(Base):
    def __init__(self, known=1, **kwargs):
        super().__init__(1, 2)
        self.others = kwargs


class Empty: ...


@pytest.mark.parametrize(
    ('target', 'names', 'required', 'is_open'),
    [
        (Base, 'width depth kind', 'width depth', False),
        (Passes, 'extra width kind', 'extra width', False),
        (Silent, 'extra width kind', 'extra width', False),
        (PassesPositional, 'depth kind', 'depth', False),
        (Takes, 'own width depth kind', 'width depth', False),
        (Keeps, 'known', '', True),
        (Empty, '', '', False),
    ],
)
def test_constructors(target, names, required, is_open):
    found = call_signature(target)
    assert (found.names, found.required, found.is_open) == (names.split(), required.split(), is_open)


@pytest.mark.parametrize('target', [Passes, PassesPositional, Takes])
def test_what_is_found_can_be_called(target):
    found = call_signature(target)
    target(**dict.fromkeys(found.names, 1))
    target(**dict.fromkeys(found.required, 1))
    for name in {'width', 'depth', 'kind', 'extra', 'own', 'known'} - set(found.names):
        with pytest.raises(TypeError):
            target(**dict.fromkeys([*found.required, name], 1))


def test_functions():
    def collate(batch, *, stack=True): ...

    assert call_signature(collate, skip_positional=1).names == ['stack']
    assert call_signature(sorted).names == ['key', 'reverse']  # built in, with a signature
    assert call_signature(max).is_open  # built in, no signature


def test_engine_classes():
    assert 'weight_decay' in call_signature(optim.AdamW).names
    cosine = call_signature(CosineAnnealingLR)
    assert 'eta_min' in cosine.names and 'param_name' not in cosine.names and cosine.required == ['optimizer']
    amp = call_signature(AmpOptimWrapper)
    assert {'loss_scale', 'clip_grad'} <= set(amp.names) and amp.required == ['optimizer']
    wrapped = set(call_signature(MMDistributedDataParallel).names)
    assert wrapped > set(call_signature(DistributedDataParallel).names)
