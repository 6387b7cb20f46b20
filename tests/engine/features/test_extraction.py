"""Extraction: what is stored, how it goes on after a kill, and what is refused."""

import copy

import pytest
import torch

from mmav.datasets.collate import av_collate
from mmav.datasets.features import FeatureStore
from mmav.engine.features import extraction as module
from mmav.engine.features.encoders import encoder_digests
from mmav.engine.features.extraction import Extraction
from mmav.engine.features.plan import Options
from mmav.engine.features.report import summary
from mmav.errors import FeatureError, MmavError, OutputError, TooManyBrokenClips
from tests.engine.features.conftest import extract_all


def make(cfg, folder, model, *, split='train', options=None, **changes):
    weights = encoder_digests(model.state_dict())
    given = dict(split=split, options=options or Options(), weights=weights, show_progress=False)
    return Extraction(copy.deepcopy(cfg), model, folder, **(given | changes))


@pytest.fixture
def short_shards(monkeypatch):
    monkeypatch.setattr(module, 'SHARD_CLIPS', 2)


@pytest.fixture
def encoded(monkeypatch):
    """Counts the clips that are encoded."""
    counts = []
    encode = Extraction._encode

    def counting(self, batch):
        counts.append(len(batch['data_samples']))
        return encode(self, batch)

    monkeypatch.setattr(Extraction, '_encode', counting)
    return counts


def test_what_is_stored_is_what_the_encoders_give(cfg, extracted):
    store, model = FeatureStore(extracted.folder / 'train'), extracted.model
    assert list(store.broken) == [3] and 'row' not in store.broken[3]
    assert store.present('audio').tolist() == [True, True, False, False, True, True]
    assert store.present('video').tolist() == [True, True, True, False, True, False]
    clips = make(cfg, extracted.folder / 'train', model).clips
    batch = model.data_preprocessor(av_collate([clips[k] for k in (0, 4)]))
    with torch.inference_mode():
        tokens, _ = model.encode(batch['inputs'])
    for modality, expected in tokens.items():
        for row, place in enumerate((0, 4)):
            found = store.tokens(place, modality)[0]
            torch.testing.assert_close(found[0], expected.cls[row])
            torch.testing.assert_close(found[1:], expected.patches[row])
        assert store.stored(modality).grid == expected.grid
    assert not store.tokens(2, 'audio').any()
    assert store.index.made_by['split'] == 'train'


def test_it_goes_on_where_it_was_killed(cfg, extracted, tmp_path, short_shards, encoded, monkeypatch):
    run = make(cfg, tmp_path, extracted.model)
    write, written = module.write_shard, []

    def dying(path, *args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *args)

    monkeypatch.setattr(module, 'write_shard', dying)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    with pytest.raises(FeatureError, match='are not complete'):
        FeatureStore(tmp_path)
    before = [path.stat().st_mtime_ns for path in written]
    monkeypatch.setattr(module, 'write_shard', write)
    again = make(cfg, tmp_path, extracted.model)
    encoded.clear()
    assert again.run() is not None
    assert sum(encoded) == 2
    assert [path.stat().st_mtime_ns for path in written] == before
    encoded.clear()
    assert make(cfg, tmp_path, extracted.model).run() is not None
    assert sum(encoded) == 1  # a look at what a clip gives
    whole, store = FeatureStore(extracted.folder / 'train'), FeatureStore(tmp_path)
    for place in range(6):
        torch.testing.assert_close(store.tokens(place, 'video'), whole.tokens(place, 'video'))
    assert store.broken == whole.broken


def test_processes_share_the_shards(cfg, extracted, tmp_path, short_shards, encoded):
    first = make(cfg, tmp_path, extracted.model, rank=0, world=2)
    second = make(cfg, tmp_path, extracted.model, rank=1, world=2)
    encoded.clear()
    assert first.run() is None
    assert sum(encoded) == 4
    assert second.run() is not None
    assert sum(encoded) == 6
    assert len(FeatureStore(tmp_path)) == 6


