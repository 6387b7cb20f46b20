import pickle

import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions
from mmav.evaluation.vggsounder import TOPK, answers_of, benchmark, guesses, label_figures
from mmav.evaluation.vggsounder_list import SUBSETS, read_list
from tests.evaluation.vggsounder_lists import CLASSES, draw_scores, names, rows_of, write_dump, write_list

GIVEN = {'av': 0, 'a': 1, 'v': 2}


def labels_of(listed, name, subset):
    """The labels of one clip, as a set of names."""
    row = listed.shown[listed.ids.index(name)]
    return {CLASSES[k] for k in range(len(CLASSES)) if row[k] in SUBSETS[subset]}


def slow_figures(truths, scores):
    """The published definitions, clip by clip: of pairs of a set of labels and scores by class name."""
    found = {}
    for k in TOPK:
        counts = dict.fromkeys(CLASSES, (0, 0, 0))  # of both, of the truth, of the guesses
        hits = exact = union = 0
        for truth, score in zip(truths, scores, strict=True):
            guessed = set(sorted(score, key=score.__getitem__)[-k:])
            hits += bool(truth & guessed)
            exact += truth == guessed
            union += len(truth | guessed)
            for name in CLASSES:
                both, wanted, named = counts[name]
                counts[name] = (
                    both + (name in truth and name in guessed),
                    wanted + (name in truth),
                    named + (name in guessed),
                )
        both, wanted, named = np.sum(list(counts.values()), axis=0)
        precision, recall = both / named, both / wanted
        macro = [2 * b / (w + n) if w + n else 0.0 for b, w, n in counts.values()]
        found |= {
            f'hit_rate@{k}': hits / len(truths),
            f'accuracy@{k}': exact / len(truths),
            f'precision@{k}': precision,
            f'recall@{k}': recall,
            f'jaccard@{k}': both / union,
            f'f1@{k}': 2 * precision * recall / (precision + recall) if both else 0.0,
            f'f1_macro@{k}': np.mean(macro),
        }
    roc, average = [], []
    for name in CLASSES:
        right = [score[name] for truth, score in zip(truths, scores, strict=True) if name in truth]
        wrong = [score[name] for truth, score in zip(truths, scores, strict=True) if name not in truth]
        if right and wrong:
            roc.append(np.mean([(r > w) + 0.5 * (r == w) for r in right for w in wrong]))
            above = [(sum(o >= r for o in right), sum(o >= r for o in wrong)) for r in right]
            average.append(np.mean([x / (x + y) for x, y in above]))
    return {**found, 'auc_roc': np.mean(roc), 'auc_pr': np.mean(average)}


def slow_confusion(listed, clips, scores):
    """Shares of the clips that a modality alone hits at the first guess, and both together miss."""
    lost = dict.fromkeys(GIVEN, 0)
    for place, name in enumerate(clips):
        truth = labels_of(listed, name, 'all')
        hit = {given: CLASSES[scores[given][place].argmax()] in truth for given in GIVEN}
        lost['a'] += hit['a'] and not hit['av']
        lost['v'] += hit['v'] and not hit['av']
        lost['av'] += hit['a'] and hit['v'] and not hit['av']
    return {name: count / len(clips) for name, count in lost.items()}


def draw(folder, seed=0):
    """A list, ten clips fewer in the dumps, in another order, and the dumps of three tests with other orders too."""
    folder.mkdir()
    listed = read_list(write_list(folder, 60, seed))
    rng = np.random.default_rng(100 + seed)
    clips = [str(name) for name in rng.permutation(names(60))[:50]]
    scores = {name: draw_scores(50, 10 * seed + k).astype(np.float64) for name, k in GIVEN.items()}
    dumps = {}
    for name, each in scores.items():
        path = write_dump(folder / f'{name}.pkl', clips, each.astype(np.float32), order=rng.permutation(12).tolist())
        dumps[name] = load_predictions(path)
    return listed, clips, scores, dumps


@pytest.mark.parametrize('seed', range(10))
def test_figures_are_those_of_the_published_definition(seed, tmp_path):
    listed, clips, scores, dumps = draw(tmp_path / 'drawn', seed)
    found = benchmark(listed, {name: answers_of(*dump, listed, name=name) for name, dump in dumps.items()})
    assert list(found['subsets']) == ['av', 'a', 'a only', 'v', 'v only']
    for subset, figures in found['subsets'].items():
        given = subset.split()[0]
        truths = [(labels_of(listed, name, subset), score) for name, score in zip(clips, scores[given], strict=True)]
        kept = [(truth, dict(zip(CLASSES, score, strict=True))) for truth, score in truths if truth]
        assert figures.pop('clips') == len(kept)
        assert figures == pytest.approx(slow_figures(*zip(*kept, strict=True)), abs=1e-9)
    expected = slow_confusion(listed, clips, scores)
    assert max(expected.values()) > 0 and found['mu'] == pytest.approx({'clips': 50, **expected}, abs=1e-9)


