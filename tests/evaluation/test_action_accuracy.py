import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation import Accuracy, ActionAccuracy
from mmav.evaluation.accuracy import ranks_of_clip
from mmav.evaluation.action_accuracy import participant_of, read_ids
from mmav.structures import AVDataSample

V, N = 7, 11
TAIL_VERBS, TAIL_NOUNS, UNSEEN = [2, 5], [0, 3, 10], ['P18', 'P32']


@pytest.fixture
def log(monkeypatch):
    """Lines that the metric logs."""
    lines = []
    for module in ('accuracy', 'action_accuracy'):
        monkeypatch.setattr(f'mmav.evaluation.{module}.print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


def sample(verb_scores, noun_scores, truth, path='P01_01_0.mp4', broken=None):
    made = AVDataSample(metainfo=dict(path=path, start=0.0, end=1.0, sample_idx=0, broken=broken))
    made.set_gt_label(truth[0], 'verb').set_gt_label(truth[1], 'noun')
    made.set_pred_score(torch.as_tensor(verb_scores), 'verb').set_pred_score(torch.as_tensor(noun_scores), 'noun')
    return made.to_dict()


def clips(number=300):
    """Logits, true verbs and nouns, participants; the truth is often among the likely ones."""
    rng = np.random.default_rng(0)
    verbs, nouns = rng.integers(V, size=number), rng.integers(N, size=number)
    verb_logits, noun_logits = rng.standard_normal((number, V)), rng.standard_normal((number, N))
    verb_logits[np.arange(number), verbs] += 1
    noun_logits[np.arange(number), nouns] += 1
    return verb_logits, noun_logits, verbs, nouns, rng.choice(['P01', 'P18', 'P32', 'P180'], size=number)


def evaluate(samples, **kwargs):
    metric = ActionAccuracy(**kwargs)
    for sample in samples:
        metric.process(None, [sample])
    return metric.evaluate(len(samples))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_equals_a_loop_over_the_definition_of_c1():
    """epic-kitchens/C1-Action-Recognition: softmax both, outer product, rank actions; subsets by class and person."""
    verb_logits, noun_logits, verbs, nouns, people = clips()
    hits = {}
    for i in range(len(verbs)):
        verb, noun = softmax(verb_logits[i]), softmax(noun_logits[i])
        actions = sorted(((verb[v] * noun[n], v, n) for v in range(V) for n in range(N)), reverse=True)
        tail_verb, tail_noun = verbs[i] in TAIL_VERBS, nouns[i] in TAIL_NOUNS
        unseen = people[i] in UNSEEN
        for k in (1, 5):
            right = dict(
                verb=verbs[i] in np.argsort(-verb)[:k],
                noun=nouns[i] in np.argsort(-noun)[:k],
                action=(verbs[i], nouns[i]) in [(v, n) for _, v, n in actions[:k]],
            )
            member = dict(verb=tail_verb, noun=tail_noun, action=tail_verb or tail_noun)
            for task, hit in right.items():
                for prefix, belongs in (('', True), ('tail_', member[task]), ('unseen_', unseen)):
                    if belongs:
                        hits.setdefault(f'{prefix}{task}_top{k}', []).append(hit)
    samples = [
        sample(softmax(v), softmax(n), truth, path=f'clips/{who}_01_{i}.mp4')
        for i, (v, n, truth, who) in enumerate(
            zip(verb_logits, noun_logits, zip(verbs, nouns, strict=True), people, strict=True)
        )
    ]
    result = evaluate(samples, tail_verbs=TAIL_VERBS, tail_nouns=TAIL_NOUNS, unseen_participants=UNSEEN)
    expected = {name: np.mean(values) for name, values in hits.items()}
    assert len(expected) == 18
    assert result == pytest.approx({**expected, 'broken': 0}, abs=1e-12)


def test_top_1_action_is_right_only_if_both_are():
    verb, noun = [0.9, 0.1], [0.2, 0.7, 0.1]
    assert [evaluate([sample(verb, noun, truth)], topk=1)['action_top1'] for truth in ((0, 1), (0, 0), (1, 1))] == [
        1,
        0,
        0,
    ]


def test_products_too_small_for_float32_are_still_ranked():
    scores = dict(verb=np.float32([1, 2e-30, 1e-30]), noun=np.float32([1, 3e-30, 1e-30]))
    assert ranks_of_clip(scores, dict(verb=1, noun=1))['action'] == 5
    assert ranks_of_clip(scores, dict(verb=2, noun=2))['action'] == 8


def test_verbs_alone_are_what_accuracy_says():
    verb_logits, _, verbs, _, _ = clips()
    metric = Accuracy()
    for scores, label in zip(verb_logits, verbs, strict=True):
        made = AVDataSample(metainfo=dict(path='a', broken=None)).set_gt_label(label)
        metric.process(None, [made.set_pred_score(torch.as_tensor(softmax(scores))).to_dict()])
    result = evaluate(
        [sample(softmax(s), np.ones(N) / N, (label, 0)) for s, label in zip(verb_logits, verbs, strict=True)]
    )
    assert [result['verb_top1'], result['verb_top5']] == list(metric.evaluate(len(verbs)).values())[:2]
    assert result['noun_top5'] == 0  # all nouns alike: saying nothing is never right


def test_broken_clips_count_as_wrong_also_in_subsets(log):
    right = dict(verb_scores=[0.9, 0.1], noun_scores=[0.1, 0.9], truth=(0, 1), path='P18_01.mp4')
    result = evaluate([sample(**right), sample(**right, broken='torn')], tail_verbs=[0], unseen_participants=['P18'])
    assert result.pop('broken') == 1
    assert set(result.values()) == {0.5}
    assert not any('tail_noun' in name for name in result)  # no list of them was given
    assert log == ['counted as wrong, cannot be read: P18_01.mp4: torn']


def test_an_empty_subset_is_logged_and_has_no_result(log):
    result = evaluate([sample([0.9, 0.1], [0.1, 0.9], (0, 1))], topk=1, tail_nouns=[0])
    assert result == dict(verb_top1=1, noun_top1=1, action_top1=1, broken=0)
    assert log == ['no clip is of the subset tail_noun', 'no clip is of the subset tail_action']


def test_lists_from_files(tmp_path):
    (tmp_path / 'tail.csv').write_text('verb\n2\n5\n')
    (tmp_path / 'unseen.csv').write_text('\ufeffparticipant_id,x\r\nP18,1\r\nP32,2\r\n')
    assert read_ids(str(tmp_path / 'tail.csv')) == read_ids([2, 5])
    assert read_ids('tail.csv', str(tmp_path)) == read_ids([2, 5])
    metric = ActionAccuracy(data_root=str(tmp_path), tail_verbs='tail.csv', unseen_participants='unseen.csv')
    assert metric.tail_verbs == {'2', '5'} and metric.unseen_participants == {'P18', 'P32'}
    assert read_ids(str(tmp_path / 'unseen.csv')) == {'P18', 'P32'}
    with pytest.raises(MmavError, match=r"none\.csv' cannot be read: give a CSV file"):
        ActionAccuracy(tail_nouns=str(tmp_path / 'none.csv'))
    (tmp_path / 'tail.csv').write_text('2\n5\n')
    with pytest.raises(MmavError, match=r"tail\.csv': row 1: '2' is no header"):
        read_ids(str(tmp_path / 'tail.csv'))


def test_participants():
    assert participant_of('/data/P01_x/P18_07.MP4') == 'P18' and participant_of('clip.mp4') == 'clip'


def test_bad_k():
    with pytest.raises(ValueError, match=r'topk must be positive numbers, got \[\]'):
        ActionAccuracy(topk=[])
