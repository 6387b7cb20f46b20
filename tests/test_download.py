import errno
import fcntl
import hashlib
import multiprocessing
import os
import signal
import sys
import time

import pytest

from mmav import download
from mmav.download import cached_name, fetch
from mmav.errors import CheckpointError

CONTENT = bytes(range(256)) * 4096
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def give(server, request):
    """Has the server give a file under the test's name in a manner; returns its address and its name."""
    name = f'{request.node.name.split("[")[0]}.pth'
    server.files[name] = CONTENT
    server.asked[name] = 0
    return lambda manner: server.address(manner, name)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize('manner', ['well', 'unmeasured', 'slowly'])
def test_a_file_is_fetched_once(give, server, tmp_path, manner, capsys):
    target = tmp_path / 'new' / 'a.pth'
    for _ in range(2):
        assert fetch(give(manner), target, sha256=SHA[:8]) == target
    assert target.read_bytes() == CONTENT and left_in(target.parent) == ['a.pth']
    assert sum(server.asked[name] for name in server.asked if name.startswith('test_a_file_is_fetched_once')) == 1
    assert 'a.pth: ' in capsys.readouterr().err  # the bar
    assert target.stat().st_mode & 0o044 == 0o044  # others may read it


@pytest.mark.parametrize(
    ('manner', 'why'),
    [
        ('cut', rf'the connection broke after {len(CONTENT) // 2} of {len(CONTENT)} bytes'),
        ('silent', r'the server was silent for 0\.2 s'),
        ('page', 'the server sends a web page, not a file'),
        ('nowhere', 'the server answers 404 Not Found'),
    ],
)
def test_what_is_not_the_file_leaves_nothing(give, tmp_path, monkeypatch, manner, why):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    address = give(manner).replace('.pth', '.not' if manner == 'nowhere' else '.pth')
    target = tmp_path / 'a.pth'
    with pytest.raises(CheckpointError, match=rf"^cannot download 'mine' \({why}\): get ") as caught:
        fetch(address, target, name='mine')
    assert str(caught.value).endswith(f'get {address} on a machine with a network, and put it there: {target}')
    assert left_in(tmp_path) == []


def test_a_disguised_page_and_an_empty_file_are_refused(give, server, tmp_path):
    with pytest.raises(CheckpointError, match='is a web page, not weights: nothing is kept'):
        fetch(give('disguised'), tmp_path / 'a.pth')
    address = give('well')
    server.files[address.rsplit('/', 1)[1]] = b''
    with pytest.raises(CheckpointError, match='is an empty file, not weights'):
        fetch(address, tmp_path / 'a.pth')
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n', 'a Git LFS pointer.*'),
        (b'{"error": "rate limit exceeded"}', 'text'),
        (b'PK\x03\x04' + CONTENT, 'only a part of a file'),
    ],
)
def test_what_servers_give_in_the_place_of_weights_is_not_kept(give, server, tmp_path, content, what):
    address = give('well')
    server.files[address.rsplit('/', 1)[1]] = content
    with pytest.raises(CheckpointError, match=f'is {what}, not weights: nothing is kept; give the address of the'):
        fetch(address, tmp_path / 'a.pth')
    assert left_in(tmp_path) == []


def test_blanks_and_other_scripts_in_an_address(server, tmp_path):
    server.files['%C3%BC%20a%20b.pth'] = CONTENT
    for number, name in enumerate(('\u00fc a b.pth', '%C3%BC%20a%20b.pth')):  # as typed, and as a browser shows it
        target = tmp_path / f'{number}.pth'
        assert fetch(server.address('well', name), target).read_bytes() == CONTENT


def test_names_of_any_length_have_a_place(give, tmp_path):
    long = give('well').replace('.pth', '\u00fc' * 200 + '.pth' + 'x' * 200)
    name = cached_name(long)
    assert len(os.fsencode(name)) < 200 and name != cached_name(long + 'x')
    (tmp_path / name).write_bytes(CONTENT)
    assert fetch(long, tmp_path / name) == tmp_path / name


def test_a_wrong_checksum_is_refused_and_removed(give, tmp_path):
    with pytest.raises(
        CheckpointError, match=rf'has the sha256 {SHA[:12]}\.\.\., published is deadbeef\.\.\.: .*nothing'
    ):
        fetch(give('well'), tmp_path / 'a.pth', sha256='deadbeef')
    assert left_in(tmp_path) == []


