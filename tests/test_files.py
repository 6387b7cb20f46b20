"""Files appear whole or not at all."""

import errno
import os

import pytest

from mmav.errors import CheckpointError
from mmav.files import atomic_write, remove_torn_files


def test_a_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    atomic_write(path, b'old')

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(CheckpointError, match=r'a\.pth.*No space left on device.*earlier files are kept'):
        atomic_write(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['a.pth']


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match=r"cannot write '.*file/m.json': (File exists|Not a directory)"):
        atomic_write(tmp_path / 'file' / 'm.json', b'{}')


def test_torn_files_are_removed(tmp_path):
    (tmp_path / '.epoch_1.pth.123.tmp').write_bytes(b'half')
    (tmp_path / 'epoch_1.pth').write_bytes(b'whole')
    remove_torn_files(tmp_path)
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_torn_files_of_others_stay(tmp_path):
    (tmp_path / '.mine.tmp').write_bytes(b'mine')
    remove_torn_files(tmp_path)
    assert os.listdir(tmp_path) == ['.mine.tmp']


def test_a_link_stays_one(tmp_path):
    (tmp_path / 'link.json').symlink_to(tmp_path / 'real.json')
    atomic_write(tmp_path / 'link.json', b'{}')
    assert (tmp_path / 'link.json').is_symlink() and (tmp_path / 'real.json').read_bytes() == b'{}'


def test_devices_are_written_into():
    atomic_write(os.devnull, b'nothing')
    assert not os.path.isfile(os.devnull)


def test_names_as_long_as_the_file_system_takes_them(tmp_path):
    atomic_write(tmp_path / ('x' * 255), b'1')
    assert [len(name) for name in os.listdir(tmp_path)] == [255]
