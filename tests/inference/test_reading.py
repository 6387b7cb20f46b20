import threading
import time

import pytest

from mmav.errors import MediaError
from mmav.inference.reading import Job, in_batches, read_ahead

JOBS = [Job(k, None, None) for k in range(12)]


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_order_is_that_of_the_jobs(workers):
    def read(job):
        time.sleep(0.002 * (job.clip % 3 == 0))
        if job.clip == 5:
            raise MediaError('five', 'torn')
        return dict(clip=job.clip)

    outcomes = list(read_ahead(read, iter(JOBS), workers=workers, ahead=4))
    assert [job.clip for job, _ in outcomes] == list(range(12))
    assert isinstance(outcomes[5][1], MediaError)
    assert [item['clip'] for job, item in outcomes if job.clip != 5] == [k for k in range(12) if k != 5]


def test_no_more_is_read_than_may_wait():
    taken = []

    def jobs():
        for job in JOBS:
            taken.append(job)
            yield job

    outcomes = read_ahead(lambda job: {}, jobs(), workers=2, ahead=4)
    next(outcomes)
    assert len(taken) == 4
    outcomes.close()
    assert len(taken) == 4 and not [t for t in threading.enumerate() if t.name.startswith('mmav-read_')]


def test_a_mistake_in_the_program_is_not_hidden():
    def read(job):
        raise KeyError('bug')

    with pytest.raises(KeyError, match='bug'):
        list(read_ahead(read, JOBS, workers=2, ahead=4))


def test_batches():
    outcomes = [(job, {}) for job in JOBS]
    assert [len(batch) for batch in in_batches(outcomes, 5)] == [5, 5, 2]
    assert [outcome for batch in in_batches(outcomes, 5) for outcome in batch] == outcomes
