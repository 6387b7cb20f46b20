import pytest

from mmav.config.amp import named_amp, precision_problems, wrapper_kind
from mmav.registry import OPTIM_WRAPPERS


@pytest.mark.parametrize(
    ('wrapper', 'kind', 'amp'),
    [
        (dict(), 'OptimWrapper', None),
        (dict(type='mmengine.AmpOptimWrapper'), 'AmpOptimWrapper', 'float16'),
        (dict(type='mmav.AutocastOptimWrapper'), 'AutocastOptimWrapper', 'bfloat16'),
        (dict(type='AmpOptimWrapper', dtype='torch.bfloat16'), 'AmpOptimWrapper', 'bfloat16'),
        (dict(type='another.AmpOptimWrapper'), 'another.AmpOptimWrapper', None),
        (dict(constructor='Several'), 'Several', None),
    ],
)
def test_what_the_type_of_a_wrapper_stands_for(wrapper, kind, amp):
    assert (wrapper_kind(wrapper), named_amp(wrapper)) == (kind, amp)


def test_a_class_in_place_of_its_name():
    assert named_amp(dict(type=OPTIM_WRAPPERS.get('AmpOptimWrapper'))) == 'float16'


def test_one_line_for_each_wrong_value():
    assert not list(precision_problems(None)) and not list(precision_problems(dict(amp='auto', tf32=False)))
    lines = list(precision_problems(dict(amp='bfloat', eval_amp=16, tf32='no')))
    assert len(lines) == 3 and "'bfloat16'" in lines[0] and 'precision.eval_amp=16' in lines[1]
    assert lines[2] == "precision.tf32='no': give True or False"
    assert next(precision_problems('float16')).startswith("precision='float16': give a dict")
