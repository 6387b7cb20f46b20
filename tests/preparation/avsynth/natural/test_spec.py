from collections import Counter

import numpy as np
import pytest

from mmav.preparation.avsynth.natural.spec import (
    ABSENT,
    DISTRACTOR,
    MARKS,
    NUM_CLASSES,
    ON,
    OTHER,
    SILENT,
    TIMBRES,
    NaturalSpec,
    related,
    sound_name,
    visual_name,
)
from mmav.preparation.avsynth.spec import SPLITS


@pytest.mark.parametrize('split', SPLITS)
def test_every_class_is_equally_frequent(split: str) -> None:
    spec = NaturalSpec(train=96, val=96, test=96)
    assert Counter(spec.label(split, index) for index in range(96)) == dict.fromkeys(range(NUM_CLASSES), 3)


def test_a_visual_and_an_audio_family_share_one_class() -> None:
    pairs = Counter((label // len(MARKS), label % len(TIMBRES)) for label in range(NUM_CLASSES))
    assert len(pairs) == NUM_CLASSES and set(pairs.values()) == {1}
    names = NaturalSpec().class_lists()['label']
    assert len(set(names)) == NUM_CLASSES and names[6] == 'amber_dark+warble_2'
    assert (visual_name(6, ambiguous=True), sound_name(6, ambiguous=True)) == ('amber', 'warble')


def test_related_classes_are_those_of_a_family() -> None:
    for label in range(NUM_CLASSES):
        visual, audio = related(label)
        assert visual[0] == audio[0] == label
        assert {visual_name(other, ambiguous=True) for other in visual} == {visual_name(label, ambiguous=True)}
        assert {sound_name(other, ambiguous=True) for other in audio} == {sound_name(label, ambiguous=True)}
        assert (len(set(visual)), len(set(audio))) == (4, 8)


def test_states_occur_as_often_as_said() -> None:
    spec, number = NaturalSpec(), 3000
    drawn = [spec.evidence('train', index) for index in range(number)]
    for modality, states in enumerate((spec.video_states, spec.audio_states)):
        count = Counter(pair[modality].state for pair in drawn)
        for state, probability in states.items():
            deviation = (probability * (1 - probability) / number) ** 0.5
            assert abs(count[state] / number - probability) < 4 * deviation, state
        on = [pair[modality].ambiguous for pair in drawn if pair[modality].state == ON]
        assert np.mean(on) == pytest.approx(0.2, abs=0.035)
        assert not any(pair[modality].ambiguous for pair in drawn if pair[modality].state != ON)
    assert not any(seen.state != ON and heard.state != ON for seen, heard in drawn)


def test_events_are_what_the_states_say() -> None:
    spec = NaturalSpec(ambiguous=0.4)
    for index in range(400):
        label, pair = spec.label('test', index), spec.evidence('test', index)
        for modality, given in enumerate(pair):
            if given.state == ON:
                assert given.event == label
            elif given.state == OTHER:
                assert given.event in related(label)[modality][1:]
            else:
                assert given.state in (DISTRACTOR, SILENT, ABSENT) and given.event is None
        seen, heard = pair
        aligned = seen.state == heard.state == ON
        assert ((seen.size, seen.tempo) == (heard.size, heard.tempo)) == aligned
        assert (seen.mark is None) == (seen.event is None or seen.ambiguous)
        assert (heard.pitch is None) == (heard.event is None or heard.ambiguous)


def test_size_and_tempo_are_independent_of_the_class_and_of_each_other() -> None:
    spec = NaturalSpec()
    table = np.array(
        [
            (spec.label('train', k) // 4, spec.label('train', k) % 4, pair[0].size, pair[0].tempo, pair[1].size)
            for k in range(1500)
            if ON == (pair := spec.evidence('train', k))[0].state == pair[1].state
        ]
    )
    correlation = np.abs(np.corrcoef(table.T))
    assert correlation[2, 4] == pytest.approx(1)
    assert max(correlation[0, 2], correlation[1, 2], correlation[0, 3], correlation[1, 3], correlation[2, 3]) < 0.13


def test_a_clip_does_not_depend_on_the_size_of_its_split() -> None:
    small, large = NaturalSpec(train=32), NaturalSpec(train=320)
    assert [small.evidence('train', k) for k in range(32)] == [large.evidence('train', k) for k in range(32)]
    assert small.evidence('train', 0) != NaturalSpec(train=32, seed=1).evidence('train', 0)
    assert small.clip_path('train', 7) == 'clips/train/00007.mp4'


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'task': 'pair'}, "task is 'pair'"),
        ({'train': 100}, 'train is 100.*multiple of 32, such as 96'),
        ({'val': 0}, 'val is 0.*such as 32'),
        ({'size': 33}, 'needs an even size: take 34'),
        ({'fps': 1}, 'fps is 1'),
        ({'ambiguous': 1.5}, 'ambiguous is 1.5: take a value from 0 to 1'),
        ({'video_off': 0.6, 'audio_off': 0.6}, 'video_off . audio_off is 1.2: take at most 1'),
        ({'other': 0.3}, 'other is 0.3, more than video_off, 0.24'),
        ({'silent': 0.2}, 'other . silent . absent is 0.34, more than audio_off, 0.24'),
    ],
)
def test_wrong_values_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NaturalSpec(**wrong)
