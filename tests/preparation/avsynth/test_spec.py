from collections import Counter

import pytest

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
    pair, parity, action, match = (AVSynthSpec(task=task) for task in TASKS)
    assert len(set(pair.class_lists()['label'])) == 16
    assert pair.class_lists()['label'][6] == pair.labels(1, 2)['label'] == 'slide+warble'
    assert parity.class_lists() == dict(label=('sum0', 'sum1', 'sum2', 'sum3'))
    assert parity.labels(3, 2) == dict(label='sum1')
    assert action.labels(1, 2) == dict(verb='slide', noun='warble')
    assert match.class_lists()['label'] == ('bounce+sweep_up', 'slide+sweep_down', 'spin+warble', 'pulse+beeps')
    assert match.labels(2, 2) == dict(label='spin+warble')
    assert {column: len(names) for column, names in action.class_lists().items()} == dict(verb=4, noun=4)


def test_picture_and_sound_agree_in_match() -> None:
    spec = AVSynthSpec(task='match')
    seen = Counter(spec.events('test', index) for index in range(spec.test))
    assert seen == {(event, event): 120 for event in range(4)}


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
