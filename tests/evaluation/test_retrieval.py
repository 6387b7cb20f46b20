import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from mmav.errors import MmavError
from mmav.evaluation import Retrieval
from mmav.evaluation import retrieval as module
from mmav.evaluation.retrieval import chance_recalls, nearest, retrieval_metrics, retrieval_ranks, shared_space
from tests.evaluation.test_kept_features import sample

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 5
AUDIO = RNG.standard_normal((40, 6)) + np.eye(5, 6)[LABELS]
VIDEO = 3 * AUDIO + 2 * RNG.standard_normal((40, 6))


def slow(queries, gallery, labels=None):
    """Sorts all candidates of each clip, in a loop; 0 where the first is right."""
    ranks = []
    for i, row in enumerate(cosine_similarity(queries, gallery)):
        order = sorted(range(len(gallery)), key=lambda place, row=row: -row[place])
        right = [place == i if labels is None else labels[place] == labels[i] for place in order]
        ranks.append(right.index(True))
    return np.array(ranks)


@pytest.mark.parametrize('labels', [None, LABELS])
def test_equals_a_loop(labels, monkeypatch):
    monkeypatch.setattr(module, '_ENTRIES', 3 * 40)  # three queries at a time
    for queries, gallery in ((AUDIO, VIDEO), (VIDEO, AUDIO)):
        expected = slow(queries, gallery, labels)
        assert retrieval_ranks(queries, gallery, labels).tolist() == expected.tolist()
        assert len(set(expected.tolist())) > 3


def test_recall_and_median_rank():
    ranks = slow(AUDIO, VIDEO)
    found = retrieval_metrics(ranks)
    for k in (1, 5, 10):
        assert found[f'r{k}'] == sum(rank < k for rank in ranks) / 40
    assert found['median_rank'] == np.median(ranks + 1)


def test_no_preference_finds_nothing():
    assert retrieval_ranks(np.ones((7, 3)), np.ones((7, 3))).tolist() == 7 * [6]
    torn = np.where(np.arange(7)[:, None] == 2, np.nan, np.eye(7))
    assert retrieval_ranks(torn, np.eye(7))[2] == 6 and not retrieval_ranks(np.eye(7), np.eye(7)).any()
    # of one class every candidate is right
    assert not retrieval_ranks(np.ones((7, 3)), np.ones((7, 3)), np.zeros(7)).any()


def test_chance_is_what_random_orders_give():
    labels = np.repeat([0, 1, 2], [2, 5, 13])
    rng = np.random.default_rng(0)
    drawn = [retrieval_ranks(rng.standard_normal((20, 4)), rng.standard_normal((20, 4)), labels) for _ in range(500)]
    found = chance_recalls(labels)
    for k in (1, 5, 10):
        assert found[f'r{k}'] == pytest.approx(np.mean([ranks < k for ranks in drawn]), abs=0.015)
    assert chance_recalls(np.arange(3), [2, 5]) == dict(r2=pytest.approx(2 / 3), r5=1)


def test_the_nearest_come_first():
    expected = np.argsort(-cosine_similarity(AUDIO, VIDEO), axis=1)[:, :5]
    assert nearest(AUDIO, VIDEO, 5).tolist() == expected.tolist()
    assert nearest(AUDIO[:2], VIDEO[:3], 5).shape == (2, 3)


def process(metric, names, number=40):
    for place in range(number):
        both = {name: (AUDIO if 'audio' in name else VIDEO)[place].tolist() for name in names}
        metric.process(None, [sample(f'{place}.mp4', int(LABELS[place]), **both)])
    return metric.evaluate(number)


def test_the_metric_takes_projections(monkeypatch):
    told = []
    monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: told.append(text))
    found = process(Retrieval((1, 10)), ['audio_projected', 'video_projected'])
    for direction, queries, gallery in (('audio_to_video', AUDIO, VIDEO), ('video_to_audio', VIDEO, AUDIO)):
        # the samples hold float32
        for end, labels in (('', None), ('_class', LABELS)):
            ranks = slow(queries.astype(np.float32), gallery.astype(np.float32), labels)
            assert found[f'{direction}{end}_r10'] == (ranks < 10).mean()
            assert found[f'{direction}{end}_median_rank'] == np.median(ranks) + 1
    assert len(found) == 12 and not told
    assert process(Retrieval((1, 10)), ['audio', 'video']) == found
    assert 'the figures are those of chance' in told[0]


def test_clips_with_any_number_of_labels_are_found_by_themselves():
    metric, one = Retrieval((1, 10)), process(Retrieval((1, 10)), ['audio', 'video'])
    for place in range(40):
        clip = sample(f'{place}.mp4', audio=AUDIO[place].tolist(), video=VIDEO[place].tolist())
        metric.process(
            None, [{key: value for key, value in clip.items() if key != 'gt_label'} | dict(multi_label=True)]
        )
    assert metric.evaluate(40) == {name: value for name, value in one.items() if '_class_' not in name}
    assert Retrieval.multi_label is None


def test_what_is_compared():
    both = dict(audio=3, video=5)
    assert shared_space(dict(both, audio_projected=4, video_projected=4)) == (
        ['audio_projected', 'video_projected'],
        '',
    )
    names, warning = shared_space(dict(audio=3, video=3, fused=6))
    assert names == ['audio', 'video'] and 'trained together' in warning
    with pytest.raises(MmavError, match='a space that the modalities share: audio has width 3, video 5; train with'):
        shared_space(both)
    with pytest.raises(MmavError, match='needs features of audio and of video, got audio'):
        shared_space(dict(audio=3))
    with pytest.raises(MmavError, match=r'embeddings of one shape, got \(40, 6\) and \(39, 6\)'):
        retrieval_ranks(AUDIO, VIDEO[:39])
    with pytest.raises(ValueError, match='topk must be positive numbers'):
        Retrieval(0)
