import pytest
from mmengine.registry import init_default_scope

from mmav.errors import ConfigError
from mmav.models import MViTv2
from mmav.models.input_shape import input_shape
from mmav.registry import MODELS


def test_what_the_config_says_and_else_the_signature():
    init_default_scope('mmav')
    assert input_shape(dict(type='MAT', input_size=(64, 96))) == (1, 64, 96)
    assert input_shape(dict(type='MViTv2', input_size=(4, 32, 32), in_channels=2)) == (2, 4, 32, 32)


def test_a_subclass_with_a_default_of_its_own(monkeypatch):
    @MODELS.register_module(name='SmallForTest', force=True)
    class Small(MViTv2):
        def __init__(self, input_size=(2, 16, 16), **kwargs):
            super().__init__(input_size=input_size, **kwargs)

    monkeypatch.setitem(MODELS.module_dict, 'SmallForTest', Small)
    assert input_shape(dict(type='SmallForTest')) == (3, 2, 16, 16)


def test_a_backbone_that_does_not_say(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Silent', type('Silent', (), {}))
    with pytest.raises(ConfigError, match='Silent has no in_channels and no input_size: its input is not known'):
        input_shape(dict(type='Silent'))
