import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from mmav.errors import MmavError
from mmav.evaluation.embeddings import choose_features, default_perplexity, embed, join_features, pick_clips


def row(i, label=0, broken=None, **features):
    """A clip whose features are two numbers: its own and one that tells the features apart."""
    features = {name: np.float32([i, value]) for name, value in features.items()}
    label = label if isinstance(label, dict) else dict(label=label)
    stored = dict(path=f'data/{i}.mp4', label=label, broken=broken, sample_idx=i, features=features)
    return dict(stored, feature=features['fused']) if 'fused' in features else stored


def dump(number=6, **features):
    return [row(i, i % 3, **features) for i in range(number)]


FUSED = dict(fused=3, video=1, audio=2)


def test_one_file_gives_a_panel_for_each_of_its_features():
    assert choose_features({'m.pkl': dump(**FUSED)}) == [('m.pkl', name) for name in ('audio', 'video', 'fused')]
    assert choose_features({'m.pkl': dump(**FUSED)}, ['fused', 'feature']) == [('m.pkl', 'fused'), ('m.pkl', 'feature')]
    older = [dict(each, features={}) for each in dump(**FUSED)]
    assert choose_features({'m.pkl': older}) == [('m.pkl', 'feature')]


def test_several_files_give_what_the_last_layer_of_each_reads():
    late = [dict(each, feature=np.zeros(4)) for each in dump(video=1, audio=2)]
    files = {'a.pkl': dump(audio=2), 'v.pkl': dump(video=1), 'mmt.pkl': dump(**FUSED), 'late.pkl': late}
    assert [name for _, name in choose_features(files)] == ['audio', 'video', 'fused', 'feature']
    two = {name: files[name] for name in ('mmt.pkl', 'late.pkl')}
    assert choose_features(two, ['audio']) == [('mmt.pkl', 'audio'), ('late.pkl', 'audio')]
    assert choose_features(two, ['fused', 'video']) == [('mmt.pkl', 'fused'), ('late.pkl', 'video')]


@pytest.mark.parametrize(
    ('files', 'wanted', 'message'),
    [
        (['m'], ['fussed'], "'m' has no feature 'fussed', only audio, video, fused, feature, did you mean 'fused'"),
        (['m', 'v'], ['video', 'audio'], "'v' has no feature 'audio', only video"),
        (['m', 'v', 'm2'], ['video', 'audio'], '3 files take one feature for all, or one each: got video, audio'),
        (['m', 'none'], None, "'none' has no features: dump it with --cfg-options model.keep_features=True"),
    ],
)
def test_features_that_cannot_be_chosen(files, wanted, message):
    known = dict(m=dump(**FUSED), m2=dump(**FUSED), v=dump(video=1), none=dump())
    with pytest.raises(MmavError, match=message):
        choose_features({name: known[name] for name in files}, wanted)


def test_every_panel_has_the_clips_that_all_have():
    fused, sound = dump(8, **FUSED), dump(7, audio=2)
    fused[1]['broken'] = 'torn'
    del fused[2]['features']['video']
    sound[3]['features']['audio'][0] = np.nan
    panels = [('mmt.pkl', 'fused'), ('mmt.pkl', 'video'), ('a.pkl', 'audio')]
    sets = join_features({'mmt.pkl': (fused[::-1], dict(label=['x', 'y', 'z'])), 'a.pkl': (sound, None)}, panels)
    assert [features[:, 0].tolist() for features in sets.features] == 3 * [[0, 4, 5, 6]]
    assert [features[0, 1] for features in sets.features] == [3, 1, 2]
    assert sets.labels.tolist() == [0, 1, 2, 0] and sets.classes == ['x', 'y', 'z']
    assert sets.left_out == {
        'not in every file': 1,
        'could not be read': 1,
        'without a feature': 1,
        'not finite': 1,
    }
    assert sets.names == ['mmt.pkl', 'mmt.pkl', 'a.pkl'] and sets.sources == panels


def test_names_of_the_panels():
    files = {'x/mat.pkl': (dump(audio=1), None), 'x/mmt.pkl': (dump(**FUSED), None)}
    panels = choose_features({path: rows for path, (rows, _) in files.items()})
    assert join_features(files, panels).names == ['mat', 'mmt']
    assert join_features(files, panels, names=['MAT', 'MMT']).names == ['MAT', 'MMT']
    with pytest.raises(MmavError, match='need 2 names, one for each panel, got 1: MAT'):
        join_features(files, panels, names=['MAT'])
    one = {'m.pkl': (dump(**FUSED), None)}
    assert join_features(one, [('m.pkl', 'video'), ('m.pkl', 'fused')]).names == ['video', 'fused']