def test_another_run_in_the_folder_is_refused(cfg, extracted, tmp_path, short_shards):
    make(cfg, tmp_path, extracted.model).run()
    with pytest.raises(
        FeatureError, match=r'of another run \(dtype was "float32", is "float16"\): give another folder'
    ):
        make(cfg, tmp_path, extracted.model, options=Options(dtype='float16'))
    (tmp_path / 'index.json').unlink()
    with pytest.raises(FeatureError, match=r"shard-00000.safetensors' is of another run"):
        make(cfg, tmp_path, extracted.model, options=Options(dtype='float16')).run()
    shard = tmp_path / 'shard-00001.safetensors'
    shard.write_bytes(shard.read_bytes() + b'x')
    with pytest.raises(FeatureError, match=r"shard-00001.safetensors' was changed since it was written"):
        make(cfg, tmp_path, extracted.model).run()


def test_a_users_files_are_kept(cfg, extracted, tmp_path):
    (tmp_path / 'shard-00000.safetensors').write_bytes(b'mine')
    with pytest.raises(MmavError, match='shard-00000.safetensors'):
        make(cfg, tmp_path, extracted.model).run()
    (tmp_path / 'file').write_bytes(b'mine')
    with pytest.raises(OutputError, match='is a file: give a folder for the features'):
        make(cfg, tmp_path / 'file', extracted.model)


def test_views_augmentation_and_half_precision(cfg, extracted, tmp_path):
    options = Options(windows=2, augment=2, dtype='float16', tokens='cls', batch_size=4)
    index = make(cfg, tmp_path, extracted.model, options=options).run()
    assert {name: (each.views, each.grid) for name, each in index.modalities.items()} == {
        'video': (4, (0,)), 'audio': (4, (0,))}  # fmt: skip
    assert index.modalities['video'].encoder_grid == FeatureStore(extracted.folder / 'test').stored('video').grid
    embeddings = FeatureStore(tmp_path).embeddings('video')
    assert embeddings.shape == (6, 4, 16)
    assert len({float(view.sum()) for view in embeddings[4]}) == 4


def test_a_disk_that_is_too_small_is_refused(cfg, extracted, tmp_path, monkeypatch):
    run = make(cfg, tmp_path, extracted.model)
    assert f'{run.clip_bytes * 6 / 1024:.3g} KB in 1 shards' in run.describe()
    monkeypatch.setattr(Extraction, '_free', lambda self: 100)
    with pytest.raises(FeatureError, match='the features need .* KB, 100 B are free: give another disk'):
        run.run()


def test_features_that_are_not_finite_are_refused(cfg, extracted, tmp_path):
    model = copy.deepcopy(extracted.model)
    with torch.no_grad():
        next(model.backbones['video'].parameters()).fill_(torch.nan)
    with pytest.raises(FeatureError, match=r'the video features of .*a.mp4 are not finite: are the weights sound\?'):
        make(cfg, tmp_path, model).run()


def test_a_folder_of_broken_clips_alone_is_refused(cfg, clips_folder, extracted, tmp_path):
    (clips_folder / 'torn.csv').write_text('path,label\ntorn.mp4,0\n')
    cfg.train_dataloader.dataset.ann_file = 'torn.csv'
    with pytest.raises(TooManyBrokenClips, match='none of the 1 clips can be read, the first for: '):
        make(cfg, tmp_path, extracted.model).run()


def test_another_number_of_views_is_extracted_as_the_config_says(cfg, tmp_path):
    for loader in ('val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.pipeline[0].num_views = 3
    extract_all(cfg, tmp_path, splits=['test'], tokens='cls')
    store = FeatureStore(tmp_path / 'test')
    assert store.stored('video').views == 3 and store.stored('audio').views == 1
    assert '1 without audio' in summary(store.index, tmp_path)
