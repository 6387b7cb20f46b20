import json
import multiprocessing
import os
from multiprocessing import Pipe

import numpy as np
import pytest

from mmav.datasets.media import PairPath
from mmav.errors import ConfigError, MediaError
from mmav.serving import reading
from mmav.serving.reading import ClipJob, ReaderSettings, read_job, receive
from tests.serving.traps import FAIL


@pytest.fixture(scope='module')
def settings(inferencer):
    return ReaderSettings(inferencer.pipeline, inferencer.modalities, seconds=10, windows=5, megabytes=64)


def read(settings, *job, **options):
    return [message for message, _ in read_job(ClipJob(*map(str, job), **options), settings)]


def test_refusals_name_no_files(settings, broken, clip, flashes, tmp_path):
    (message,) = read(settings, broken['text'], window=2.0)
    assert message['code'] == 'unreadable_clip' and str(broken['text'].parent) not in message['reason']
    messages = read(settings, flashes, window=2.0, stride=0.1)
    assert [message['code'] for message in messages] == ['clip_too_long']
    (message,) = read(settings._replace(seconds=1.5), clip, window=2.0)
    assert message['reason'] == 'is 2.0 s long; 1.5 s at most are taken'
    (message,) = read(settings, flashes, window=1.0, stride=2.0)
    assert message['code'] == 'invalid_option'
    (tmp_path / 'a').write_bytes(clip.read_bytes() + FAIL)
    assert [message['kind'] for message in read(settings, tmp_path / 'a', window=2.0)] == ['clip', 'skipped', 'end']


def test_pairs(settings, silent, blind):
    job = ClipJob(PairPath(str(silent), str(blind)), 2.0)
    messages = [message for message, _ in read_job(job, settings)]
    assert messages[1]['masks'] == dict(video=True, audio=True)


def test_reasons_are_short_and_public():
    job = ClipJob('/srv/up/abc')
    assert reading._public("[Errno 2] No such file: '/srv/up/abc' in /srv/up,\n twice", job) == (
        "[Errno 2] No such file: 'the file' in , twice"
    )
    assert len(reading._public('x' * 5000, job)) == 500


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_lack_of_memory_is_said(error):
    with pytest.raises(MediaError, match='needs more memory'), reading._OnlyMediaErrors(ClipJob('a')):
        raise error


def test_a_users_mistake_stays_one():
    with pytest.raises(ConfigError), reading._OnlyMediaErrors(ClipJob('a')):
        raise ConfigError('no')


@pytest.mark.parametrize(
    'text',
    [
        b'[]',
        b'{"kind": "window"}',
        b'nothing',
        b'{"arrays": [["video", "object", [1]]]}',
        b'{"arrays": [["video", "uint8", [-1]]]}',
        b'{"arrays": [["video", "uint8", ["a"]]]}',
    ],
)
def test_what_is_no_message_is_refused(text):
    """A process that a hostile file has taken over can send anything."""
    ours, theirs = Pipe()
    theirs.send_bytes(text)
    with pytest.raises((ValueError, TypeError, KeyError)):
        receive(ours, most=10)


def test_arrays_have_the_size_that_is_told_and_allowed():
    ours, theirs = Pipe()
    for data, most in ((bytes(3), 100), (bytes(16), 10)):
        theirs.send_bytes(json.dumps(dict(kind='window', arrays=[['video', 'float32', [2]]])).encode())
        theirs.send_bytes(data)
        with pytest.raises((ValueError, OSError)):
            receive(ours, most=most)
        ours, theirs = Pipe()


def test_a_process_is_confined(tmp_path):
    ours, theirs = Pipe()

    def child():
        reading.confine(64)
        found = []
        try:
            np.ones(2**27)
        except MemoryError:
            found.append('memory')
        try:
            (tmp_path / 'a').write_bytes(b'x')
        except OSError:
            found.append('files')
        theirs.send((found, len(np.ones(2**20))))
        os._exit(0)

    process = multiprocessing.get_context('fork').Process(target=child)
    process.start()
    assert ours.recv() == (['memory', 'files'], 2**20)
    process.join()
