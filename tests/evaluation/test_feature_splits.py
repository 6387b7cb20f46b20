import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation.feature_splits import Split, clips_in_both, read_splits
from mmav.evaluation.predictions import save_predictions
from tests.evaluation.stored import CLASSES, points, write_clips


@pytest.fixture
def train(tmp_path):
    return write_clips(tmp_path / 'train', 12, 0)


def test_both_have_the_clips_with_every_feature(train, tmp_path):
    test = write_clips(tmp_path / 'test', 9, 1, absent=dict(audio=[4]), broken={1: 'torn'})
    one, two, classes = read_splits(train, test)
    assert classes == dict(label=list(CLASSES)) and list(one.features) == list(two.features) == ['audio', 'video']
    audio, _, labels = points(9, 1)
    kept = [0, 2, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(two.features['audio'], audio[kept, 0, 0])
    assert two.labels['label'].tolist() == [labels[place] for place in kept] and len(one.clips) == 12
    assert two.left_out == {'could not be read': 1, 'without a feature': 1}
    assert [clip['path'] for clip in two.clips] == [f'test/{place}.mp4' for place in kept]
    # what is not asked for leaves nothing out
    assert len(read_splits(train, test, features=['video'])[1].clips) == 8


def test_a_folder_and_a_dump_in_another_order_of_classes(train, tmp_path):
    rows = []
    for place in range(6):
        clip = dict(path=f'{place}.avi', start=0.0, end=1.0, label=place % 3, broken=None, sample_idx=place)
        features = dict(audio=np.float32(np.eye(8)[place]), fused=np.ones(3, np.float32))
        rows.append(dict(clip, scores=np.ones(3), feature=np.ones(3, np.float32), features=features))
    save_predictions(tmp_path / 'a.pkl', rows, CLASSES[::-1])
    one, two, _ = read_splits(train, tmp_path / 'a.pkl')
    assert list(one.features) == ['audio'] and two.labels['label'].tolist() == [2, 1, 0, 2, 1, 0]


def test_verbs_and_nouns(tmp_path):
    from mmav.datasets.features import write_features

    for name, number in (('train', 8), ('test', 6)):
        labels = dict(verb=[i % 2 for i in range(number)], noun=[i // 2 for i in range(number)])
        values = torch.randn(number, 1, 1, 4, generator=torch.Generator().manual_seed(number))
        classes = dict(verb=['cut', 'wash'], noun=list('abcd'))
        paths = [f'{name}/{place}' for place in range(number)]
        write_features(tmp_path / name, dict(audio=values), labels, classes=classes, paths=paths)
    _, two, classes = read_splits(tmp_path / 'train', tmp_path / 'test')
    assert two.labels['verb'].tolist() == [0, 1, 0, 1, 0, 1] and two.labels['noun'].tolist() == [0, 0, 1, 1, 2, 2]
    assert list(classes) == ['verb', 'noun']


@pytest.mark.parametrize(
    ('options', 'wanted', 'message'),
    [
        (dict(classes=('a', 'b', 'c')), None, 'are of different classes'),
        (dict(points=dict(width=6)), None, "audio has width 8 in '.*train' and 6 in '.*test': extract both with one"),
        (dict(names=['video']), ['audio'], "test' has no feature 'audio', only video"),
        (
            dict(broken=dict.fromkeys(range(1, 9), 'torn')),
            None,
            "test' has 1 clips with audio, video: an encoder cannot",
        ),
        (dict(points=dict(spread=0.0), absent=dict(audio=[1, 2, 4, 5, 7, 8])), ['audio'], None),
    ],
)
def test_what_does_not_go_together(train, tmp_path, options, wanted, message):
    test = write_clips(tmp_path / 'test', 9, 1, **options)
    if message is None:
        assert len(read_splits(train, test, features=wanted)[1].clips) == 3
        return
    with pytest.raises(MmavError, match=message):
        read_splits(train, test, features=wanted)


def test_nothing_in_common_and_nothing_learned(train, tmp_path):
    with pytest.raises(MmavError, match="'.*train' is given for training and for testing"):
        read_splits(train, tmp_path / 'test' / '..' / 'train')
    sound = write_clips(tmp_path / 'sound', 9, 1, names=['audio'])
    sight = write_clips(tmp_path / 'sight', 9, 1, names=['video'])
    with pytest.raises(MmavError, match="no feature is in both: '.*sound' has audio, '.*sight' has video"):
        read_splits(sound, sight)
    from mmav.datasets.features import write_features

    equal = torch.ones(6, 1, 1, 8)
    write_features(tmp_path / 'dead', dict(audio=equal), dict(label=[0, 1, 2] * 2), classes=dict(label=CLASSES))
    with pytest.raises(
        MmavError, match="the features 'audio' are equal in all clips of '.*dead': is the model trained"
    ):
        read_splits(sound, tmp_path / 'dead')


def test_clips_that_were_trained_on_are_found(train, tmp_path):
    audio, video, _ = points(9, 1)
    old, old_video, _ = points(12, 0)
    # the third clip is of the training list; the fifth has its name alone, the seventh its content
    for place, other in ((2, 5), (6, 8)):
        audio[place], video[place] = old[other], old_video[other]
    paths = [f'test/{place}.mp4' for place in range(9)]
    paths[4] = 'train/1.mp4'
    one = Split(dict(audio=old[:, 0, 0].numpy(), video=old_video[:, 0, 0].numpy()), {}, _clips(train, 12), {})
    two = Split(dict(audio=audio[:, 0, 0].numpy(), video=video[:, 0, 0].numpy()), {}, _clips(paths, 9), {})
    assert clips_in_both(one, two) == ([], 2)
    paths[2] = 'train/5.mp4'
    two = Split(two.features, {}, _clips(paths, 9), {})
    assert clips_in_both(one, two) == (['train/5.mp4'], 1)
    # another part of the same file is another clip
    for clip, span in ((one.clips[5], (0.0, 2.0)), (two.clips[2], (2.0, None))):
        clip['start'], clip['end'] = span
    assert clips_in_both(one, two) == ([], 2)
    test = write_clips(tmp_path / 'test', 12, 0, paths=[f'train/{place}.mp4' for place in range(12)])
    with pytest.raises(
        MmavError, match="12 clips of '.*test' are in '.*train', too, such as train/0.mp4: test on clips"
    ):
        read_splits(train, test)


def _clips(paths, number):
    names = [f'train/{place}.mp4' for place in range(number)] if not isinstance(paths, list) else paths
    return [dict(path=name, start=None, end=None) for name in names]


def test_clips_with_several_labels_are_refused(train, tmp_path):
    rows = [
        dict(path=f'{i}.mp4', start=0.0, end=1.0, label=(0, 1), scores=np.ones(3), broken=None, sample_idx=i)
        for i in range(6)
    ]
    rng = np.random.default_rng(0)
    made = [dict(row, features=dict(audio=rng.random(8), video=rng.random(8))) for row in rows]
    save_predictions(tmp_path / 'test.pkl', made, CLASSES)
    with pytest.raises(MmavError, match=r"test\.pkl' has clips with several labels: this is for clips with one"):
        read_splits(train, tmp_path / 'test.pkl')
