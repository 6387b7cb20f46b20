import numpy as np
import pytest

from mmav.analysis.ablation.measuring import check_metric, check_metric_of, measured_of, state
from mmav.analysis.ablation.results import Gathered
from mmav.analysis.ablation.rows import Ablation
from mmav.errors import MmavError
from mmav.evaluation.predictions import accuracy_of
from tests.analysis.ablation.test_results import ABLATION, AVERAGE, SIGHT, SOUND, clips, write

RNG = np.random.default_rng(0)
NAMES = [f'{place:02}' for place in range(40)]


def drawn(labels):
    return clips(RNG.random((40, 8)), labels, NAMES)


@pytest.mark.parametrize('metric', ['top1', 'top3'])
def test_the_mean_of_its_values_is_the_figure_of_the_test(metric):
    dumps = [drawn(RNG.integers(8, size=40).tolist()) for _ in range(3)]
    dumps[0][5]['broken'] = 'torn'
    measured = measured_of('row', dumps, (4, 5, 6), metric)
    assert measured.seeds == (4, 5, 6) and measured.values.shape == (3, 40) and measured.values[0, 5] == 0
    assert measured.figures() == pytest.approx([accuracy_of(dump, topk=(1, 3))[metric] for dump in dumps])


def test_verbs_and_nouns():
    dump = drawn([0] * 40)
    for row in dump:
        row['label'] = dict(verb=int(RNG.integers(3)), noun=int(RNG.integers(5)))
        row['scores'] = dict(verb=RNG.random(3), noun=RNG.random(5))
    expected = accuracy_of(dump, topk=(1,))
    for name in ('verb_top1', 'noun_top1', 'action_top1'):
        assert measured_of('row', [dump], (0,), name).figures() == pytest.approx([expected[name]])
    with pytest.raises(MmavError, match=r"row: the metric 'top1' has no value for each clip.*verb_top1, noun_top1"):
        measured_of('row', [dump], (0,), 'top1')


@pytest.mark.parametrize('metric', ['mAP', 'hit1', 'macro_f1'])
def test_sets_of_labels_are_measured_anew_on_each_draw_of_clips(metric):
    dump = drawn([tuple(np.flatnonzero(RNG.random(8) < 0.4).tolist()) for _ in range(40)])
    measured = measured_of('row', [dump], (0,), metric)
    places = RNG.integers(40, size=60)
    for chosen in (np.arange(40), places):
        expected = accuracy_of([dump[place] for place in chosen])[metric]
        assert measured.figure(0, chosen) == pytest.approx(expected)
    with pytest.raises(MmavError, match='the metric .top1. has no value for each clip.*mAP, AUC'):
        measured_of('row', [dump], (0,), 'top1')


def test_a_metric_is_checked_before_the_runs():
    for metric in ('top1', 'verb_top5', 'mAP', 'noun_macro_f1'):
        check_metric(metric)
    for metric in ('top_1', 'ari', 'mapp', 'top0'):
        with pytest.raises(MmavError, match=f"the metric '{metric}' has no value for each clip.*: give topK"):
            check_metric(metric)


def test_no_clip_is_among_the_first_zero():
    with pytest.raises(MmavError, match="'top0' has no value for each clip"):
        check_metric('top0')


def test_a_row_with_a_killed_seed_is_compared_with_none(tmp_path):
    write(tmp_path, SOUND, 0)
    write(tmp_path, SOUND, 1, killed='killed after epoch 1')
    write(tmp_path, SIGHT, 0, cpu_seconds=3.0)
    found = {row.title: row for row in state(Gathered(ABLATION, [tmp_path]), 'top1').rows}
    assert found['sound'].measured is None and found['average'].measured is None
    assert found['sound'].lost[0] == 'not compared, as another seed of the row was killed'
    assert found['sight'].measured.values.tolist() == [[0.0, 1.0]]
    assert found['sight'].lost == {1: 'not yet run'} and found['sight'].seconds == {0: 3.0}


def test_rows_are_of_the_same_clips_in_any_order(tmp_path):
    write(tmp_path, SOUND, 0)
    write(tmp_path, SIGHT, 0)
    ablation = Ablation('toys', (SOUND, SIGHT, AVERAGE), seeds=(0,))
    alike = state(Gathered(ablation, [tmp_path]), 'top1').rows
    assert [row.measured.values.tolist() for row in alike] == [[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]]


def test_rows_of_different_clips_are_refused(tmp_path, monkeypatch):
    write(tmp_path, SOUND, 0)
    monkeypatch.setattr('tests.analysis.ablation.test_results.clips', lambda scores: clips(scores, names='ac'))
    write(tmp_path, SIGHT, 0)
    ablation = Ablation('toys', (SOUND, SIGHT), seeds=(0,))
    with pytest.raises(MmavError, match=r'sight, seed 0 was tested on other clips than the rows before: .*has b.mp4'):
        state(Gathered(ablation, [tmp_path]), 'top1')


def test_a_table_parts_the_clips(tmp_path):
    write(tmp_path, SOUND, 0)
    gathered = Gathered(Ablation('toys', (SOUND,), seeds=(0,)), [tmp_path])
    paths = [clip['path'] for clip in gathered.predictions(SOUND, 0)]
    table = tmp_path / 'evidence.csv'
    table.write_text('path,state\n' + '\n'.join(f'{path},{place}' for place, path in enumerate(paths)))
    splits = state(gathered, 'top1', split_by=f'{table}:state').splits
    assert {name: places.tolist() for name, places in splits.items()} == {'0': [0], '1': [1]}


@pytest.mark.parametrize(
    ('head', 'metric', 'message'),
    [
        (dict(type='ClsHead', num_classes=8), 'mAP', "row: the metric 'mAP' .*: give topK"),
        (dict(type='ClsHead', num_classes=8), 'verb_top1', 'give topK'),
        (dict(type='ClsHead', num_classes=4), 'top5', 'row: top5 of 4 classes is 1 for any model'),
        (dict(type='VerbNounHead', num_verbs=3), 'top1', 'give verb_top1, noun_top1 or action_top1'),
        (dict(type='MultiLabelHead', num_classes=8), 'top1', 'give mAP, AUC'),
        (dict(type='ClsHead', num_classes=8), 'top5', None),
        (dict(type='VerbNounHead'), 'action_top1', None),
        (dict(type='MultiLabelHead'), 'mAP', None),
        (dict(type='Own'), 'mAP', None),
        (None, 'top1', None),
    ],
)
def test_a_metric_belongs_to_the_labels_of_a_row(head, metric, message):
    cfg = dict(model=dict(head=head))
    if message is None:
        check_metric_of(cfg, metric, 'row')
    else:
        with pytest.raises(MmavError, match=message):
            check_metric_of(cfg, metric, 'row')
