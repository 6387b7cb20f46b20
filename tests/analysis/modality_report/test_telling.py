import numpy as np
import pytest

from mmav.analysis.modality_report.figures import modality_figures
from mmav.analysis.modality_report.telling import conclusions, sign_of, title_of
from tests.analysis.modality_report.worlds import answers, codes, pair_rows

NAMES = ('video', 'audio')
LABELS = [k % 4 for k in range(100)]


def told(both, video, audio, **more):
    """The sentences on a model with these guesses of 100 clips of four classes."""
    rows = {name: answers(LABELS, each) for name, each in dict(both=both, video=video, audio=audio).items()}
    (figures,) = modality_figures({**rows, **more}, None, NAMES)
    return ' '.join(conclusions(figures, NAMES))


def wrong(places):
    return [3 - label if k in places else label for k, label in enumerate(LABELS)]


def test_both_are_used():
    text = told(LABELS, wrong(range(60)), wrong(range(40, 100)))
    assert 'right for 100.0 % of 100 clips' in text and 'for 40.0 % with video alone' in text
    assert 'It uses both modalities: without video it loses 60.0 points [' in text
    assert '20.0 % are right only with both together (synergy), 0.0 % with either' in text


def test_one_is_used():
    text = told(LABELS, wrong(range(75)), LABELS)
    assert 'It uses audio: without audio it loses 75.0 points [' in text
    assert 'It does not measurably use video: without video it loses 0.0 points [0.0, 0.0]' in text
    assert 'commonest class each time is right for 25.0 %' in text


def test_neither_is_missed():
    text = told(LABELS, LABELS, LABELS)
    assert 'It misses neither modality' in text and '100.0 % with either modality alone (redundancy)' in text
    assert 'confusion' not in text


def test_one_does_harm():
    text = told(wrong(range(50)), LABELS, wrong(range(60)))
    assert 'Audio does harm: without it the model gains 50.0 points [' in text
    assert 'Modality confusion: 50.0 % of all clips' in text and '(50.0 % by video and 0.0 % by audio)' in text


def test_classes_are_named():
    rows = pair_rows()
    (figures,) = modality_figures(rows, dict(label=['v0a0', 'v0a1', 'v1a0', 'v1a1']), NAMES)
    text = ' '.join(conclusions(figures, NAMES))
    video, audio = codes(40)
    assert f"Audio adds most to 'v0a1' (+100 points, {((video == 0) & (audio == 1)).sum()} clips)" in text or (
        f"Audio adds most to 'v1a1' (+100 points, {((video == 1) & (audio == 1)).sum()} clips)" in text
    )
    follows = figures['follows']
    assert f'it names that of the video in {100 * follows["video"]["share"]:.1f} %' in text


def test_labels_of_several_are_called_so():
    labels = [(k % 2,) for k in range(100)]
    rows = {name: answers(labels, [k % 2 for k in range(100)]) for name in ('both', 'video', 'audio')}
    same = [{**row, 'partner': 'x.mp4', 'partner_label': row['label']} for row in answers(labels, [0] * 100)]
    (figures,) = modality_figures({**rows, 'shuffled_same': same}, None, NAMES)
    text = ' '.join(conclusions(figures, NAMES))
    assert 'another clip of the same labels' in text and 'very clip matters, beyond its labels' in text


@pytest.mark.parametrize('matters', [True, False])
def test_the_very_clip_matters_or_its_class(matters):
    same = answers(LABELS, wrong(range(30)) if matters else LABELS)
    partner = [{**row, 'partner': 'x.mp4', 'partner_label': row['label']} for row in same]
    text = told(LABELS, wrong(range(50)), wrong(range(50)), shuffled_same=partner)
    assert ('what belongs to this very clip matters' in text) == matters
    assert ('is its class, not that it belongs to this very clip' in text) != matters


