import json

import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation.feature_files import check_one_encoder, load_features, media_folder, project_features
from mmav.evaluation.predictions import load_predictions, save_predictions
from mmav.models import ContrastiveHead
from tests.evaluation.stored import CLASSES, points, write_clips


def test_a_folder_has_rows_as_a_dump_has(tmp_path):
    folder = write_clips(tmp_path / 'test', 9, 0, broken={2: 'torn'}, absent=dict(audio=[5]), shard_clips=4)
    rows, classes = load_features(folder)
    audio, video, labels = points(9, 0)
    assert classes == dict(label=list(CLASSES)) and [row['label']['label'] for row in rows] == labels
    assert [row['sample_idx'] for row in rows] == list(range(9)) and rows[8]['path'] == 'test/8.mp4'
    assert rows[2]['broken'] == 'torn' and not rows[2]['features'] and rows[3]['broken'] is None
    assert list(rows[5]['features']) == ['video']
    np.testing.assert_array_equal(rows[8]['features']['audio'], audio[8, 0, 0])
    np.testing.assert_array_equal(rows[8]['features']['video'], video[8, 0, 0])


def test_a_folder_of_label_sets(tmp_path):
    from mmav.datasets.features import write_features

    classes = dict(label=['a', 'b', 'c'])
    write_features(tmp_path, dict(audio=torch.ones(3, 1, 1, 5)), dict(label=[[0, 2], [], [1]]), classes=classes)
    assert [row['label']['label'] for row in load_features(tmp_path)[0]] == [(0, 2), (), (1,)]


def test_views_are_averaged(tmp_path):
    from mmav.datasets.features import write_features

    views = torch.randn(3, 4, 1, 5, generator=torch.Generator().manual_seed(0))
    write_features(tmp_path, dict(audio=views), dict(label=[0, 1, 0]), classes=dict(label=['a', 'b']))
    found = [row['features']['audio'] for row in load_features(tmp_path)[0]]
    np.testing.assert_allclose(found, views[:, :, 0].mean(dim=1), atol=1e-6)


def test_a_dump_is_read_as_it_is(tmp_path):
    row = dict(path='a', start=None, end=None, label=0, scores=np.ones(2), broken=None, sample_idx=0)
    save_predictions(tmp_path / 'a.pkl', [row], ['x', 'y'])
    assert str(load_features(tmp_path / 'a.pkl')) == str(load_predictions(tmp_path / 'a.pkl'))
    with pytest.raises(MmavError, match='no features in'):
        load_features(tmp_path)
    with pytest.raises(MmavError, match='no file'):
        load_features(tmp_path / 'b.pkl')


def test_projections_are_those_of_the_contrastive_head(tmp_path):
    rows, _ = load_features(write_clips(tmp_path / 'test', 6, 0, absent=dict(audio=[1])))
    head = ContrastiveHead(dict(audio=8, video=8), 5)
    state = {f'contrast.{key}': value for key, value in head.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'c.pth')
    found = project_features(rows, tmp_path / 'c.pth')
    audio, video, _ = points(6, 0)
    expected = head(dict(audio=audio[:, :, 0], video=video[:, :, 0]))
    for place, row in enumerate(found):
        assert ('audio_projected' in row['features']) == (place != 1)
        for name, value in row['features'].items():
            if name.endswith('_projected'):
                want = expected[name.removesuffix('_projected')][place, 0].detach()
                np.testing.assert_allclose(value, want, atol=1e-5)
    assert 'audio_projected' not in rows[0]['features']


def test_checkpoints_that_do_not_project_these(tmp_path):
    rows, _ = load_features(write_clips(tmp_path / 'test', 6, 0))
    torch.save(dict(state_dict={'head.weight': torch.ones(1)}), tmp_path / 'c.pth')
    with pytest.raises(MmavError, match='has no projections: its model was trained without a contrastive head'):
        project_features(rows, tmp_path / 'c.pth')
    state = {f'contrast.{key}': value for key, value in ContrastiveHead(dict(audio=7), 5).state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'c.pth')
    with pytest.raises(MmavError, match='projects audio embeddings of width 7, these have 8: give the checkpoint'):
        project_features(rows, tmp_path / 'c.pth')


def test_folders_by_different_encoders(tmp_path):
    one, two = (write_clips(tmp_path / name, 6, 0) for name in ('train', 'test'))
    check_one_encoder([one, two, tmp_path / 'a.pkl'])
    for folder, checksum in ((one, 'a'), (two, 'b')):
        index = json.loads((folder / 'index.json').read_text())
        made_by = dict(manifest=str(tmp_path / 'data' / 'list.csv'))
        (folder / 'index.json').write_text(json.dumps(index | dict(encoders=dict(audio=checksum), made_by=made_by)))
    with pytest.raises(MmavError, match="train' and '.*test' are by different encoders of audio"):
        check_one_encoder([one, two])
    assert media_folder(one) == str(tmp_path / 'data') and media_folder(tmp_path / 'a.pkl') == ''
