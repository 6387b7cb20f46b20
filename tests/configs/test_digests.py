"""What experiments resolve to stays as it is when their files are rearranged.

A deliberate change of a config: ``python -m tests.configs.digests`` stores the new digests, and its diff goes into the
same commit.
"""

import pytest
from mmengine.config import Config

from tests.configs.digests import EXPERIMENTS, ROOT, config_of, digest, name, stored


@pytest.mark.parametrize('path', EXPERIMENTS, ids=name)
def test_resolves_to_what_it_did(path):
    assert digest(config_of(path).to_dict()) == stored().get(name(path)), (
        f'{name(path)} resolves to something else than before; if that is meant: python -m tests.configs.digests'
    )


def test_every_stored_digest_has_its_config():
    assert list(stored()) == [name(path) for path in EXPERIMENTS]


def test_mmengine_alone_reads_the_same():
    path = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth_parity.py'
    assert Config.fromfile(path).to_dict() == config_of(path).to_dict()


def test_a_digest_sees_types_and_order():
    lists = ({'a': [1, 2]}, {'a': (1, 2)}, {'a': [1.0, 2]}, {'a': [True, 2]})
    dicts = ({'a': {'x': 1, 'y': 2}}, {'a': {'y': 2, 'x': 1}}, {'a': {'x': 1, 'y': None}}, {'a': {'x': 1}})
    assert len({digest(value) for value in (*lists, *dicts)}) == 8
    assert digest({'a': 1, 'b': 2}) == digest({'b': 2, 'a': 1})
    assert digest({'a': {'type': 'X', 'y': 1}}) == digest({'a': {'y': 1, 'type': 'X'}})