def test_cautions():
    text = told([*LABELS[:99], None], LABELS, LABELS)
    assert '1 clip could not be read: counted as wrong.' in text
    few = {name: answers(LABELS[:5], LABELS[:5]) for name in ('both', *NAMES)}
    assert 'There are few clips' in conclusions(modality_figures(few, None, NAMES)[0], NAMES)[-1]
    none = {name: answers([(), ()], [0, 0]) for name in ('both', *NAMES)}
    assert conclusions(modality_figures(none, None, NAMES)[0], NAMES) == [
        'No clip has a label, so there is nothing to conclude.'
    ]


def test_names_and_signs():
    assert [title_of(part) for part in ('label', 'verb', 'action')] == ['', 'verb', 'all parts together']
    assert [sign_of(dict(interval=each)) for each in ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1))] == [1, 0, -1]


def test_nothing_is_concluded_of_a_model_that_has_learned_nothing():
    lines = told([0] * 100, [1] * 100, [2] * 100)
    assert 'None of this is clearly better than naming the commonest class' in lines
    assert 'uses' in lines and 'It ' not in lines and 'adds' not in lines and 'confusion' not in lines
    # one alone is enough to have learned
    assert 'Audio does harm' in told([0] * 100, LABELS, [2] * 100)


def test_only_sure_gains_of_classes_are_named():
    """One clip more of class 0 by audio is chance, all clips of class 1 are not."""
    places = [0, *range(1, 100, 4)]
    text = told(LABELS, wrong(places), LABELS)
    assert "Audio adds most to '1' (+100 points, 25 clips)." in text and "'0'" not in text
    rows = {name: answers([(k % 2,) for k in range(40)], [0] * 40) for name in ('both', *NAMES)}
    for k, row in enumerate(rows['both']):
        row['scores']['label'] = np.eye(4)[k % 2]
    text = ' '.join(conclusions(modality_figures(rows, None, NAMES)[0], NAMES))
    assert 'Video adds most to' in text and '20 clips' in text


def test_the_class_of_audio_that_is_not_used_does_not_matter():
    same = [{**row, 'partner': 'x.mp4', 'partner_label': row['label']} for row in answers(LABELS, LABELS)]
    text = told(LABELS, LABELS, wrong(range(60)), shuffled_same=same)
    assert 'of another clip of the same class the difference is 0.0 points [0.0, 0.0].' in text


@pytest.mark.parametrize('clips', [1, 3, 5])
def test_nothing_is_concluded_from_a_few_clips_that_all_differ_alike(clips):
    """The bootstrap of them has no width; a sign test knows that they may all be chance."""
    labels = [k % 3 for k in range(clips)]
    rows = dict(both=answers(labels, labels), video=answers(labels, [3] * clips), audio=answers(labels, [3] * clips))
    rows['shuffled_same'] = [{**row, 'partner': 'x.mp4', 'partner_label': row['label']} for row in rows['both']]
    (figures,) = modality_figures(rows, None, NAMES)
    figures['learned'] = True  # of one clip that cannot be known
    text = ' '.join(conclusions(figures, NAMES))
    assert 'It misses neither modality measurably' in text
    assert 'adds most' not in text and 'not that it belongs' not in text


def test_mean_average_precision_decides_of_several_labels():
    """Every clip has the first class, so the first guess is always right; the other classes need the audio."""
    labels = [(0, *([1 + k % 3] if k % 4 else [])) for k in range(90)]
    scores = {'audio': [np.eye(4)[list(each)].sum(0) + np.eye(4)[0] for each in labels]}
    scores |= {'both': scores['audio'], 'video': [np.eye(4)[0]] * len(labels)}
    rows = {name: answers(labels, [0] * len(labels)) for name in ('both', *NAMES)}
    for name, each in rows.items():
        for row, values in zip(each, scores[name], strict=True):
            row['scores']['label'] = values / 2
    rows['shuffled_same'] = [{**row, 'partner': 'x.mp4', 'partner_label': row['label']} for row in rows['video']]
    (figures,) = modality_figures(rows, None, NAMES)
    assert figures['majority'] == figures['scores']['video']['score'] == 1.0
    text = ' '.join(conclusions(figures, NAMES))
    assert 'Its mAP is 1.000 with both, ' in text
    assert 'It uses audio: without audio it loses' in text and 'points of mAP [' in text
    assert 'this very clip matters, beyond its labels' in text
