from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mmav.preparation.avsynth.spec import SPLITS, TASKS, AVSynthSpec


@pytest.mark.parametrize('num_events', [2, 4, 5])
@pytest.mark.parametrize('split', SPLITS)
def test_every_pair_is_equally_frequent(num_events: int, split: str) -> None:
    counts = dict.fromkeys(SPLITS, 3 * num_events**2)
    spec = AVSynthSpec(num_events=num_events, **counts)
    seen = Counter(spec.events(split, index) for index in range(spec.count(split)))
    assert seen == {(v, s): 3 for v in range(num_events) for s in range(num_events)}


def test_parity_label_is_independent_of_each_event() -> None:
    spec = AVSynthSpec(task='parity')
    for split in SPLITS:
        events = [spec.events(split, index) for index in range(spec.count(split))]
        share = spec.count(split) // 16
        for modality in (0, 1):
            joint = Counter((pair[modality], spec.labels(*pair)['label']) for pair in events)
            assert joint == {(event, f'sum{c}'): share for event in range(4) for c in range(4)}


def test_labels() -> None:
    pair, parity, action, match, events = (AVSynthSpec(task=task) for task in TASKS)
    assert len(set(pair.class_lists()['label'])) == 16
    assert pair.class_lists()['label'][6] == pair.labels(1, 2)['label'] == 'slide+warble'
    assert parity.class_lists() == dict(label=('sum0', 'sum1', 'sum2', 'sum3'))
    assert parity.labels(3, 2) == dict(label='sum1')
    assert action.labels(1, 2) == dict(verb='slide', noun='warble')
    assert match.class_lists()['label'] == ('bounce+sweep_up', 'slide+sweep_down', 'spin+warble', 'pulse+beeps')
    assert match.labels(2, 2) == dict(label='spin+warble')
    assert len(events.class_lists()['label']) == events.num_events == 6 and pair.num_events == 4
    assert events.labels((4, 5), (0, 4)) == dict(label='bounce+sweep_up|squash+hiss|flash+chord')
    assert events.labels((), (2,)) == dict(label='spin+warble')
    assert pair.labels(*pair.event_sets('test', 0)) == pair.labels(*pair.events('test', 0))
    assert {column: len(names) for column, names in action.class_lists().items()} == dict(verb=4, noun=4)


def test_picture_and_sound_agree_in_match() -> None:
    spec = AVSynthSpec(task='match')
    seen = Counter(spec.events('test', index) for index in range(spec.test))
    assert seen == {(event, event): 120 for event in range(4)}


def test_one_modality_knows_a_part_of_several_events() -> None:
    """Ranked by the best rule, which knows what it sees and how often the rest is heard, against all that is there."""
    spec = AVSynthSpec(task='events', train=4000)
    sets = [spec.event_sets('train', index) for index in range(spec.train)]
    assert {(len(seen), len(heard)) for seen, heard in sets} == {(a, b) for a in range(3) for b in range(3) if a + b}
    seen, heard = (np.array([[k in each for k in range(6)] for each in part]) for part in zip(*sets, strict=True))
    truth = seen | heard
    assert abs(truth.sum(axis=1).mean() - 2.06) < 0.05 and np.abs(truth.mean(axis=0) - truth.mean()).max() < 0.04
    order = np.random.default_rng(0).uniform(0, 1e-6, truth.shape)  # of what the rule cannot tell apart
    for mine, others in ((seen, heard), (heard, seen)):
        rest = np.array([others[mine.sum(axis=1) == number].mean() for number in range(3)])
        scores = np.where(mine, 1.0, rest[mine.sum(axis=1)][:, None]) + order
        best = np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(6)])
        assert 0.77 < best < 0.82
    # what is seen tells nothing of what is heard but that something is
    both = [np.corrcoef(seen[:, a], heard[:, b])[0, 1] for a in range(6) for b in range(6)]
    assert np.abs(both).max() < 0.1


def test_clip_of_several_events_does_not_depend_on_split_size() -> None:
    small, large = (AVSynthSpec(task='events', train=number, val=1) for number in (7, 100))
    assert [small.event_sets('train', k) for k in range(7)] == [large.event_sets('train', k) for k in range(7)]


def test_clip_depends_on_neither_task_nor_split_size() -> None:
    small, large = AVSynthSpec(task='pair', train=32), AVSynthSpec(task='parity', train=1600)
    assert [small.events('train', i) for i in range(32)] == [large.events('train', i) for i in range(32)]
    assert small.clip_path('train', 7) == large.clip_path('train', 7)


def test_random_streams_are_disjoint() -> None:
    draws = {
        float(AVSynthSpec(seed=seed).rng(split, index, stream).random())
        for seed in (0, 1)
        for split in SPLITS
        for index in range(20)
        for stream in ('order', 'video', 'audio')
    }
    assert len(draws) == 2 * 3 * 20 * 3


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'task': 'sum'}, "unknown task 'sum'"),
        ({'train': 100}, 'train is 100.*multiple of 16, such as 96'),
        ({'task': 'events', 'val': 0}, 'val is 0: take a value from 1'),
        ({'num_events': 1}, 'num_events is 1: take a value from 2 to 6'),
        ({'val': 0}, 'val is 0.*such as 16'),
        ({'num_events': 7}, 'num_events is 7: take a value from 2 to 6'),
        ({'size': 65}, 'needs an even size: take 66'),
        ({'size': 8}, 'size is 8'),
        ({'seconds': 0.2}, 'seconds is 0.2'),
        ({'fps': 1}, 'fps is 1'),
        ({'sample_rate': 12345}, 'sample_rate is 12345'),
        ({'seed': -1}, 'seed is -1'),
    ],
)
def test_wrong_values_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AVSynthSpec(**wrong)
