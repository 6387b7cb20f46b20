import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from mmav.errors import MmavError
from mmav.evaluation.feature_splits import Split
from mmav.evaluation.intervals import accuracy_interval
from mmav.evaluation.judging import as_table, judge, judged_features, num_steps, remarks
from tests.evaluation.stored import points


def split(number, seed, *, verbs=False, spread=1.5):
    audio, video, labels = points(number, seed, spread=spread)
    labels = np.array(labels)
    parts = dict(verb=labels, noun=np.arange(number) % 7) if verbs else dict(label=labels)
    features = dict(audio=audio[:, 0, 0].numpy().astype(float), video=3 * video[:, 0, 0].numpy().astype(float))
    return Split(features, parts, [dict(path=f'{seed}/{i}.mp4') for i in range(number)], {})


@pytest.fixture(scope='module')
def judged():
    steps = []
    train, test = split(90, 0), split(40, 1)
    rows = judge(train, test, k=5, done=lambda: steps.append(1))
    assert len(steps) == num_steps(['audio', 'video'], ['linear', 'knn', 'retrieval'])
    return train, test, rows


def test_linear_probe_and_knn_are_those_of_scikit_learn(judged):
    train, test, rows = judged
    labels, truth = train.labels['label'], test.labels['label']
    joined = [np.concatenate(list(each.features.values()), axis=1) for each in (train, test)]
    units = [np.concatenate([normalize(x) for x in each.features.values()], axis=1) for each in (train, test)]
    for row in (row for row in rows if row['measure'] != 'retrieval'):
        name = row['features']
        if name == 'audio + video':
            x, y = joined if row['measure'] == 'linear' else units
        else:
            x, y = train.features[name], test.features[name]
        if row['measure'] == 'linear':
            scaler = StandardScaler().fit(x)
            model = LogisticRegression(C=row['c'], max_iter=1000)
            guess = model.fit(scaler.transform(x), labels).predict(scaler.transform(y))
        else:
            votes = KNeighborsClassifier(5, metric='cosine', weights=lambda far: np.exp((1 - far) / 0.07))
            guess = votes.fit(x, labels).predict(y)
        right = int((guess == truth).sum())
        assert row['top1'] == right / 40 and 0.5 < row['top1'] < 1
        assert row['top1_interval'] == list(accuracy_interval(right, 40))
        assert row['majority'] == (truth == np.bincount(labels).argmax()).mean() and row['width'] == x.shape[1]
    assert len(rows) == 10 and 'top5' not in rows[0]


def test_retrieval(judged):
    _, test, rows = judged
    found = {(row['direction'], row['right']): row for row in rows if row['measure'] == 'retrieval'}
    assert len(found) == 4
    cosines = normalize(test.features['audio']) @ normalize(test.features['video']).T
    right = (cosines.argmax(axis=1) == np.arange(40)).mean()
    row = found['audio_to_video', 'clip']
    assert row['r1'] == right and row['r1_interval'] == list(accuracy_interval(round(40 * right), 40))
    assert row['chance'] == pytest.approx(dict(r1=1 / 40, r5=5 / 40, r10=10 / 40))
    assert found['audio_to_video', 'class']['r1'] >= right and found['audio_to_video', 'class']['chance'][
        'r1'
    ] == pytest.approx(1 / 3, abs=0.01)


def test_verbs_nouns_and_actions():
    train, test = split(84, 0, verbs=True, spread=0.5), split(42, 1, verbs=True, spread=0.5)
    classes = dict(verb=list('abc'), noun=list('abcdefg'))
    rows = judge(train, test, classes=classes, measures=['knn'], k=3)
    top1 = {(row['features'], row['part']): row for row in rows}
    assert list(dict.fromkeys(part for _, part in top1)) == ['verb', 'noun', 'action']
    verb, noun, action = (top1['audio', part] for part in ('verb', 'noun', 'action'))
    assert verb['top1'] > 0.9 > 0.5 > noun['top1'] >= action['top1'] and verb['majority'] == pytest.approx(1 / 3)
    assert 'top5' not in verb and noun['top5'] > noun['top1'] and action['majority'] == pytest.approx(1 / 21)
    assert 'audio, action' in as_table(rows)


def test_what_is_judged():
    assert judged_features(['audio', 'fused', 'audio_projected'], ['linear']) == ['audio', 'fused']
    assert judged_features(['audio', 'video'], ['retrieval']) == []
    assert num_steps(['audio'], ['knn'], parts=2) == 2 and num_steps(['audio', 'video'], ['retrieval']) == 1
    with pytest.raises(MmavError, match='k=91 does not fit: 90 clips can vote'):
        judge(split(90, 0), split(40, 1), measures=['knn'], k=91)
    one = split(40, 1)
    alone = Split({name: x[:1] for name, x in one.features.items()}, dict(label=np.array([0])), one.clips[:1], {})
    with pytest.raises(MmavError, match='retrieval needs two clips at least'):
        judge(one, alone, measures=['retrieval'])


def test_the_table(judged):
    text = as_table(judged[2])
    row = judged[2][0]
    low, high = row['top1_interval']
    assert f'linear probe  audio                   top-1 {row["top1"]:.4f} [{low:.3f}, {high:.3f}]' in text
    assert 'audio to video, class' in text and 'median rank' in text and len(text.split('\n')) == 10
    assert remarks(judged[2]) == []
    few = judge(split(3, 0), split(40, 1), measures=['linear'])
    assert 'the linear probe of audio has C = 1, which was not chosen: no class has a second file' in remarks(few)
    few[0]['converged'] = False
    assert remarks(few)[0] == 'the linear probe of audio did not converge'
