import numpy as np
import pytest

from mmav.analysis.grad_cam.clips import look
from mmav.analysis.grad_cam.score import CamScores, score_table
from mmav.apis import AVInferencer
from mmav.evaluation.localization import Event, shares
from mmav.visualization.grad_cam import GradCAM
from tests.inference.models import config, write_model

EVENT = Event(np.array([0.0, 1.0]), np.array([[0.3, 0.2, 0.8, 0.7], [0.1, 0.1, 0.6, 0.5]]), 0.4, 1.1)


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    return AVInferencer(*write_model(tmp_path_factory.mktemp('model'), config()), device='cpu', show_progress=False)


def test_scores_are_shares_of_the_maps(inferencer, clip, silent):
    scores = CamScores(inferencer, dict(video=0), ['hirescam'])
    seen = [look(inferencer, path) for path in (clip, silent)]
    scores.add(seen[:1], [EVENT])
    scores.add(seen[1:], [EVENT])
    rows = scores.rows()
    assert [(row['modality'], row['block'], row['method']) for row in rows] == [
        ('video', 'backbones.video.blocks.0', 'hirescam'),
        ('audio', 'backbones.audio.blocks.0', 'hirescam'),
    ]
    assert rows[0]['grid'] == [2, 4, 4] and rows[1]['grid'] == [2, 25]
    assert [row['clips'] for row in rows] == [2, 1]  # the second has no sound
    data = inferencer.prepare([seen[0].item])
    maps = GradCAM(inferencer.model, blocks=dict(video=0), method='hirescam')(data['inputs'], data['masks'])
    expected = shares(maps['audio'][0, 0].numpy(), seen[0].covers(EVENT)['audio'])
    assert rows[1]['mass'] == pytest.approx(expected.mass) and rows[1]['room'] == pytest.approx(expected.room)
    # 25 columns of tokens tell a span of 0.7 s well, a fine grid of pixels even better: 1 / 0.35
    assert 2.2 < rows[1]['ceiling'] < 1 / rows[1]['room']


def test_every_block_has_a_row_and_the_table_shows_it(inferencer, clip):
    scores = CamScores(inferencer, None, ['gradcam', 'centred'])
    scores.add([look(inferencer, clip)], [EVENT])
    rows = scores.rows()
    assert len(rows) == 2 * 3 * 2 and {row['block'] for row in rows} == {
        *(f'backbones.{m}.blocks.{k}' for m in ('video', 'audio') for k in range(2)),
        'neck.blocks.0.video', 'neck.blocks.0.audio',
    }  # fmt: skip
    lines = score_table(rows).splitlines()
    assert lines[0].split()[:4] == ['modality', 'block', 'grid', 'method'] and len(lines) == 13
    assert lines[1].split()[:4] == ['video', 'backbones.video.blocks.0', '2x4x4', 'gradcam']


def test_the_table_of_maps_of_nothing():
    row = dict(modality='video', block='b', grid=[1, 2], method='gradcam', ratio=None, ceiling=None, without_map=3)
    assert score_table([row]).splitlines()[1].split() == ['video', 'b', '1x2', 'gradcam', *'-----', '3']
