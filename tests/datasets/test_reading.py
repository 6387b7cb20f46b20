"""When a data loader worker dies, the error names the clip it was reading."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
import traceback

import pytest
from torch.utils.data import ConcatDataset, DataLoader

from mmav.datasets import AVDataset
from mmav.datasets.reading import clips_of, clips_of_workers
from mmav.engine.cli import run_tool


class Deadly:
    """Stands in for a decoder that crashes, or hangs, on one file."""

    def __init__(self, name='bad.mp4', how=signal.SIGSEGV):
        self.name, self.how = name, how

    def __call__(self, results):
        if results['path'].endswith(self.name):
            if self.how is None:
                time.sleep(2)
            # what was read before has left this process: torch waits for ever for the rest of a torn message
            time.sleep(0.2)
            os.kill(os.getpid(), self.how)
        # the other workers are reading, too
        time.sleep(0.02)
        return dict(index=results['sample_idx'])


@pytest.fixture
def folder(tmp_path):
    for name, bad in (('train', 5), ('val', 99)):
        rows = [f'{"bad" if k == bad else k}.mp4,0' for k in range(8)]
        (tmp_path / f'{name}.csv').write_text('path,label\n' + '\n'.join(rows))
    (tmp_path / 'classes.txt').write_text('cat\n')
    return tmp_path


def dataset(folder, ann_file='train.csv', *, how=signal.SIGSEGV, **options):
    return AVDataset(ann_file, [Deadly(how=how)], data_root=str(folder), **options)


def error_of(folder, loader, epochs=1):
    """What a tool prints that reads with a loader, in a process of its own: torch raises whenever a worker ends."""

    def main():
        for _ in range(epochs):
            list(loader)

    def child():
        with (folder / 'stderr.txt').open('w', buffering=1) as sys.stderr:
            try:
                run_tool(main)
            except SystemExit as stop:
                os._exit(stop.code)
            except BaseException:
                traceback.print_exc()
                raise

    process = multiprocessing.get_context('fork').Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 2, (folder / 'stderr.txt').read_text()
    (line,) = (folder / 'stderr.txt').read_text().splitlines()
    return line


# torch takes five seconds to end further workers
@pytest.mark.parametrize(('how', 'test_mode'), [(signal.SIGKILL, False), (signal.SIGSEGV, True)])
def test_the_clip_is_named(folder, how, test_mode):
    data = dataset(folder, how=how, test_mode=test_mode)
    line = error_of(folder, DataLoader(data, num_workers=1))
    assert line.startswith('error: a data worker died, while it read ')
    assert f'{folder}/bad.mp4 ({folder}/train.csv, row 7): ' in line
    assert 'DataLoader worker (pid' in line or 'the connection to it broke' in line
    assert '`mmav check`' in line and line.count('.csv, row') == 1


def test_persistent_workers_and_several_data_sets(folder):
    data, others = dataset(folder), [dataset(folder, 'val.csv'), dataset(folder, 'val.csv')]
    # only the second round comes to the clip
    sampler = Rounds([[0, 1, 9, 10], [0, 1, 9, 13]])
    loader = DataLoader(ConcatDataset([others[0], data]), sampler=sampler, num_workers=1, persistent_workers=True)
    assert [others[1][i]['index'] for i in range(3)] == [0, 1, 2]
    assert f'{folder}/bad.mp4 ({folder}/train.csv, row 7)' in error_of(folder, loader, epochs=2)


class Rounds:
    def __init__(self, rounds):
        self.rounds = iter(rounds)

    def __iter__(self):
        return iter(next(self.rounds))

    def __len__(self):
        return 4


def test_workers_that_hang(folder):
    line = error_of(folder, DataLoader(dataset(folder, how=None), num_workers=1, timeout=1))
    assert line.startswith('error: no data worker answered in time, while it read ')
    assert f'{folder}/bad.mp4 ({folder}/train.csv, row 7): DataLoader timed out after 1' in line


def note(data, pipe):
    with data.reading(3):
        pipe.send(os.getpid())
        time.sleep(60)


def test_processes_note_what_they_read(folder):
    data = dataset(folder)
    with data.reading(7):
        assert clips_of({os.getpid()}) == [data.describe(7)] and clips_of({1}) == []
        assert clips_of(but={os.getpid()}) == []
    assert data.describe(7) == f'{folder}/7.mp4 ({folder}/train.csv, row 9)'
    assert clips_of({os.getpid()}) == []
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe()
    process = context.Process(target=note, args=(data, theirs), daemon=True)
    process.start()
    pid = ours.recv()
    assert clips_of_workers('DataLoader timed out after 1 seconds') == [data.describe(3)]
    process.kill()
    process.join()
    assert clips_of({pid}) == clips_of(but={1}) == [data.describe(3)]
    assert clips_of_workers(f'DataLoader worker (pid(s) 1, {pid}) exited unexpectedly') == [data.describe(3)]
    # of the living one is none
    assert clips_of_workers('DataLoader timed out after 1 seconds') == []


def test_other_errors_of_workers_keep_their_traceback():
    def main():
        raise RuntimeError('Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: shapes differ')

    with pytest.raises(RuntimeError, match='shapes differ'):
        run_tool(main)


def test_shared_memory_that_ran_out_is_one_line(capsys):
    def main():
        raise RuntimeError(
            'Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\n'
            'RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)'
        )

    with pytest.raises(SystemExit):
        run_tool(main)
    assert re.fullmatch(
        r'error: a data worker died: unable to allocate.*a larger /dev/shm.*\n', capsys.readouterr().err
    )
