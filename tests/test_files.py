"""Files appear whole or not at all."""

import errno
import hashlib
import os

import pytest

from mmav.errors import CheckpointError, ManifestError
from mmav.files import atomic_write, digest_of, read_text, remove_torn_files


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


def test_text_with_any_line_ends(tmp_path):
    (tmp_path / 'a.csv').write_bytes('\ufeffé\r\nb\rc\n'.encode())
    assert read_text(tmp_path / 'a.csv', 'manifest') == 'é\nb\nc\n'


def test_text_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match=r'^no class list at .*nowhere\.txt; give the folder .* --data-root$'):
        read_text(tmp_path / 'nowhere.txt', 'class list')
    with pytest.raises(ManifestError, match=r'nowhere/a\.csv \(there is no folder .*nowhere\); give another$'):
        read_text(tmp_path / 'nowhere' / 'a.csv', 'annotation file', remedy='give another')
    (tmp_path / 'a.csv').write_bytes('\u00e4'.encode('latin-1'))
    with pytest.raises(ManifestError, match=r'a\.csv: the manifest is not UTF-8 text'):
        read_text(tmp_path / 'a.csv', 'manifest')
    with pytest.raises(ManifestError, match='the manifest cannot be read: Is a directory'):
        read_text(tmp_path, 'manifest')
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(ManifestError, match='no manifest at ~/b.csv; give'):
        read_text('~/b.csv', 'manifest')


def test_checksums(tmp_path):
    (tmp_path / 'a').write_bytes(b'x' * 3_000_000)
    assert digest_of(tmp_path / 'a') == hashlib.sha256(b'x' * 3_000_000).hexdigest()
    assert digest_of(tmp_path / 'a', hashlib.md5) == hashlib.md5(b'x' * 3_000_000).hexdigest()