def test_figures_are_those_of_the_package(tmp_path):
    """Where it is installed: it brings pandas and pyarrow, which mmav does not need."""
    package = pytest.importorskip('vggsounder.benchmark')
    for seed in range(10):
        listed, clips, scores, dumps = draw(tmp_path / str(seed), seed)
        logits = {name: dict(logits={g: scores[g][k].tolist() for g in GIVEN}) for k, name in enumerate(clips)}
        (tmp_path / 'ours.pkl').write_bytes(pickle.dumps(logits))
        theirs = package.VGGSounder(listed.path, background_music=None)
        theirs._labels = list(CLASSES)  # it reads those of its own folder
        expected = package.compute_all_results(str(tmp_path), vggsounder=theirs, verbose=False)['ours']
        found = benchmark(listed, {name: answers_of(*dump, listed, name=name) for name, dump in dumps.items()})
        for subset, figures in found['subsets'].items():
            del figures['clips']
            mu = {'mu': found['mu'][subset]} if subset in GIVEN else {}
            assert {**figures, **mu} == pytest.approx(expected[subset], abs=1e-9)


def test_subsets_by_flag_are_those_of_a_chosen_list(tmp_path):
    listed, _, _, dumps = draw(tmp_path / 'drawn')
    found = benchmark(listed, {'a': answers_of(*dumps['a'], listed, name='a')})
    assert found['mu'] is None
    for flag, halves in found['flags'].items():
        for word, chosen in (('with', listed.chosen([flag])), ('without', listed.chosen([], [flag]))):
            answers = answers_of(*dumps['a'], chosen, name='a')
            assert answers.unlisted == ()  # what the flag leaves out is in the list
            of_half = benchmark(chosen, {'a': answers})['subsets']
            for subset in ('a', 'a only'):
                wanted = {key: of_half[subset][key] for key in ('clips', 'hit_rate@1', 'f1@1')}
                assert halves[word][subset] == wanted


def test_clips_that_do_not_match_are_told(tmp_path):
    listed = read_list(write_list(tmp_path, 6))
    clips = [*names(6)[1:4], 'zzzzzzzzzzz_000010', 'holiday']
    scores = draw_scores(5, 0)
    scores[2, 4] = np.nan
    rows, classes = load_predictions(write_dump(tmp_path / 'a.pkl', clips, scores, broken=(1,)))
    answers = answers_of(rows[::-1], classes, listed, name='a.pkl')
    assert answers.places.tolist() == [1, 2, 3] and answers.answered.tolist() == [True, False, False]
    assert answers.missing == (names(6)[0], *names(6)[4:])
    assert answers.unlisted == ('clips/zzzzzzzzzzz_000010.mp4',) and answers.unknown == ('clips/holiday.mp4',)
    assert answers.counts() == dict(found=3, without_answer=2, missing=3, unlisted=1, unknown=1)
    figures = benchmark(listed, {'av': answers})['subsets']['av']
    has = listed.labels_of('av')[1:4].any(axis=1)
    assert figures['clips'] == has.sum()
    # the two without an answer name nothing: neither a hit nor a wrong guess
    first = CLASSES[int(scores[0].argmax())]
    right = first in labels_of(listed, names(6)[1], 'av')
    assert figures['hit_rate@1'] == pytest.approx(right * has[0] / has.sum())
    assert figures['precision@1'] == float(right)


def test_other_dumps_are_refused(tmp_path):
    listed = read_list(write_list(tmp_path, 6))
    rows, classes = rows_of(names(6), draw_scores(6, 0)), dict(label=CLASSES)
    rows = [{**row, 'scores': dict(label=row['scores'])} for row in rows]
    options = dict(listed=listed, name='a.pkl')
    for wrong, message in (
        (None, 'has no class names'),
        (dict(verb=CLASSES, noun=CLASSES), 'is of verb and noun'),
        (dict(label=[*CLASSES[:-1], 'wind']), "only VGGSounder has 'wind noise'; only 'a.pkl' has 'wind'"),
        (dict(label=[*CLASSES, 'wind']), "VGGSounder has 12 classes, 'a.pkl' 13"),
        (dict(label=CLASSES[:5]), "VGGSounder has 12 classes, 'a.pkl' 5"),
    ):
        with pytest.raises(MmavError, match=message):
            answers_of(rows, wrong, **options)
    with pytest.raises(MmavError, match='has the clip -_000000000_000000 twice'):
        answers_of([*rows, rows[0]], classes, **options)
    with pytest.raises(MmavError, match=r"has no clip of .*, only 'holiday\.mp4'"):
        answers_of([{**rows[0], 'path': 'holiday.mp4'}], classes, **options)


def test_nothing_to_divide_by():
    nothing = np.zeros((2, 3), dtype=bool)
    found = label_figures(nothing, nothing)
    assert found.pop('accuracy') == 1 and set(found.values()) == {0.0}
    assert guesses(np.array([[0.1, 0.5, 0.4]]), np.array([True]), 10).all()
