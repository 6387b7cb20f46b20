from mmengine.config import Config

from benchmarks.features import random_features, time_epochs
from tests.toys import ROOT

CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'


def test_random_features_have_the_sizes_of_the_encoders(tmp_path):
    cfg = Config.fromfile(CONFIG)
    cfg.model.neck.token_grids = dict(audio=(1, 3))
    store = random_features(cfg, tmp_path, 5, dtype='float16')
    assert len(store) == 5
    assert store.stored('video').grid == (4, 2, 2) and store.stored('audio').grid == (1, 3)
    assert store.embeddings('video').std() > 0.5
    assert len(store.classes['label']) == 16


def test_epochs_are_timed():
    times = time_epochs(Config.fromfile(CONFIG), clips=16, epochs=2, batch_size=8)
    assert len(times.seconds) == 2 and min(times.seconds) > 0
    assert times.describe().startswith('16 clips of video 1 x 17 x 128, audio 1 x ')
