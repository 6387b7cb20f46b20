import csv
import io
import json
import zipfile

import numpy as np
import pytest

from mmav.errors import MmavError, OutputError
from mmav.evaluation import submission
from mmav.evaluation.submission import (
    check_epic_classes,
    csv_ids,
    csv_submission,
    epic_submission,
    ids_in,
    read_expected,
    write_epic_submission,
)

LEVELS = dict(sls_pt=2, sls_tl=3, sls_td=4)
MANIFEST = """\
path,start,end,narration_id
P01/P01_101.MP4,2.86,3.87,P01_101_0
P01/P01_101.MP4,22.31,22.91,P01_101_10
"P04/P04, 1.MP4",,,P04_1_0
"""
NAMES = ('P01_101.MP4', 'P01_101.MP4', 'P04, 1.MP4')
SPANS = ((2.86, 3.87), (22.31, 22.91), (0.0, 7.5))


def softmax(values):
    exp = np.exp(values - np.max(values, axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def predictions(sizes=None, count=3, seed=0):
    rng = np.random.default_rng(seed)
    sizes = sizes or dict(verb=97, noun=300)
    return [
        dict(
            path=f'/videos/{NAMES[k % 3]}',
            start=SPANS[k % 3][0],
            end=SPANS[k % 3][1],
            label={},
            scores={part: softmax(3 * rng.standard_normal(n)).astype(np.float32) for part, n in sizes.items()},
            broken=None,
            sample_idx=k,
        )
        for k in range(count)
    ]


def problems(text, expected, verbs=97, nouns=300, actions=100):
    """The rules of the challenge as a loop: what its validator refuses.

    epic-kitchens/C3-Action-Anticipation, evaluate_anticipation_json_ek100.py, ``validate_submission``, which names both
    challenges, and C1's utils/challenge.py for the version.
    """
    submitted = json.loads(text)
    if submitted.get('version') != '0.2':
        yield 'version'
    if submitted.get('challenge') not in ('action_recognition', 'action_anticipation'):
        yield 'challenge'
    for name in ('sls_pt', 'sls_tl', 'sls_td'):
        if name not in submitted or not 0 <= submitted[name] <= 5:
            yield name
    if 'results' not in submitted:
        yield 'results'
        return
    if set(submitted['results']) - set(expected):
        yield 'unexpected'
    if set(expected) - set(submitted['results']):
        yield 'missing'
    with_actions = {'action' in scores for scores in submitted['results'].values()}
    if len(with_actions) > 1:
        yield 'actions of some'
    for scores in submitted['results'].values():
        for part, number in (('verb', verbs), ('noun', nouns)):
            if part not in scores or sorted(map(int, scores[part])) != list(range(number)):
                yield part
            if not all(isinstance(score, (int, float)) for score in scores.get(part, {}).values()):
                yield f'{part} score'
        if 'action' in scores:
            if len(scores['action']) != actions:
                yield 'actions'
            for pair, score in scores['action'].items():
                verb, noun = map(int, pair.split(','))
                if verb not in range(verbs) or noun not in range(nouns) or not isinstance(score, (int, float)):
                    yield 'action'


def submitted(rows=None, ids=('a', 'b', 'c'), expected=('c', 'a', 'b'), **options):
    return epic_submission(rows or predictions(), ids, expected, levels=LEVELS, **options)


def test_the_challenge_takes_it():
    text = submitted()
    assert list(problems(text, ['a', 'b', 'c'])) == []
    content = json.loads(text)
    assert {name: content[name] for name in LEVELS} == LEVELS and list(content['results']) == ['c', 'a', 'b']
    # and the rules notice what is wrong
    for key, value in (('version', '0.1'), ('challenge', 'x'), ('sls_td', 6)):
        assert key in list(problems(json.dumps({**content, key: value}), ['a', 'b', 'c']))
    assert list(problems(text, ['a', 'b'])) == ['unexpected'] and list(problems(text, 'abcd')) == ['missing']
    del content['results']['a']['verb']['96'], content['results']['b']['action']
    assert list(problems(json.dumps(content), 'abc')) == ['actions of some', 'verb']


def test_scores_are_those_of_the_model():
    """Rank and softmax of what is written are the probabilities; actions are the best products, by a slow search."""
    rows = predictions()
    results = json.loads(submitted(rows))['results']
    for name, row in zip('abc', rows, strict=True):
        tables = {part: np.asarray(row['scores'][part], np.float64) for part in ('verb', 'noun')}
        for part, table in tables.items():
            written = np.array([results[name][part][str(k)] for k in range(len(table))])
            np.testing.assert_allclose(softmax(written), table / table.sum(), rtol=1e-6)
            assert written.argmax() == table.argmax()
        products = {f'{v},{n}': float(tables['verb'][v] * tables['noun'][n]) for v in range(97) for n in range(300)}
        best = sorted(products, key=products.__getitem__, reverse=True)[:100]
        assert list(results[name]['action']) == best
        for pair, value in results[name]['action'].items():
            assert value == pytest.approx(products[pair], rel=1e-8)


def test_without_action_scores_the_challenge_would_rank_the_same_actions():
    """utils/scoring.py of C1 multiplies the softmax of the scores; of probabilities that ranks by their sum."""
    (row,) = predictions(count=1)
    result = json.loads(submitted([row], 'a', 'a'))['results']['a']
    joint = np.multiply.outer(*(softmax(np.array(list(result[part].values()))) for part in ('verb', 'noun')))
    verb, noun = np.unravel_index(joint.argmax(), joint.shape)
    assert f'{verb},{noun}' == next(iter(result['action']))


def test_a_probability_of_zero_is_a_number():
    (row,) = predictions(count=1)
    row['scores']['verb'][:] = 0
    row['scores']['verb'][5] = 1
    text = submitted([row], 'a', 'a')
    assert 'Infinity' not in text and 'NaN' not in text and list(problems(text, 'a')) == []


def test_the_zip_has_the_right_name_inside_and_the_same_bytes(tmp_path):
    text = submitted()
    for name in ('one.zip', 'two.zip', 'plain.json'):
        write_epic_submission(tmp_path / name, text)
    with zipfile.ZipFile(tmp_path / 'one.zip') as file:
        assert file.namelist() == ['test.json'] and file.read('test.json').decode() == text
        assert file.infolist()[0].compress_size < len(text) / 2
    assert (tmp_path / 'one.zip').read_bytes() == (tmp_path / 'two.zip').read_bytes()
    assert (tmp_path / 'plain.json').read_text() == text
    (tmp_path / 'mine.zip').write_bytes(b'mine')
    with pytest.raises(OutputError):
        write_epic_submission(tmp_path / 'mine.zip', text)
    assert (tmp_path / 'mine.zip').read_bytes() == b'mine'


def test_missing_segments_are_refused_or_filled(monkeypatch):
    lines = []
    monkeypatch.setattr(submission, 'print_log', lambda line, *_, **__: lines.append(line))
    with pytest.raises(MmavError, match=r'2 of 5 segments have no prediction, first d; .*--fill'):
        submitted(expected=list('abcde'))
    results = json.loads(submitted(expected=list('abcde'), fill=True))['results']
    assert len(set(results['d']['verb'].values())) == 1 and len(results['d']['action']) == 100
    assert lines == ['2 segments without a prediction get equal scores']
    assert list(problems(json.dumps(dict(json.loads(submitted()), results=results)), 'abcde')) == []


def test_what_the_challenge_would_refuse_is_refused():
    rows = predictions()
    with pytest.raises(MmavError, match='1 of the predictions are of segments that the list does not have, first b'):
        submitted(expected=['a', 'c'])
    with pytest.raises(MmavError, match='of 5 verbs and 300 nouns; the challenge asks for 97 verbs and 300 nouns'):
        submitted(predictions(dict(verb=5, noun=300)))
    with pytest.raises(MmavError, match='of 309 labels; the challenge'):
        submitted(predictions(dict(label=309)))
    with pytest.raises(MmavError, match='sls_td=6: a level is 0 to 5'):
        epic_submission(rows, 'abc', 'abc', levels=dict(LEVELS, sls_td=6))
    rows[1]['scores']['noun'][7] = np.nan
    with pytest.raises(MmavError, match='b: a score is not a probability'):
        submitted(rows)


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / 'list.csv').write_text(MANIFEST)
    return tmp_path / 'list.csv'


def test_ids_are_those_of_the_rows_tested_on(manifest):
    rows = predictions()[::-1]
    assert ids_in(rows, manifest, 'narration_id') == ['P04_1_0', 'P01_101_10', 'P01_101_0']
    rows[1]['broken'], rows[1]['start'] = 'torn', None
    assert len(ids_in(rows, manifest, 'narration_id')) == 3


def test_a_column_that_is_read_is_not_called_unread(manifest, monkeypatch):
    lines = []
    monkeypatch.setattr('mmav.datasets.columns.say_once', lines.append)
    csv_ids(predictions(), 'narration_id', manifest)
    assert lines == []
    manifest.write_text(MANIFEST.replace('narration_id', 'paths'))  # nor taken for a slip
    assert csv_ids(predictions(), 'paths', manifest)[2] == 'P04_1_0'


def test_ids_of_another_list_are_refused(manifest):
    rows = predictions()
    for column, message in (('narration', "no column 'narration'.*did you mean 'narration_id'"), ('path', 'twice')):
        with pytest.raises(MmavError, match=message):
            ids_in(rows, manifest, column)
    with pytest.raises(MmavError, match='has 3 clips, the predictions are of more'):
        ids_in(predictions(count=4), manifest, 'narration_id')
    swapped = [dict(rows[0], sample_idx=1), dict(rows[1], sample_idx=0), rows[2]]
    with pytest.raises(MmavError, match=r'row 3 is of P01_101.MP4, the predictions have P01_101.MP4 at other times'):
        ids_in(swapped, manifest, 'narration_id')
    with pytest.raises(MmavError, match=r'row 2 is of P01_101.MP4, the predictions have P04, 1.MP4 there'):
        ids_in([dict(rows[2], sample_idx=0)], manifest, 'narration_id')
    with pytest.raises(MmavError, match='has a clip twice'):
        ids_in([rows[0], rows[0]], manifest, 'narration_id')
    manifest.write_text(MANIFEST.replace('P01_101_10', ' '))
    with pytest.raises(MmavError, match='narration_id of clip 1 .* is empty'):
        ids_in(rows, manifest, 'narration_id')


def test_classes_in_another_order_are_refused():
    official = dict(verb=('take', 'put'), noun=('tap', 'spoon'))
    check_epic_classes(dict(verb=['take', 'put'], noun=['tap', 'spoon']), official)
    check_epic_classes(None, official)
    with pytest.raises(MmavError, match="other nouns than the official list: number 0 is 'spoon', not 'tap'"):
        check_epic_classes(dict(verb=['take', 'put'], noun=['spoon', 'tap']), official)
    with pytest.raises(MmavError, match='other verbs than the official list: 1 of them'):
        check_epic_classes(dict(verb=['take'], noun=['tap', 'spoon']), official)


def test_expected_ids_are_those_of_the_official_list(tmp_path):
    path = tmp_path / 'EPIC_100_test_timestamps.csv'
    path.write_text('narration_id,participant_id\nP01_1,P01\n"P01,2",P01\n\n')
    assert read_expected(path) == ['P01_1', 'P01,2']
    path.write_text('id\n1\n')
    with pytest.raises(MmavError, match="no column 'narration_id'"):
        read_expected(path)


def test_csv_forms():
    rows = predictions(dict(label=4))
    classes = dict(label=['dog', 'cat, big', 'cow', 'pig'])
    order = [np.argsort(-row['scores']['label'], kind='stable') for row in rows]
    names = [[classes['label'][k] for k in each] for each in order]
    assert csv_submission(rows, 'abc', classes) == [
        ['id', 'label'], *([each, name[0]] for each, name in zip('abc', names, strict=True))
    ]  # fmt: skip
    top = csv_submission(rows, 'abc', classes, topk=3, id_name='clip')
    assert top[0] == ['clip', 'label_1', 'label_2', 'label_3'] and top[2] == ['b', *names[1][:3]]
    numbers = csv_submission(rows, 'abc', classes, indices=True)
    assert numbers[1:] == [[each, str(k[0])] for each, k in zip('abc', order, strict=True)]
    assert csv_submission(rows, 'abc')[1:] == numbers[1:]  # without names there are only numbers
    scores = csv_submission(rows, 'abc', classes, scores=True)
    assert scores[0] == ['id', *classes['label']]
    assert np.array_equal(np.array(scores[3][1:], np.float32), rows[2]['scores']['label'])
    for row, cells in zip(rows, csv_submission(rows, 'abc', classes, threshold=0.25)[1:], strict=True):
        assert cells[1] == '|'.join(
            n for n, s in zip(classes['label'], row['scores']['label'], strict=True) if s >= 0.25
        )


def test_csv_ids(manifest):
    rows = predictions()
    assert csv_ids(rows[::2], 'stem') == ['P01_101', 'P04, 1'] and csv_ids(rows, 'row') == ['0', '1', '2']
    assert csv_ids(rows[1:], 'path') == [row['path'] for row in rows[1:]]
    with pytest.raises(MmavError, match="the stem 'P01_101' is that of 2 clips: take --id row, or a column"):
        csv_ids(rows, 'stem')
    assert csv_ids(rows, 'narration_id', manifest) == ids_in(rows, manifest, 'narration_id')
    with pytest.raises(MmavError, match='--id narration_id is a column of the list .* give the list with --manifest'):
        csv_ids(rows, 'narration_id')
    with pytest.raises(MmavError, match='--manifest has no effect with --id stem'):
        csv_ids(rows, 'stem', manifest)
    # a column of the list comes before what the file of predictions says
    assert csv_ids(rows[1:], 'path', manifest) == ['P01/P01_101.MP4', 'P04/P04, 1.MP4']


def test_csv_of_several_parts():
    rows = predictions(dict(verb=2, noun=3))
    classes = dict(verb=['take', 'put'], noun=['tap', 'cup', 'pan'])
    assert csv_submission(rows, 'abc', classes)[0] == ['id', 'verb', 'noun']
    assert csv_submission(rows, 'abc', classes, topk=2)[0] == ['id', 'verb_1', 'verb_2', 'noun_1', 'noun_2']
    assert csv_submission(rows, 'abc', classes, scores=True)[0] == [
        'id', 'verb:take', 'verb:put', 'noun:tap', 'noun:cup', 'noun:pan'
    ]  # fmt: skip
    with pytest.raises(MmavError, match='3 classes are asked for, the model tells 2 apart'):
        csv_submission(rows, 'abc', classes, topk=3)


def test_csv_refuses_what_cannot_be_read_back():
    rows = predictions(dict(label=2))
    with pytest.raises(MmavError, match="the id 'a' occurs twice"):
        csv_submission(rows, 'aba')
    with pytest.raises(MmavError, match=r"class name 'a\|b' has a \|, .*--indices"):
        csv_submission(rows, 'abc', dict(label=['a|b', 'c']), threshold=0.1)
    rows[1]['scores']['label'][0] = np.nan
    with pytest.raises(MmavError, match='b: a score is not a number'):
        csv_submission(rows, 'abc')


def test_csv_tells_of_broken_clips(monkeypatch):
    lines = []
    monkeypatch.setattr(submission, 'print_log', lambda line, *_, **__: lines.append(line))
    rows = predictions(dict(label=2))
    rows[1]['broken'] = 'torn'
    assert len(csv_submission(rows, 'abc')) == 4
    assert lines == ['1 of 3 clips could not be read: their predictions are those of blank clips']


def test_csv_is_a_csv(tmp_path):
    from mmav.tables import csv_bytes

    rows = predictions(dict(label=2))
    table = csv_submission(rows, ['a,b', 'ü', 'c'], dict(label=['x', 'y "z"']))
    read = list(csv.reader(io.StringIO(csv_bytes(table).decode(), newline='')))
    assert read == [[str(cell) for cell in row] for row in table]