def test_the_label_of_a_verb_or_a_noun():
    rows = [row(i, dict(verb=i % 2, noun=i), audio=1) for i in range(4)]
    classes = dict(verb=['cut', 'wash'], noun=list('abcd'))
    sets = join_features({'m.pkl': (rows, classes)}, [('m.pkl', 'audio')], part='verb')
    assert sets.labels.tolist() == [0, 1, 0, 1] and sets.classes == ['cut', 'wash']
    with pytest.raises(MmavError, match="'m.pkl' needs --part verb or noun"):
        join_features({'m.pkl': (rows, classes)}, [('m.pkl', 'audio')])


def test_files_that_do_not_go_together():
    panels = [('a', 'audio'), ('b', 'audio')]
    with pytest.raises(MmavError, match=r'differ in the label of 2\.mp4, row 2'):
        join_features({'a': (dump(audio=1), None), 'b': ([row(2, 0, audio=1)], None)}, panels)
    with pytest.raises(MmavError, match="'b' has a clip twice"):
        join_features({'a': (dump(audio=1), None), 'b': (2 * dump(audio=1), None)}, panels)
    torn = dump(audio=1)
    torn[0]['features']['audio'] = np.zeros(3)
    with pytest.raises(MmavError, match=r"'a': the feature 'audio' has several shapes, \(2,\) and \(3,\)"):
        join_features({'a': (torn, None)}, panels[:1])


def test_clips_are_picked_as_asked():
    labels = np.arange(600) % 60
    places = pick_clips(labels, 50, 200, seed=3)
    assert len(places) == len(set(places.tolist())) == 200 and len(np.unique(labels[places])) <= 50
    assert np.array_equal(places, pick_clips(labels, 50, 200, seed=3))
    assert not np.array_equal(places, pick_clips(labels, 50, 200, seed=4))
    assert len(np.unique(labels[pick_clips(labels, 50, 500)])) == 50  # all of these classes' clips
    assert pick_clips(labels, 99, 2000).tolist() == list(range(600))


@pytest.mark.parametrize(
    ('labels', 'numbers', 'message'),
    [
        ([0, 1, 2, 3], (50, 2000), 'too few clips to draw: 4 of 4 classes, need at least 5'),
        ([], (50, 2000), 'too few clips to draw: 0 of 0'),
        ([0] * 9, (0, 2000), 'the number of classes must be positive, got 0'),
        ([0] * 9, (5, -1), 'the number of samples must be positive, got -1'),
    ],
)
def test_clips_that_cannot_be_picked(labels, numbers, message):
    with pytest.raises(MmavError, match=message):
        pick_clips(np.array(labels, dtype=int), *numbers)


@pytest.mark.parametrize('width', [8, 60])
def test_tsne_is_that_of_scikit_learn(width):
    features = np.random.default_rng(0).standard_normal((70, width))
    narrow = PCA(50, random_state=5).fit_transform(features) if width > 50 else features
    expected = TSNE(perplexity=23.0, init='pca', random_state=5).fit_transform(narrow)
    points = embed(features, seed=5)
    np.testing.assert_allclose(points, expected, rtol=1e-5)
    assert not np.allclose(points, embed(features, seed=5, perplexity=5), rtol=0.1)


def test_principal_components_and_one_dimension():
    features = np.random.default_rng(0).standard_normal((12, 6))
    np.testing.assert_allclose(embed(features, 'pca'), PCA(2).fit_transform(features), atol=1e-9)
    line = np.arange(12.0)[:, None]
    assert np.ptp(embed(line, 'pca')[:, 1]) == 0 and embed(line).shape == (12, 2)


def test_few_clips_have_a_smaller_perplexity():
    assert [default_perplexity(n) for n in (5, 91, 2000)] == [pytest.approx(4 / 3), 30, 30]
    assert np.isfinite(embed(np.random.default_rng(0).standard_normal((5, 300)))).all()


def test_features_that_cannot_be_embedded():
    features = np.eye(6)
    with pytest.raises(MmavError, match='perplexity 30 does not fit 6 clips: it must be above 0 and below 6'):
        embed(features, perplexity=30)
    with pytest.raises(MmavError, match="method='tsme' is unknown: choose tsne or pca, did you mean 'tsne'"):
        embed(features, 'tsme')
    with pytest.raises(MmavError, match="the features 'audio' are equal in all 6 clips"):
        embed(np.ones((6, 4)), name='audio')


def test_clips_with_one_label_of_a_set():
    rows = [row(i, dict(label=label), **FUSED) for i, label in enumerate([(2,), (0, 1), (), (1,)])]
    sets = join_features({'m.pkl': (rows, None)}, [('m.pkl', 'fused')])
    assert sets.labels.tolist() == [2, 1] and sets.features[0][:, 0].tolist() == [0, 3]
    assert sets.left_out == {'with several labels, or none': 2}
    others = [dict(each, label=dict(label=(0, 2))) if len(each['label']['label']) > 1 else each for each in rows]
    with pytest.raises(MmavError, match='the files differ in the label'):
        join_features({'m.pkl': (rows, None), 'n.pkl': (others, None)}, [('m.pkl', 'fused'), ('n.pkl', 'fused')])
