"""Features made elsewhere: found by name or column, checked, and read where they are."""

import numpy as np
import pytest
import torch

from mmav.datasets.features import FeatureDataset, FeatureStore
from mmav.datasets.features.writer import write_index
from mmav.errors import FeatureError, ManifestError
from mmav.preparation.feature_files import find_files, import_features

CLASSES = dict(label=('x', 'y'))


@pytest.fixture
def folder(tmp_path):
    """Three clips; video (3, 4) by the paths of clips, audio (8,) by their names."""
    rng = np.random.default_rng(0)
    (tmp_path / 'video/a').mkdir(parents=True)
    (tmp_path / 'audio').mkdir()
    for k in range(3):
        np.save(tmp_path / f'video/a/{k}.npy', rng.standard_normal((3, 4)).astype(np.float32))
        np.save(tmp_path / f'audio/{k}.npy', rng.standard_normal(8).astype(np.float32))
    rows = ''.join(f'a/{k}.mp4,{"xy"[k % 2]},audio/{k}.npy\n' for k in range(3))
    (tmp_path / 'list.csv').write_text('path,label,audio_features\n' + rows)
    return tmp_path


def found(folder, **sources):
    sources = sources or dict(video=str(folder / 'video'), audio=str(folder / 'audio'))
    return find_files(str(folder / 'list.csv'), sources, ['label'])


def imported(folder, **options):
    return import_features(str(folder / 'list.csv'), CLASSES, found(folder), show_progress=False, **options)


def test_files_by_folder_and_by_column(folder):
    files = found(folder)
    assert files['video'] == [str(folder / f'video/a/{k}.npy') for k in range(3)]
    assert files['audio'] == found(folder, audio='audio_features')['audio']
    with pytest.raises(ManifestError, match=r"audio=audio_feature: no such folder.*did you mean 'audio_features'"):
        found(folder, audio='audio_feature')
    with pytest.raises(FeatureError, match=r"no modality 'vidoe', only video and audio, did you mean 'video'"):
        found(folder, vidoe=str(folder / 'video'))


def test_they_are_read_where_they_are(folder):
    write_index(folder / 'out', imported(folder))
    assert [path.name for path in (folder / 'out').iterdir() if not path.name.startswith('.')] == ['index.json']
    store = FeatureStore(folder / 'out')
    assert store.stored('video').grid == (3,) and store.stored('audio').grid == (0,)
    assert store.labels['label'].tolist() == [0, 1, 0]
    video, audio = (np.load(folder / name) for name in ('video/a/1.npy', 'audio/1.npy'))
    assert np.array_equal(store.tokens(1, 'video')[0, 1:].numpy(), video)
    assert store.embeddings('audio').shape == (3, 1, 8)
    assert np.array_equal(store.embeddings('audio')[1, 0], audio)
    item = FeatureDataset(str(folder / 'out'), test_mode=True)[1]
    assert item['inputs']['video'].shape == (1, 4, 4)
    assert item['data_samples'].path == 'a/1.mp4'
    np.save(folder / 'audio/1.npy', np.zeros(9, np.float32))
    with pytest.raises(FeatureError, match=r'1.npy. has changed: its tokens are \(1, 1, 9\), not \(1, 1, 8\)'):
        store.tokens(1, 'audio')


def test_missing_files(folder):
    (folder / 'audio/1.npy').unlink()
    with pytest.raises(FeatureError, match=r'1 of the 3 clips have no file of audio features, such as a/1.mp4'):
        imported(folder)
    (folder / 'video/a/1.npy').unlink()
    (folder / 'audio/2.npy').unlink()
    index = imported(folder, missing_ok=True)
    assert index.broken == {1: 'no file of features'}
    assert index.absent == dict(video=[1], audio=[1, 2])
    write_index(folder / 'out', index)
    assert FeatureStore(folder / 'out').present('audio').tolist() == [True, False, False]
    assert not FeatureStore(folder / 'out').tokens(2, 'audio').any()


def test_every_kind_of_problem_has_its_line(folder):
    np.save(folder / 'audio/1.npy', np.zeros(9, np.float32))
    np.save(folder / 'audio/2.npy', np.full(8, np.nan, np.float32))
    np.save(folder / 'video/a/2.npy', np.zeros((5, 4), np.float32))
    with pytest.raises(FeatureError) as caught:
        imported(folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert '0.npy has 3 tokens' in lines[0] and '2.npy 5: --num-tokens video=N averages' in lines[0]
    assert '1 files of audio are not finite (NaN or infinite), such as ' in lines[1] and '2.npy' in lines[1]
    assert '0.npy has 8 numbers wide, ' in lines[2] and '1.npy 9: they are of different encoders' in lines[2]


def test_tokens_of_different_lengths_are_averaged(folder):
    np.save(folder / 'video/a/2.npy', np.ones((5, 4), np.float32))
    index = imported(folder, num_tokens=dict(video=2))
    assert index.modalities['video'].grid == (2,)
    write_index(folder / 'out', index)
    video = torch.from_numpy(np.load(folder / 'video/a/1.npy'))
    torch.testing.assert_close(FeatureStore(folder / 'out').tokens(1, 'video')[0, 1], video[:2].mean(dim=0))
    with pytest.raises(FeatureError, match='0.npy. has 3 tokens, fewer than the 4 wanted'):
        imported(folder, num_tokens=dict(video=4))


def test_two_files_of_one_clip_are_refused(folder):
    (folder / 'audio/1.safetensors').write_bytes(b'')
    with pytest.raises(FeatureError, match='are both features of 1: remove one of them'):
        found(folder)
