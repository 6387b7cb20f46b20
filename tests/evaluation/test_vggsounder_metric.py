import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation import VGGSounder
from mmav.evaluation.vggsounder import answers_of, benchmark
from mmav.evaluation.vggsounder_list import read_list
from mmav.structures import AVDataSample
from tests.evaluation.vggsounder_lists import CLASSES, draw_scores, names, rows_of, write_list


def evaluate(path, clips, scores, masks, *, broken=(), **options):
    metric = VGGSounder(str(path), **options)
    metric.dataset_meta = dict(classes=CLASSES)
    for k, (name, score) in enumerate(zip(clips, scores, strict=True)):
        why = 'torn' if k in broken else None
        sample = AVDataSample(metainfo=dict(path=f'x/{name}.mp4', start=0.0, end=10.0, sample_idx=k, broken=why))
        sample.set_gt_label(0).set_pred_score(torch.from_numpy(score))
        read = {m: torch.tensor([value and why is None]) for m, value in masks.items()}
        metric.process(dict(masks=read), [sample.to_dict()])
    return metric.evaluate(len(clips))


@pytest.mark.parametrize(
    ('masks', 'given', 'subsets'),
    [
        (dict(video=True, audio=True), 'av', ['av']),
        (dict(video=False, audio=True), 'a', ['a', 'a only']),
        (dict(video=True), 'v', ['v', 'v only']),
    ],
)
def test_the_labels_are_those_of_what_was_read(tmp_path, masks, given, subsets):
    path, clips, scores = write_list(tmp_path, 30), names(30)[3:], draw_scores(27, 0)
    found = evaluate(path, clips, scores, masks, broken=(4,))
    listed = read_list(path)
    rows = [{**row, 'scores': dict(label=row['scores'])} for row in rows_of(clips, scores, broken=(4,))]
    answers = answers_of(rows, dict(label=CLASSES), listed, name='a')
    expected = benchmark(listed, {given: answers})['subsets']
    assert list(expected) == subsets
    for subset in subsets:
        for key, value in expected[subset].items():
            assert found[f'vggsounder/{subset.replace(" ", "_")}_{key}'] == pytest.approx(value)
    assert (found['vggsounder/clips'], found['vggsounder/missing']) == (27, 3)


def test_flags_choose_clips(tmp_path):
    path, clips = write_list(tmp_path, 30), names(30)
    kept = ~read_list(path).flags['background_music']
    options = dict(without=['background_music'], prefix=None)
    found = evaluate(path, clips, draw_scores(30, 0), dict(video=True, audio=True), **options)
    assert found['clips'] == kept.sum() < 30


def test_nothing_was_read(tmp_path):
    path = write_list(tmp_path, 3)
    with pytest.raises(MmavError, match='none of the clips could be read'):
        evaluate(path, names(3), draw_scores(3, 0), dict(video=True), broken=(0, 1, 2))


def test_clips_beyond_the_list_are_logged(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('mmav.evaluation.vggsounder_metric.print_log', lambda line, *args, **kwargs: lines.append(line))
    scores = draw_scores(5, 0).astype(np.float32)
    path = write_list(tmp_path, 3)
    found = evaluate(path, [*names(3), 'zzzzzzzzzzz_000010', 'own'], scores, dict(video=True, audio=True))
    assert found['vggsounder/clips'] == 3
    assert 'VGGSounder: 1 clips are not in the list, such as x/zzzzzzzzzzz_000010.mp4' in lines
    assert 'VGGSounder: 1 clips are not named <YouTube id>_<start>, such as x/own.mp4' in lines
