from __future__ import annotations

import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from mmav.errors import (
    ConfigError,
    ManifestError,
    MediaError,
    MissingMediaError,
    MmavError,
    TooManyBrokenClips,
    did_you_mean,
    one_line,
    require_dict,
)


class Failing(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise TooManyBrokenClips('3 of the 4 clips cannot be read')


def test_media_error_survives_pickling():
    for first in (MediaError('a.mp4', 'no such file'), MissingMediaError('a.mp4')):
        error = pickle.loads(pickle.dumps(first))
        assert type(error) is type(first)
        assert (error.path, error.reason, str(error)) == ('a.mp4', 'no such file', 'a.mp4: no such file')


@pytest.mark.parametrize('workers', [0, 1])
def test_one_line_of_an_error_from_a_worker(workers):
    with pytest.raises(MmavError) as caught:
        next(iter(DataLoader(Failing(), num_workers=workers)))
    assert isinstance(caught.value, TooManyBrokenClips)
    assert one_line(caught.value) == '3 of the 4 clips cannot be read'


def test_one_line_joins_lines_and_names_what_has_no_text():
    assert one_line(ManifestError('row 3:\n  no label')) == 'row 3: no label'
    assert one_line(KeyError()) == 'KeyError'


def test_did_you_mean_says_nothing_where_nothing_is_near():
    assert did_you_mean('xyz', ['cat', 'dog']) == ''


def test_an_argument_that_is_no_dict_is_named():
    require_dict('config', None)
    require_dict('config', {})
    with pytest.raises(ConfigError, match=r"^config='a': give a dict of entries to change$"):
        require_dict('config', 'a')
