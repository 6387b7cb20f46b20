import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmav.errors import MmavError
from mmav.serving.upload_folder import PREFIX, remove_left_folders, upload_folder

KILLED = """
import os
from mmav.serving.upload_folder import upload_folder
with upload_folder() as folder:
    open(os.path.join(folder, 'clip'), 'wb').close()
    print(folder, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    return tmp_path


def test_it_is_private_and_goes_with_its_server(place):
    with upload_folder() as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        Path(folder, 'clip').touch()
    assert not list(place.iterdir())


def test_what_a_killed_server_left_is_removed_by_the_next(place):
    done = subprocess.run(
        [sys.executable, '-c', KILLED], env={**os.environ, 'TMPDIR': str(place)}, capture_output=True, text=True
    )
    assert os.listdir(done.stdout.strip()) == ['clip'], done.stderr
    with upload_folder() as folder:
        assert list(place.iterdir()) == [Path(folder)]


def test_what_is_not_of_a_dead_server_stays(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    elsewhere.chmod(0o700)
    (elsewhere / 'mine').touch()
    (place / f'{PREFIX}link').symlink_to(elsewhere)
    (place / f'{PREFIX}file').touch(0o600)
    (place / f'{PREFIX}public').mkdir(0o755)
    with upload_folder() as living:
        assert remove_left_folders(str(place)) == []
        with upload_folder():
            assert os.path.isdir(living)
    assert {each.name for each in place.iterdir()} == {f'{PREFIX}{name}' for name in ('link', 'file', 'public')}
    assert (elsewhere / 'mine').exists()


def test_folders_of_others_stay(place, monkeypatch):
    (place / f'{PREFIX}other').mkdir(0o700)
    monkeypatch.setattr(os, 'geteuid', lambda: os.getuid() + 1)
    assert remove_left_folders(str(place)) == []


def test_a_place_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', '/nowhere')
    with pytest.raises(MmavError, match='TMPDIR'), upload_folder():
        pass
