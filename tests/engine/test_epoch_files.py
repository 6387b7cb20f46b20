import pytest

from mmav.engine.epoch_files import files_of_epochs, read_epochs
from mmav.errors import CheckpointError, ConfigError


def test_numbers_and_spans():
    assert read_epochs(['3-5', '4', '10', '1']) == [1, 3, 4, 5, 10]
    for word in ('5-3', '0', '0-3', 'x', '3-', '-3', '1,2'):
        with pytest.raises(ConfigError, match=f'^--epochs {word}: give numbers'):
            read_epochs([word])


def test_files_that_are_missing_are_named(tmp_path):
    for number in (8, 9, 10):
        (tmp_path / f'epoch_{number}.pth').touch()
    assert files_of_epochs(tmp_path, [8, 10]) == [tmp_path / 'epoch_8.pth', tmp_path / 'epoch_10.pth']
    with pytest.raises(CheckpointError, match=r'no checkpoint of epoch 6-7 \(it has 8-10\): .*max_keep_ckpts=5'):
        files_of_epochs(tmp_path, [6, 7, 8, 9, 10])
    # as many as there are from the first missing one to the last
    with pytest.raises(CheckpointError, match=r'no checkpoint of epoch 2 .*max_keep_ckpts=9'):
        files_of_epochs(tmp_path, [2, 9])
    with pytest.raises(CheckpointError, match=r'epoch 11-12 \(it has 8-10\): training has not come that far'):
        files_of_epochs(tmp_path, [10, 11, 12])
    with pytest.raises(CheckpointError, match='is no folder'):
        files_of_epochs(tmp_path / 'x', [1])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(CheckpointError, match='it has none'):
        files_of_epochs(tmp_path / 'empty', [1])
