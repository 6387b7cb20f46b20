"""Prepared clips of other settings and other code have another name."""

from __future__ import annotations

import importlib

import pytest

from mmav.datasets import item_identity
from mmav.datasets.item_identity import identity_of
from mmav.datasets.transforms import CenterCrop, HFSpectrogram
from mmav.errors import ConfigError

CROP = dict(type='CenterCrop', size=8)


def test_settings_versions_and_the_clips_count(monkeypatch):
    step = CenterCrop(8)
    names = [identity_of('prepared', [step], [config], about) for config, about in (
        (CROP, [1]), (dict(CROP), [1]), (dict(CROP, size=(8, 8)), [1]), (CROP, [2]))]  # fmt: skip
    assert names[0] == names[1] and len(set(names)) == 3
    assert identity_of('prepared:DIR', [step], [CROP], [1]) == names[0]
    monkeypatch.setattr(item_identity.av, '__version__', '0')
    assert identity_of('prepared', [step], [CROP], [1]) not in names


def test_the_code_of_a_step_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    text = 'class Step:\n    deterministic = True\n    value = {}\n'
    names = []
    for value in (1, 2):
        (tmp_path / 'own_step.py').write_text(text.format(value))
        step = importlib.import_module('own_step').Step()
        names += [identity_of('prepared', [step], [dict(type='Step')], []) for _ in range(2)]
    assert names[0] == names[1] != names[2] == names[3]


def test_what_an_extractors_folder_says_counts(tmp_path, monkeypatch):
    kind = pytest.importorskip('transformers').WhisperFeatureExtractor
    config, names = dict(type='HFSpectrogram', extractor=str(tmp_path)), []
    for dithered in (0.0, 0.0, 0.5):
        kind(feature_size=16, chunk_length=1, dither=dithered).save_pretrained(tmp_path)
        names.append(identity_of('prepared', [HFSpectrogram(str(tmp_path))], [config], []))
    assert names[0] == names[1] != names[2]
    versions = item_identity.metadata.version
    monkeypatch.setattr(
        item_identity.metadata, 'version', lambda name: '0' if name == 'transformers' else versions(name)
    )
    assert identity_of('prepared', [HFSpectrogram(str(tmp_path))], [config], []) != names[2]


def test_objects_have_a_name_of_their_own_each_time():
    step = CenterCrop(8)
    assert identity_of('prepared', [step], [step], []) != identity_of('prepared', [step], [step], [])
    with pytest.raises(ConfigError, match=r"cache='prepared:DIR' needs each step .* but CenterCrop is an object"):
        identity_of('prepared:DIR', [step], [step], [])
