"""The encoder on rows as ``datasets`` keeps them, and, where ``mteb`` is installed, in its own evaluation."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mmav.errors import ConfigError, MediaError, MmavError
from mmav.inference.embedding import embed
from mmav.inference.mteb_encoder import MTEBEncoder
from tests.inference.models import config, write_model

CONTRAST = dict(type='ContrastiveHead', embed_dims=6, losses=[dict(type='AVCLoss')])


class Encoded:
    """A column's type as ``datasets.Video`` and ``datasets.Audio`` are: values are decoded unless told otherwise."""

    def __init__(self, decode=True):
        self.decode = decode


class Rows:
    """A dataset as ``datasets.Dataset`` is, which cannot decode here."""

    def __init__(self, rows, features=None):
        self.rows = rows
        self.features = features or {name: Encoded() if name in ('video', 'audio') else None for name in rows[0]}
        self.column_names = list(rows[0])

    def cast_column(self, name, feature):
        return Rows(self.rows, {**self.features, name: feature})

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        assert not any(feature.decode for feature in self.features.values() if feature is not None), 'decoded'
        return self.rows[index]


def loader(*rows):
    return SimpleNamespace(dataset=Rows(list(rows)))


def task(kind='VideoClassification', query=('video', 'audio'), document=('category',)):
    sides = dict(query=list(query), document=list(document))
    return SimpleNamespace(
        name='Task',
        type=kind,
        category='2'.join(''.join(name[0] for name in side) for side in (query, document)),
        modalities=sorted({*query, *document} - {'category'}),
        get_modalities=lambda side: sides[side],
    )


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
    cfg = config()
    cfg.model.contrast = CONTRAST
    return MTEBEncoder(*write_model(tmp_path_factory.mktemp('model'), cfg), device='cpu')


def as_bytes(path):
    return dict(bytes=path.read_bytes(), path=None)


def encode(encoder, *rows, metadata=None, **kwargs):
    return encoder.encode(loader(*rows), task_metadata=metadata or task(), show_progress_bar=False, **kwargs)


def test_rows_are_embedded_as_files_are(encoder, clip, flashes):
    rows = [dict(video=as_bytes(path), audio=as_bytes(path), label=0) for path in (clip, flashes)]
    found = encode(encoder, *rows)
    files = [dict(video=str(path), audio=str(path)) for path in (clip, flashes)]
    expected = [each['joined'] for each in embed(encoder.inferencer, files)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    by_path = encode(encoder, dict(video=dict(bytes=None, path=str(clip)), audio=dict(bytes=None, path=str(clip))))
    np.testing.assert_allclose(by_path, found[:1], atol=1e-6)


def test_task_without_sound_hears_none(encoder, clip):
    # the file has a track of sound, which the task does not give
    (found,) = encode(encoder, dict(video=as_bytes(clip)))
    expected = embed(encoder.inferencer, str(clip), drop=['audio'])[0]['video']
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sound_may_be_samples(encoder, clip):
    wave = np.sin(np.arange(16000) / 9).astype(np.float32)
    found = encode(encoder, dict(video=as_bytes(clip), audio=dict(array=wave, sampling_rate=16000)))
    mute = encode(encoder, dict(video=as_bytes(clip), audio=None))
    assert found.shape == mute.shape and np.abs(found - mute).max() > 1e-3


def test_retrieval_between_modalities_uses_the_shared_space(encoder, clip, flashes):
    metadata = task('Any2AnyRetrieval', ['video'], ['audio'])
    videos = encode(encoder, dict(video=as_bytes(clip)), dict(video=as_bytes(flashes)), metadata=metadata)
    sounds = encode(encoder, dict(audio=as_bytes(clip)), dict(audio=as_bytes(flashes)), metadata=metadata)
    both = encode(encoder, dict(video=as_bytes(clip), audio=as_bytes(clip)), metadata=metadata)
    assert videos.shape == sounds.shape == (2, 6) and both.shape == (1, 6)
    np.testing.assert_allclose(both[0], (videos[0] + sounds[0]) / 2, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(videos, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity(videos, sounds), videos @ sounds.T, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(videos, sounds), np.diag(videos @ sounds.T), atol=1e-6)


def test_pairs_of_a_video_and_a_sound_are_compared_in_the_shared_space(encoder, clip):
    for kind in ('VideoPairClassification', 'STS', 'AudioReranking'):
        pairs, alike = task(kind, ['video'], ['audio']), task(kind, ['video'], ['video'])
        video, sound = (
            encode(encoder, {name: as_bytes(clip)}, metadata=pairs, batch_size=1) for name in ('video', 'audio')
        )
        expected = embed(encoder.inferencer, dict(video=str(clip), audio=str(clip)))[0]
        np.testing.assert_allclose(video[0], encoder_units(expected['video_projected']), atol=1e-5)
        np.testing.assert_allclose(sound[0], encoder_units(expected['audio_projected']), atol=1e-5)
        alone = encode(encoder, dict(video=as_bytes(clip)), metadata=alike)
        np.testing.assert_allclose(alone[0], expected['video'], atol=1e-5)
    # videos with sound against videos without
    both = encode(
        encoder, dict(video=as_bytes(clip), audio=as_bytes(clip)), metadata=task('STS', ['video', 'audio'], ['video'])
    )
    assert both.shape == video.shape


def encoder_units(vector):
    return vector / np.linalg.norm(vector)


def test_retrieval_between_modalities_needs_a_shared_space(tmp_path, clip):
    plain = MTEBEncoder(*write_model(tmp_path, config()), device='cpu')
    with pytest.raises(ConfigError, match='no space that they share'):
        encode(plain, dict(video=as_bytes(clip)), metadata=task('Any2AnyRetrieval', ['video'], ['audio']))


def test_what_cannot_be_embedded_is_refused(encoder, clip):
    with pytest.raises(ConfigError, match='Task has text'):
        encode(encoder, dict(video=as_bytes(clip), text='a dog'))
    with pytest.raises(ConfigError, match='the model reads video and audio'):
        encode(encoder, dict(label=1))
    with pytest.raises(MediaError, match='row 0: has no video'):
        encode(encoder, dict(video=None))
    with pytest.raises(MediaError, match='a list, not an encoded file'):
        encode(encoder, dict(video=[1, 2]))
    encoder.features = 'fusde'
    with pytest.raises(ConfigError, match=r"not 'fusde', did you mean 'fused'\?"):
        encode(encoder, dict(video=as_bytes(clip)))
    encoder.features = None


def test_name_has_the_form_of_results(tmp_path):
    with pytest.raises(ConfigError, match='organisation/model'):
        MTEBEncoder(*write_model(tmp_path, config()), name='mine', device='cpu')


def test_without_mteb_the_error_says_what_to_install(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mteb', None)
    monkeypatch.setitem(sys.modules, 'mteb.models', None)
    with pytest.raises(MmavError, match='pip install mteb'):
        _ = encoder.mteb_model_meta


def test_mteb_evaluates_it(encoder):
    mteb = pytest.importorskip('mteb')
    tasks = pytest.importorskip('mteb.mocks.mock_tasks')
    found = mteb.evaluate(encoder, tasks.MockVideoClassification(), cache=None, show_progress_bar=False)
    assert 0 <= found.task_results[0].get_score() <= 1
    assert found.model_name == encoder.name and found.model_revision == encoder.revision