def test_a_file_of_the_users_with_a_wrong_checksum_is_refused_and_kept(tmp_path):
    target = tmp_path / 'a.pth'
    target.write_bytes(b'mine')
    with pytest.raises(CheckpointError, match='published is deadbeef.*: remove it to download it again'):
        fetch('https://nowhere.invalid/a.pth', target, sha256='deadbeef')
    assert target.read_bytes() == b'mine'


def test_without_a_network_one_line_says_what_to_put_where(tmp_path):
    address, target = 'https://nowhere.invalid/a.pth?dl=1', tmp_path / 'a.pth'
    with pytest.raises(CheckpointError, match=r'cannot download .*\(no connection: .+\)') as caught:
        fetch(address, target)
    assert str(caught.value).endswith(f'get {address} on a machine with a network, and put it there: {target}')
    target.write_bytes(CONTENT)
    assert fetch(address, target, sha256=SHA) == target


def test_a_place_that_cannot_be_written(give, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(CheckpointError, match='cannot write .*: set TORCH_HOME to a folder that can be written to'):
        fetch(give('well'), tmp_path / 'file' / 'a.pth')


def test_a_full_disk_is_not_taken_for_the_network(give, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(download, '_receive', full)
    with pytest.raises(CheckpointError, match=r'cannot write .*\(No space left on device\)'):
        fetch(give('well'), tmp_path / 'a.pth')
    assert left_in(tmp_path) == []


def start(*args, **kwargs):
    process = multiprocessing.get_context('fork').Process(target=fetch, args=args, kwargs=kwargs)
    process.start()
    return process


def test_processes_that_want_the_same_file_wait_for_one(give, server, tmp_path):
    address, target = give('slowly'), tmp_path / 'a.pth'
    processes = [start(address, target, sha256=SHA) for _ in range(4)]
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 4
    assert target.read_bytes() == CONTENT and left_in(tmp_path) == ['a.pth']
    assert server.asked[address.rsplit('/', 1)[1]] == 1


def test_after_a_failure_the_next_one_tries(give, server, tmp_path):
    """Who waits locks what it finds once the lock is free: the file that stood there has been removed."""
    address, target = give('slowly'), tmp_path / 'a.pth'
    processes = [start(address, target, sha256='deadbeef') for _ in range(3)]
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [1] * 3
    assert server.asked[address.rsplit('/', 1)[1]] == 3 and left_in(tmp_path) == []


def test_who_waited_leaves_the_lock_to_those_who_came_later(give, server, tmp_path):
    """The file that was locked has gone, and another one stands in its place, locked by another process."""
    address, lock = give('well'), tmp_path / '.a.pth.lock'
    with open(lock, 'a') as first, open(tmp_path / 'other', 'a') as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX)
        process = start(address, tmp_path / 'a.pth')
        time.sleep(0.1)
        os.replace(tmp_path / 'other', lock)
        fcntl.flock(first, fcntl.LOCK_UN)
        time.sleep(0.1)
        assert server.asked[address.rsplit('/', 1)[1]] == 0 and process.is_alive()
        fcntl.flock(second, fcntl.LOCK_UN)
        process.join(10)
    assert process.exitcode == 0 and left_in(tmp_path) == ['a.pth']


def test_a_process_that_is_killed_holds_nobody_up(give, tmp_path):
    target = tmp_path / 'a.pth'
    process = start(give('silent'), target)
    deadline = time.monotonic() + 10
    while not any(name.endswith('.tmp') for name in left_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(left_in(tmp_path)) == 2  # the lock and half of the file
    fetch(give('well'), target, sha256=SHA)
    assert left_in(tmp_path) == ['a.pth']


def test_where_nothing_can_lock_it_is_fetched_all_the_same(give, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    (tmp_path / '.a.pth.123.tmp').write_bytes(b'of another process, maybe')
    fetch(give('well'), tmp_path / 'a.pth', sha256=SHA)
    assert left_in(tmp_path) == ['.a.pth.123.tmp', 'a.pth']
    monkeypatch.setitem(sys.modules, 'fcntl', None)  # as on Windows
    fetch(give('well'), tmp_path / 'b.pth', sha256=SHA)
    assert left_in(tmp_path) == ['.a.pth.123.tmp', 'a.pth', 'b.pth']


def test_addresses_that_end_alike_have_names_of_their_own():
    one, two = (cached_name(f'https://host/{folder}/model.safetensors') for folder in ('a', 'b'))
    assert one != two and one.startswith('model-') and one.endswith('.safetensors')
    assert cached_name('https://host') != cached_name('https://other')
