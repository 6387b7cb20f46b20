import threading
import time

import pytest

from mmav.serving.clip_request import ClipRequest
from mmav.serving.limits import Refusal, ServeLimits
from mmav.serving.reading import ClipJob
from mmav.serving.service import ClipService
from tests.serving.traps import KILL


@pytest.fixture
def service(inferencer):
    """One that does not run."""
    return ClipService(inferencer, ServeLimits(queue=2), workers=2)


def test_queue_has_an_end(service):
    for _ in range(2):
        service.submit(ClipJob('a'))
    for refuse in (service.check_room, lambda: service.submit(ClipJob('a'))):
        with pytest.raises(Refusal) as refused:
            refuse()
        assert refused.value.code == 'busy' and refused.value.retry_after == 1
    service.stopping = True
    with pytest.raises(Refusal, match='stopping'):
        service.check_room()
    service.clip_seconds.see(1000)
    assert service.patience == 30


def test_what_a_stopped_service_has_left_is_answered(inferencer, clip, tmp_path):
    service = ClipService(inferencer, ServeLimits(timeout=20), workers=1)
    service.start()
    assert service.ready
    requests = [service.submit(ClipJob(str(clip))) for _ in range(3)]
    service.stop()
    assert [request.answer.result(0)['present'] for request in requests] == [['video', 'audio']] * 3
    assert not service.ready and service._pool.running == 0


def test_a_failure_of_ours_is_an_answer(site, clip, monkeypatch, caplog):
    monkeypatch.setattr(site.service, '_heed', lambda request, message: 1 / 0)
    request = site.service.submit(ClipJob(str(clip)))
    assert request.answer.exception(20).code == 'internal'
    monkeypatch.undo()
    deadline = time.monotonic() + 10
    while 'division by zero' not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert site.service.submit(ClipJob(str(clip))).answer.result(20)['windows']


def test_dropped_work_is_not_done(site, clip, tmp_path, monkeypatch):
    (tmp_path / 'a').write_bytes(clip.read_bytes() + KILL)
    before = site.service.ended.value(cause='crash')
    request = ClipRequest(ClipJob(str(tmp_path / 'a')), seconds=20)
    request.drop()
    site.service._waiting.put(request)
    assert site.service.submit(ClipJob(str(clip))).answer.result(20)['windows']
    assert site.service.ended.value(cause='crash') == before


def test_windows_of_several_clips_share_a_batch(site, flashes):
    counts = site.service.batches
    before = sum(map(sum, counts._counts.values()))
    requests = [site.service.submit(ClipJob(str(flashes), stride=0.5)) for _ in range(3)]
    results = [request.answer.result(20) for request in requests]
    assert [len(result['windows']) for result in results] == [5, 5, 5]
    scores = [[window['predictions'][0]['score'] for window in result['windows']] for result in results]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5) and scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert sum(map(sum, counts._counts.values())) - before < 15


def test_many_threads_at_once(site, clip):
    answers = []

    def ask():
        try:
            answers.append(site.service.submit(ClipJob(str(clip))).answer.result(20)['present'])
        except Refusal as refusal:
            answers.append(refusal.code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12 and all(each in (['video', 'audio'], 'busy', 'timeout') for each in answers)
